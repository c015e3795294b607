"""Fetch over gRPC: a client of ours, a server, a fetcher and sellers, over real sockets."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import resource
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from fastmarket.config import FetchConfig, MarketConfig
from fastmarket.errors import Busy, CallerFault, FastmarketError, NotFound, Unmet
from fastmarket.exchange.fetching.faults import NoHolderServes
from fastmarket.exchange.fetching.order import FetchPlan, FetchProgress, FetchReport, FetchSummary
from fastmarket.formats.cid import Cid
from fastmarket.formats.unixfs.message import NodeKind
from fastmarket.market.grpc_client import MarketClient
from fastmarket.market.grpc_errors import ServerDiskFault
from fastmarket.market.grpc_server import MarketServer
from fastmarket.market.service import MarketService
from fastmarket.part_files import new_proof
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1
from fastmarket.pb.fastmarket.v1 import market_pb2_grpc
from tests.conftest import Run
from tests.net.fetching.gateway import Reply
from tests.net.fetching.sellers import Bench, buying
from tests.net.fetching.test_fetcher import CHUNK, DATA
from tests.net.test_grpc import Market
from tests.virtual.dags import Blocks

CONFIG = MarketConfig(port=0)
DAG = Blocks()
ROOT = DAG.file(DATA, chunk=CHUNK, width=8)


class RemoteClient(MarketClient):
    """Takes its node for one on another machine: nothing is written by it."""

    async def fetch_to(self, *args: Any, **options: Any) -> FetchSummary:
        self.target = f"elsewhere.example:{self.target.rpartition(':')[2]}"
        return await super().fetch_to(*args, **options)


@asynccontextmanager
async def market(
    sellers: list[tuple[Reply | Mapping[bytes, bytes], int]],
    root: Cid = ROOT,
    *,
    config: MarketConfig = CONFIG,
    kind: type[MarketClient] = MarketClient,
    fetching: FetchConfig | None = None,
) -> AsyncIterator[tuple[Bench, MarketClient]]:
    """A buyer's node over gRPC."""
    node = Market(config, 1)
    async with buying(root, sellers, config=fetching) as bench:
        service = MarketService(node.dht, config, now=lambda: node.net.now)
        server = MarketServer(service, config, fetcher=bench.fetcher)
        port = await server.start()
        try:
            async with kind(f"127.0.0.1:{port}") as client:
                yield bench, client
        finally:
            await server.stop()


async def all_of(reports: Any) -> list[FetchReport]:
    return [report async for report in reports]


def test_a_stream_has_plan_bytes_and_summary(run: Run[Any]) -> None:
    async def main() -> None:
        async with market([(DAG.blocks, 3)]) as (_, client):
            reports = await all_of(client.fetch(f"ipfs://{ROOT}"))
        plan, summary = reports[0], reports[-1]
        assert isinstance(plan, FetchPlan)
        assert (plan.cid, plan.size, plan.most_cost) == (str(ROOT), len(DATA), 4)
        assert isinstance(summary, FetchSummary)
        assert (summary.fetched, summary.cost) == (len(DATA), 4)
        (share,) = summary.holders
        assert (share.price, share.bytes, share.name) == (3, len(DATA), "seller 1")
        assert b"".join(one for one in reports if isinstance(one, bytes)) == DATA
        assert any(isinstance(one, FetchProgress) for one in reports)

    run(main())


@pytest.mark.parametrize("kind", [MarketClient, RemoteClient], ids=["by the node", "by the client"])
def test_a_file_appears_when_it_is_whole(run: Run[Any], tmp_path: Path, kind: type[MarketClient]) -> None:
    async def main() -> None:
        path = tmp_path / "file"
        seen: list[FetchPlan | FetchProgress] = []
        async with market([(DAG.blocks, 3)], kind=kind) as (_, client):

            def look(report: FetchPlan | FetchProgress) -> None:
                seen.append(report)
                assert not path.exists()

            summary = await client.fetch_to(str(ROOT), path, on_report=look)
        assert path.read_bytes() == DATA
        assert summary.bytes == summary.fetched == len(DATA)
        assert os.listdir(tmp_path) == ["file"]
        assert isinstance(seen[0], FetchPlan)

    run(main())


@pytest.mark.parametrize("kind", [MarketClient, RemoteClient], ids=["by the node", "by the client"])
def test_a_later_call_goes_on(run: Run[Any], tmp_path: Path, kind: type[MarketClient]) -> None:
    async def main() -> None:
        path = tmp_path / "file"
        paced = FetchConfig(max_ordered_bytes=3 * CHUNK, max_ahead_bytes=3 * CHUNK)
        async with market([(DAG.blocks, 3)], kind=kind, fetching=paced) as (_, client):

            def leave(report: FetchPlan | FetchProgress) -> None:
                if (tmp_path / "file.part").stat().st_size > len(DATA) // 3:
                    raise ZeroDivisionError("of the caller's")

            with pytest.raises(ZeroDivisionError):
                await client.fetch_to(str(ROOT), path, on_report=leave)
            assert not path.exists()
            assert (tmp_path / "file.part").exists()
            seen: list[FetchPlan | FetchProgress] = []
            summary = await client.fetch_to(str(ROOT), path, on_report=seen.append)
            assert path.read_bytes() == DATA
            assert summary.bytes == len(DATA)
            assert summary.fetched < len(DATA)
            assert os.listdir(tmp_path) == ["file"]
            for report in seen:
                if isinstance(report, FetchProgress):
                    assert report.wanted == len(DATA)

    run(main())


@pytest.mark.parametrize(("first", "last"), [(5, None), (0, 4), (-9, None), (CHUNK, 3 * CHUNK)])
def test_a_range_is_streamed_to_a_file(run: Run[Any], tmp_path: Path, first: int, last: int | None) -> None:
    async def main() -> None:
        path = tmp_path / "file"
        wanted = DATA[first:] if last is None else DATA[first : last + 1]
        async with market([(DAG.blocks, 0)]) as (_, client):
            for kept in (0, 3, len(wanted)):
                (tmp_path / "file.part").write_bytes(wanted[:kept])
                noted = {"order": f"{ROOT} {first} {last}", "bytes": kept}
                (tmp_path / "file.part.list").write_text(json.dumps(noted))
                summary = await client.fetch_to(str(ROOT), path, first=first, last=last)
                assert path.read_bytes() == wanted
                assert summary.bytes == len(wanted)
                assert os.listdir(tmp_path) == ["file"]

    run(main())


@pytest.mark.parametrize(
    "noted", ["", "{", "[]", '{"order": 7}', '{"order": "another 0 None", "bytes": 40}', "\0" * 99_999]
)
def test_bytes_of_another_order_are_not_kept(run: Run[Any], tmp_path: Path, noted: str) -> None:
    async def main() -> None:
        (tmp_path / "file.part").write_bytes(b"of another content" * 9)
        (tmp_path / "file.part.list").write_text(noted)
        async with market([(DAG.blocks, 0)], kind=RemoteClient) as (_, client):
            await client.fetch_to(str(ROOT), tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == DATA

    run(main())


def test_one_process_writes_a_file_at_a_time(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        async with market([(DAG.blocks, 0)]) as (bench, client):
            with (tmp_path / "file.part").open("wb") as other:
                fcntl.flock(other, fcntl.LOCK_EX)
                with pytest.raises(CallerFault, match="another process") as caught:
                    await client.fetch_to(str(ROOT), tmp_path / "file")
                assert caught.value.field == "path"
            assert not bench.gateways[0].asked
            (tmp_path / "folder").mkdir()
            for wrong in (tmp_path / "folder", tmp_path / "none" / "file"):
                with pytest.raises(CallerFault) as caught:
                    await client.fetch_to(str(ROOT), wrong)
                assert caught.value.field == "path"
            (tmp_path / "link.part").symlink_to(tmp_path / "elsewhere")
            with pytest.raises(CallerFault):
                await client.fetch_to(str(ROOT), tmp_path / "link")
            assert not (tmp_path / "elsewhere").exists()

    run(main())


def test_errors_come_through(run: Run[Any]) -> None:
    async def main() -> None:
        dag = Blocks()
        folder = Cid.from_bytes(dag.directory([("f", dag.file(b"x").raw)]))
        leaf, _ = dag.leaf(b"12345")
        liar = Cid.from_bytes(dag.node([(leaf, 6)], kind=NodeKind.FILE)[0])
        async with market([(dag.blocks, 3)], folder) as (bench, client):

            async def fault(content: str, **options: Any) -> Any:
                with pytest.raises(Exception) as caught:  # noqa: PT011 - told apart below
                    await all_of(client.fetch(content, **options))
                return caught.value

            told = await fault(str(folder))
            assert (type(told), told.field, told.code) == (Unmet, "content", "NOT_A_FILE")
            assert "directory" in told.reason
            assert isinstance(await fault(f"{folder}/g"), NotFound)
            told = await fault(f"{folder}/f", max_price=2)
            assert (told.field, told.code) == ("max_price", "TOO_EXPENSIVE")
            told = await fault(f"{folder}/f", first=2)
            assert (type(told), told.field) == (CallerFault, "first")
            for wrong in ("", "words", "ab" * 32, f"{folder}/{'a/' * 100}"):
                told = await fault(wrong)
                assert (type(told), told.field) == (CallerFault, "content"), wrong
            told = await fault(f"{folder}/f", output="/x", proof=b"short")
            assert (told.field, told.code) == ("output", "NO_OUTPUT")
            told = await fault(f"{folder}/f", output="/x", proof=new_proof(), first=1)
            assert (type(told), told.field) == (CallerFault, "output")
            bench.dht.offers.clear()
            assert isinstance(await fault(str(folder)), NotFound)
        async with market([(dag.blocks, 3)], liar) as (_, client):
            told = await fault(str(liar))
            assert (type(told), told.code) == (Unmet, "BAD_CONTENT")
        async with market([({}, 3)]) as (bench, client):
            told = await fault(str(ROOT))
            assert isinstance(told, NoHolderServes)
            assert f"http://127.0.0.1:{bench.gateways[0].port}" in str(told)
            assert bench.dht.searches == 2, "and it was not tried again"

    run(main())


def test_a_full_disk_is_told(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        async with market([(DAG.blocks, 0)]) as (_, client):
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20 * CHUNK, hard))
            try:
                with pytest.raises(ServerDiskFault, match="what was fetched stays there"):
                    await client.fetch_to(str(ROOT), tmp_path / "file")
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            assert not (tmp_path / "file").exists()
            assert (await client.fetch_to(str(ROOT), tmp_path / "file")).fetched < len(DATA)
            assert (tmp_path / "file").read_bytes() == DATA

    run(main())


def test_leaving_a_call_ends_its_fetch(run: Run[Any]) -> None:
    async def main() -> None:
        async with market([(DAG.blocks, 0)]) as (bench, client):
            async with aclosing(client.fetch(str(ROOT))) as reports:
                async for report in reports:
                    if isinstance(report, bytes):
                        break
            while bench.fetcher.totals.ended < 1:  # the server hears of it
                with suppress(NotFound):
                    await client.get_node()
            assert bench.dialer.used == 0

    run(main())


def test_fetches_are_shared_among_callers(run: Run[Any]) -> None:
    async def main() -> None:
        async def silent(cid: str, writer: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        async with market([(silent, 0)], config=MarketConfig(port=0, max_fetches=2)) as (bench, client):
            first = asyncio.ensure_future(all_of(client.fetch(str(ROOT))))
            await bench.gateways[0].connected(1)
            with pytest.raises(Busy):
                await all_of(client.fetch(str(ROOT)))
            first.cancel()
            with suppress(asyncio.CancelledError):
                await first

    run(main())


def test_a_server_stops_when_its_calls_have_ended(run: Run[Any]) -> None:
    async def main() -> None:
        async def silent(cid: str, writer: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        node = Market(CONFIG, 1)
        async with buying(ROOT, [(silent, 0)]) as bench:
            server = MarketServer(
                MarketService(node.dht, CONFIG, now=lambda: node.net.now), CONFIG, fetcher=bench.fetcher
            )
            async with MarketClient(f"127.0.0.1:{await server.start()}") as client:
                fetching = asyncio.ensure_future(all_of(client.fetch(str(ROOT))))
                await bench.gateways[0].connected(1)
                await server.stop()
                assert bench.dialer.used == 0
                with pytest.raises(FastmarketError):
                    await fetching

    run(main())


def test_a_message_of_bytes_is_one_of_the_proto(run: Run[Any]) -> None:
    async def main() -> None:
        async with (
            market([(DAG.blocks, 0)]) as (_, client),
            grpc.aio.insecure_channel(client.target) as channel,
        ):
            stub = market_pb2_grpc.MarketStub(channel)  # type: ignore[no-untyped-call]
            got = [one.data async for one in stub.Fetch(v1.FetchRequest(content=str(ROOT)))]
        assert b"".join(got) == DATA

    run(main())


def test_what_no_request_can_say_is_the_callers_fault(run: Run[Any], tmp_path: Path) -> None:
    # A path may be any bytes: they are streamed to it.
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))

    async def main() -> None:
        async with market([(DAG.blocks, 0)]) as (_, client):
            for content, limits in ((f"{ROOT}/\udcff", {}), (str(ROOT), {"max_cost": 1 << 64})):
                with pytest.raises(CallerFault, match="request"):
                    await client.fetch_to(content, tmp_path / "x", **limits)
            await client.fetch_to(str(ROOT), path)

    run(main())
    assert path.read_bytes() == DATA
    assert os.listdir(os.fsencode(tmp_path)) == [b"\xff"]
