"""Whole fetches over real sockets: what the caller is told, who is asked for what, what is on the disk."""

from __future__ import annotations

import asyncio
import os
import random
import resource
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastmarket.config import FetchConfig
from fastmarket.errors import CallerFault, NodeFault, NotFound, StorageFault, Unmet
from fastmarket.exchange.fetching.events import Ask, FetchAction
from fastmarket.exchange.fetching.faults import BadContent, NoHolderServes, NoSuchPath
from fastmarket.exchange.fetching.fetch import Fetch
from fastmarket.exchange.fetching.order import FetchOrder, FetchPlan
from fastmarket.formats.cid import Cid
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.unixfs.message import NodeKind
from fastmarket.net.clock import Clock
from fastmarket.net.fetching.holders import BlockAnswers, BlockHolder
from fastmarket.net.fetching.http_dialer import HttpDialer
from fastmarket.net.fetching.http_holder import HttpHolder
from fastmarket.net.fetching.http_target import HttpTarget
from fastmarket.net.fetching.payer import Payer
from fastmarket.net.fetching.sources import FoundHolder, HolderReach, ProviderHolders
from fastmarket.net.resolver import Resolver
from fastmarket.offers.model.metadata import FileMetadata, Way
from fastmarket.offers.model.offer import OfferTerms
from tests.conftest import Run
from tests.net.fetching.gateway import head, of_blocks, ok
from tests.net.fetching.sellers import HOLDERS, buying, named, offer, signed, with_proof
from tests.net.loopback import identity
from tests.virtual.dags import Blocks

CHUNK = 20_000
DATA = random.Random(17).randbytes(50 * CHUNK + 7)


@pytest.fixture(params=[False, True], ids=["dag-pb leaves", "raw leaves"])
def dag(request: pytest.FixtureRequest) -> Blocks:
    return Blocks(raw_leaves=request.param)


def file_in(dag: Blocks) -> FetchOrder:
    return FetchOrder(dag.file(DATA, chunk=CHUNK, width=8))


def test_a_reader_gets_the_bytes_in_order(run: Run[Any], dag: Blocks) -> None:
    async def main() -> None:
        order = file_in(dag)
        async with buying(order.root, [(dag.blocks, 3)]) as bench:
            fetched = await bench.fetch(order)
        assert fetched.data == DATA
        plan = fetched.reports[0]
        assert isinstance(plan, FetchPlan)
        assert (plan.cid, plan.size, plan.wanted) == (str(order.root), len(DATA), len(DATA))
        assert plan.most_cost == -(-len(DATA) * 3 // 1_000_000) == 4
        summary = fetched.summary
        assert (summary.bytes, summary.fetched, summary.cost) == (len(DATA), len(DATA), 4)
        (share,) = summary.holders
        assert (share.source, share.price) == (f"http://127.0.0.1:{bench.gateways[0].port}", 3)
        assert (share.name, share.bytes, share.ended) == ("seller 1", len(DATA), "")
        assert fetched.progress[-1].wanted == len(DATA)
        assert [one.done for one in fetched.progress] == sorted(one.done for one in fetched.progress)
        asked = bench.gateways[0].asked
        assert sorted(asked) == sorted(named(dag.blocks)), "each block once"

    run(main())


def test_a_file_is_written_in_place(run: Run[Any], dag: Blocks, tmp_path: Path) -> None:
    async def main() -> None:
        order = with_proof(file_in(dag), tmp_path / "x.part")
        async with buying(order.root, [(dag.blocks, 3)]) as bench:
            fetched = await bench.fetch(order)
        assert fetched.data == b"", "nothing is streamed"
        assert fetched.summary.fetched == len(DATA)
        assert (tmp_path / "x.part").read_bytes() == DATA

    run(main())


def test_what_was_written_is_not_fetched_again(run: Run[Any], dag: Blocks, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "x.part"
        order = file_in(dag)
        async with buying(order.root, [(dag.blocks, 0)]) as bench:
            async with aclosing(bench.fetcher.fetch(with_proof(order, path))) as reports:
                async for report in reports:
                    if getattr(report, "done", 0) > len(DATA) // 3:
                        break
            (gateway,) = bench.gateways
            first = len(gateway.asked)
            assert 0 < path.stat().st_size <= len(DATA)
            summary = (await bench.fetch(with_proof(order, path))).summary
            assert path.read_bytes() == DATA
            assert 0 < summary.fetched < len(DATA)
            inner = {str(Cid.from_bytes(cid)) for cid, block in dag.blocks.items() if len(block) < CHUNK / 2}
            again = [cid for cid in gateway.asked[first:] if cid in gateway.asked[:first]]
            under_way = bench.dialer._config.max_connections_per_holder
            assert len(set(again) - inner) <= 2 * under_way, "only what was under way"
            last = len(gateway.asked)
            assert (await bench.fetch(with_proof(order, path))).summary.fetched == 0
            assert len(gateway.asked) - last <= len(inner)

    run(main())


def test_what_is_wrong_in_the_file_is_fetched_again(run: Run[Any], dag: Blocks, tmp_path: Path) -> None:
    async def main() -> None:
        path, order = tmp_path / "x.part", file_in(dag)
        wrong = bytearray(DATA)
        wrong[3 * CHUNK + 5] ^= 1
        path.write_bytes(bytes(wrong) + b"and more behind it")
        path.chmod(0o600)
        async with buying(order.root, [(dag.blocks, 0)]) as bench:
            assert (await bench.fetch(with_proof(order, path))).summary.fetched == CHUNK
        assert path.read_bytes() == DATA

    run(main())


def test_a_wrong_block_ends_its_holder_and_nothing_else(run: Run[Any], dag: Blocks, tmp_path: Path) -> None:
    async def main() -> None:
        order = file_in(dag)
        right, leaves = named(dag.blocks), 0

        async def liar(cid: str, writer: asyncio.StreamWriter) -> None:
            nonlocal leaves
            block = bytearray(right[cid])
            if len(block) > CHUNK / 2:
                leaves += 1
                block[-1] ^= leaves > 3
            writer.write(ok(bytes(block)))

        async with buying(order.root, [(liar, 0), (dag.blocks, 5)]) as bench:
            fetched = await bench.fetch(order)
            assert fetched.data == DATA
            bad, good = fetched.summary.holders
            assert bad.ended == "sent a wrong block"
            assert good.ended == ""
            assert bad.bytes + good.bytes == len(DATA)
            assert bad.bytes <= 3 * CHUNK
            assert fetched.summary.cost == -(-good.bytes * 5 // 1_000_000)

            path = tmp_path / "x.part"
            await bench.fetch(with_proof(order, path))
            assert path.read_bytes() == DATA

    run(main())


def test_the_cheapest_is_asked_first(run: Run[Any], dag: Blocks) -> None:
    async def main() -> None:
        order = file_in(dag)
        async with buying(order.root, [(dag.blocks, 9), (dag.blocks, 2)]) as bench:
            fetched = await bench.fetch(order)
        assert fetched.data == DATA
        dear, cheap = fetched.summary.holders
        assert (dear.price, cheap.price) == (9, 2)
        assert fetched.plans[-1].most_cost == 10 + 1, "two shares are rounded up"

    run(main())


def test_a_silent_holder_holds_up_nobody(run: Run[Any], dag: Blocks) -> None:
    async def main() -> None:
        async def silent(cid: str, writer: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        quick = FetchConfig(first_soft_timeout_s=0.02, first_timeout_s=0.1, min_timeout_s=0.1)
        order = file_in(dag)
        async with buying(order.root, [(silent, 0), (dag.blocks, 5)], config=quick) as bench:
            fetched = await bench.fetch(order)
        assert fetched.data == DATA
        assert fetched.summary.holders[0].bytes == 0

    run(main())


def test_one_that_has_half_is_used_for_that(run: Run[Any], dag: Blocks) -> None:
    async def main() -> None:
        order = file_in(dag)
        cids = sorted(dag.blocks, key=lambda cid: len(dag.blocks[cid]))
        half = {cid: dag.blocks[cid] for number, cid in enumerate(cids) if number < 8 or number % 2}
        async with buying(order.root, [(half, 0), (dag.blocks, 5)]) as bench:
            fetched = await bench.fetch(order)
        assert fetched.data == DATA
        assert all(share.bytes > 0 for share in fetched.summary.holders)

    run(main())


def test_nobody_is_an_answer(run: Run[Any], dag: Blocks) -> None:
    async def main() -> None:
        order = file_in(dag)
        async with buying(order.root, []) as bench:
            with pytest.raises(NotFound):
                await bench.fetch(order)
            assert bench.dht.searches == 1
            bench.dht.offers.append(offer(order.root, 8081, ways=Way.BITSWAP))  # which it does not speak
            with pytest.raises(NotFound):
                await bench.fetch(order)

    run(main())


def test_who_does_not_have_it_is_named(run: Run[Any], dag: Blocks) -> None:
    async def main() -> None:
        order = file_in(dag)
        async with buying(order.root, [({}, 0), ({}, 1)]) as bench:
            with pytest.raises(NoHolderServes) as caught:
                await bench.fetch(order)
            for gateway in bench.gateways:
                assert f"http://127.0.0.1:{gateway.port}: " in str(caught.value)

    run(main())


def test_limits_on_price_and_cost_are_kept(run: Run[Any], dag: Blocks) -> None:
    async def main() -> None:
        order = file_in(dag)
        async with buying(order.root, [(dag.blocks, 9), (dag.blocks, 5)]) as bench:
            with pytest.raises(Unmet, match="cheapest asks 5") as caught:
                await bench.fetch(replace(order, max_price=4))
            assert caught.value.code == "TOO_EXPENSIVE"
            assert not any(gateway.asked for gateway in bench.gateways)
            fetched = await bench.fetch(replace(order, max_price=5))
            assert [share.price for share in fetched.summary.holders] == [5]
            with pytest.raises(Unmet) as caught:
                await bench.fetch(replace(order, max_cost=5))
            assert (caught.value.field, caught.value.code) == ("max_cost", "TOO_EXPENSIVE")
            assert (await bench.fetch(replace(order, max_cost=6))).summary.cost <= 6

    run(main())


def test_a_plan_costs_nothing(run: Run[Any], dag: Blocks) -> None:
    async def main() -> None:
        order = replace(file_in(dag), plan_only=True)
        async with buying(order.root, [(dag.blocks, 9), (dag.blocks, 5)]) as bench:
            fetched = await bench.fetch(order)
            plans = fetched.plans
            assert plans == list(fetched.reports)
            assert plans[-1].most_cost == 10 + 1
            assert {share.price for share in plans[-1].holders} <= {5, 9}
            asked = [cid for gateway in bench.gateways for cid in gateway.asked]
            assert set(asked) == {str(order.root)}

    run(main())


@pytest.mark.parametrize(
    ("first", "last", "wanted"),
    [
        (0, 0, DATA[:1]),
        (5, None, DATA[5:]),
        (CHUNK - 1, CHUNK, DATA[CHUNK - 1 : CHUNK + 1]),
        (-7, None, DATA[-7:]),
        (3 * CHUNK, 10**12, DATA[3 * CHUNK :]),
        (len(DATA), None, b""),
    ],
)
def test_some_bytes_of_a_file(
    run: Run[Any], dag: Blocks, first: int, last: int | None, wanted: bytes
) -> None:
    async def main() -> None:
        order = replace(file_in(dag), first=first, last=last)
        async with buying(order.root, [(dag.blocks, 0)]) as bench:
            fetched = await bench.fetch(order)
        assert fetched.data == wanted
        assert fetched.summary.bytes == len(wanted)

    run(main())


def test_a_range_behind_the_end_is_the_callers_fault(run: Run[Any], dag: Blocks) -> None:
    async def main() -> None:
        order = replace(file_in(dag), first=len(DATA) + 1)
        async with buying(order.root, [(dag.blocks, 0)]) as bench:
            with pytest.raises(CallerFault) as caught:
                await bench.fetch(order)
            assert caught.value.field == "first"

    run(main())


def test_a_path_leads_to_a_file(run: Run[Any], dag: Blocks) -> None:
    async def main() -> None:
        inner = dag.directory([("f.bin", dag.file(DATA, chunk=CHUNK).raw)])
        root = Cid.from_bytes(dag.directory([("dir", inner)]))
        async with buying(root, [(dag.blocks, 0)]) as bench:
            fetched = await bench.fetch(FetchOrder(root, ("dir", "f.bin")))
            assert fetched.data == DATA
            with pytest.raises(NoSuchPath, match="'g'"):
                await bench.fetch(FetchOrder(root, ("dir", "g")))
            with pytest.raises(NoSuchPath, match=r"f\.bin is a file"):
                await bench.fetch(FetchOrder(root, ("dir", "f.bin", "g")))
            with pytest.raises(Unmet, match="directory") as caught:
                await bench.fetch(FetchOrder(root, ("dir",)))
            assert caught.value.code == "NOT_A_FILE"

    run(main())


def test_a_content_that_is_not_one_is_refused(run: Run[Any]) -> None:
    async def main() -> None:
        dag = Blocks()
        leaf, _ = dag.leaf(DATA[:100])
        root = Cid.from_bytes(dag.node([(leaf, 101)], kind=NodeKind.FILE)[0])
        async with buying(root, [(dag.blocks, 0)]) as bench:
            with pytest.raises(BadContent):
                await bench.fetch(FetchOrder(root))

    run(main())


def test_a_full_disk_keeps_what_is_there(run: Run[Any], dag: Blocks, tmp_path: Path) -> None:
    async def main() -> None:
        path, order = tmp_path / "x.part", file_in(dag)
        async with buying(order.root, [(dag.blocks, 0)]) as bench:
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            whole = with_proof(order, path)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20 * CHUNK, hard))
            try:
                with pytest.raises(StorageFault, match=r"x\.part.*what was fetched stays"):
                    await bench.fetch(whole)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            kept = path.stat().st_blocks * 512
            summary = (await bench.fetch(with_proof(order, path))).summary
            assert path.read_bytes() == DATA
            assert kept > 0
            assert summary.fetched < len(DATA)

    run(main())


def broken_outputs(folder: Path) -> list[tuple[str, FetchOrder, str]]:
    dag = Blocks()
    order = file_in(dag)
    right = with_proof(order, folder / "right")
    (folder / "link").symlink_to(folder / "right")
    readable = with_proof(order, folder / "readable")
    (folder / "readable").chmod(0o644)
    os.mkfifo(folder / "pipe", 0o600)
    (folder / "zeros").write_bytes(bytes(100))
    (folder / "zeros").chmod(0o600)
    return [
        ("is not an absolute path", replace(right, output="right"), "NO_OUTPUT"),
        ("no such file", replace(right, output=str(folder / "none")), "NO_OUTPUT"),
        ("is not a file", replace(right, output=str(folder / "link")), "NO_OUTPUT"),
        ("others than its owner", readable, "NO_OUTPUT"),
        ("is not a file", replace(right, output=str(folder / "pipe")), "NO_OUTPUT"),
        (
            "does not end in the proof",
            replace(right, proof=right.proof[:-1] + bytes((right.proof[-1] ^ 1,))),
            "OUTPUT_CHANGED",
        ),
        ("the proof is not", replace(right, output=str(folder / "zeros"), proof=bytes(32)), "NO_OUTPUT"),
    ]


def test_only_a_proven_file_is_written(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        for reason, order, code in broken_outputs(tmp_path):
            async with buying(order.root, []) as bench:
                with pytest.raises(Unmet, match=reason) as caught:
                    await bench.fetch(order)
                assert (caught.value.field, caught.value.code) == ("output", code)
        assert (tmp_path / "zeros").read_bytes() == bytes(100)
        assert (tmp_path / "readable").stat().st_size == 32

    run(main())


def test_a_fetch_that_is_left_ends(run: Run[Any], dag: Blocks) -> None:
    async def main() -> None:
        order = file_in(dag)
        async with buying(order.root, [(dag.blocks, 0)]) as bench:
            async with aclosing(bench.fetcher.fetch(order)) as reports:
                async for report in reports:
                    if isinstance(report, bytes):
                        break
            assert bench.dialer.used == 0
            asked = len(bench.gateways[0].asked)
            await asyncio.sleep(0)
            assert len(bench.gateways[0].asked) == asked

    run(main())


def test_a_slow_reader_is_waited_for(run: Run[Any], dag: Blocks) -> None:
    async def main() -> None:
        narrow = FetchConfig(max_ordered_bytes=3 * CHUNK)
        order = file_in(dag)
        async with buying(order.root, [(dag.blocks, 0)], config=narrow) as bench:
            got, most = b"", 0
            async with aclosing(bench.fetcher.fetch(order)) as reports:
                async for report in reports:
                    if not isinstance(report, bytes):
                        continue
                    got += report
                    before = len(bench.gateways[0].asked)
                    for _ in range(50):  # of the loop: more would be asked for if it were not waited for
                        await asyncio.sleep(0)
                    most = max(most, len(bench.gateways[0].asked) - before)
            assert got == DATA
            assert most <= 4

    run(main())


def test_a_holder_that_comes_later_joins(run: Run[Any], dag: Blocks) -> None:
    async def main() -> None:
        order = file_in(dag)
        gone = asyncio.Event()
        serve = of_blocks(named(dag.blocks))
        served = 0

        async def dying(cid: str, writer: asyncio.StreamWriter) -> None:
            nonlocal served
            served += 1
            if served > 15:
                gone.set()
                writer.write(head("403 Forbidden", "Content-Length: 0"))
            else:
                await serve(cid, writer)

        async with buying(order.root, [(dying, 0), (dag.blocks, 0)]) as bench:
            later = bench.dht.offers.pop()

            async def come() -> None:
                await gone.wait()
                bench.dht.offers.append(later)

            task = asyncio.ensure_future(come())
            fetched = await bench.fetch(order)
            await task
            assert fetched.data == DATA
            assert bench.dht.searches == 2
            assert "refused" in fetched.summary.holders[0].ended

    run(main())


def test_of_two_offers_for_one_address_the_cheaper_counts(run: Run[Any], dag: Blocks) -> None:
    async def main() -> None:
        order = file_in(dag)
        async with buying(order.root, [(dag.blocks, 9)]) as bench:
            port = bench.gateways[0].port
            for price in (7, 8):
                terms = OfferTerms(
                    order.root.multihash,
                    f"user {price}".encode(),
                    "",
                    FileMetadata("127.0.0.1", port, price, ways=Way.HTTP),
                )
                bench.dht.offers.append(signed(terms, 1))
            fetched = await bench.fetch(order)
            assert fetched.data == DATA
            assert [(one.price, one.ended) for one in fetched.summary.holders if one.bytes] == [(7, "")]

    run(main())


class BrokenHolder:
    """A holder with a bug of ours."""

    source = "broken"

    def ask(self, ask: Ask) -> None:
        raise ZeroDivisionError("a bug")

    def drop(self, request: int) -> None:
        raise ZeroDivisionError("a bug")

    async def close(self) -> None:
        raise ZeroDivisionError("a bug")


class BrokenSource:
    """A way to find holders with a bug of ours, after one holder with another."""

    async def find(self, content: bytes, timeout_s: float) -> AsyncGenerator[FoundHolder, None]:
        yield FoundHolder("broken", 0, lambda answers: BrokenHolder())
        raise ZeroDivisionError("a bug")


def test_bugs_in_holders_and_searches_are_survived(
    run: Run[Any], dag: Blocks, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # they are expected
        order = file_in(dag)
        quick = FetchConfig(first_pause_s=0.0, max_failures=2)
        async with buying(order.root, [({}, 0)], config=quick, more=[BrokenSource()], bugs=4) as bench:
            with pytest.raises(NoHolderServes, match="broken: "):
                await bench.fetch(order)
            bench.dht.offers.clear()
        async with buying(order.root, [(dag.blocks, 0)], more=[BrokenSource()]) as bench:
            assert (await bench.fetch(order)).data == DATA

    run(main())


def test_a_bug_of_ours_ends_that_fetch_alone(
    run: Run[Any], dag: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # it is expected
        order = file_in(dag)
        poll_actions, turns = Fetch.poll_actions, 0

        def failing(fetch: Fetch, now: float) -> list[FetchAction]:
            nonlocal turns
            turns += 1
            if turns == 3:
                raise ZeroDivisionError("a bug")
            return poll_actions(fetch, now)

        monkeypatch.setattr(Fetch, "poll_actions", failing)
        async with buying(order.root, [(dag.blocks, 0)], bugs=1) as bench:
            with pytest.raises(NodeFault, match="a bug of ours"):
                await bench.fetch(order)
            assert (await bench.fetch(order)).data == DATA

    run(main())


def test_one_that_made_an_offer_is_not_asked_for_nothing(run: Run[Any], dag: Blocks) -> None:
    asked: list[int] = []

    class Providers:
        async def find_providers(
            self, key: bytes, *, limit: int | None = None, deadline_s: float
        ) -> list[PeerInfo]:
            return [PeerInfo(identity(number).peer_id) for number in (1, 2)]

    def over_bitswap(peer: PeerInfo, answers: BlockAnswers, payer: Payer | None) -> BlockHolder:
        assert payer is None
        asked.append(1 if peer.peer_id == identity(1).peer_id else 2)
        return HttpHolder(HttpTarget("127.0.0.1", 1024), answers, dialer, HOLDERS, Clock())

    dialer = HttpDialer(HOLDERS, Resolver((), 5.0), lambda host: False)

    async def main() -> None:
        order = replace(file_in(dag), max_price=4)
        reach = HolderReach(dialer, HOLDERS, Clock(), over_bitswap)
        more = [ProviderHolders(Providers(), reach)]
        async with buying(order.root, [(dag.blocks, 5)], more=more) as bench:
            with pytest.raises(Unmet, match="cheapest asks 5"):
                await bench.fetch(order)
        assert asked == [2]

    run(main())


def test_holders_are_remembered(run: Run[Any], dag: Blocks) -> None:
    async def main() -> None:
        order = file_in(dag)
        async with buying(order.root, [(dag.blocks, 0), ({}, 0)]) as bench:
            await bench.fetch(order)
            history, now = bench.fetcher.history, Clock().now()
            good, bad = (history.standing(identity(number).peer_id.raw, now) for number in (1, 2))
            assert good > 0 >= bad
            assert bench.fetcher.totals.ended == 1

    run(main())


@pytest.mark.parametrize("identities", [1, 80])
def test_many_liars_hide_no_seller(run: Run[Any], dag: Blocks, identities: int) -> None:
    """They are found first, ask nothing for it, and are more than are asked at a time."""

    async def main() -> None:
        order = file_in(dag)

        async def liar(cid: str, writer: asyncio.StreamWriter) -> None:
            writer.write(ok(b"lie"))

        few = replace(HOLDERS, max_holders=16)
        async with buying(order.root, [(dag.blocks, 5), (liar, 0)], holders=few) as bench:
            seller, _ = bench.dht.offers
            port = bench.gateways[1].port
            lies = [
                signed(
                    OfferTerms(
                        order.root.multihash,
                        str(number).encode(),
                        "",
                        FileMetadata(
                            "127.0.0.1", port, 0, ways=Way.HTTP, url=f"http://127.0.0.1:{port}/{number}"
                        ),
                    ),
                    100 + number % identities,
                )
                for number in range(80)
            ]
            bench.dht.offers[:] = [*lies, seller]
            fetched = await bench.fetch(order)
            assert bench.dht.searches == 1
        assert fetched.data == DATA
        assert fetched.summary.cost == -(-len(DATA) * 5 // 1_000_000)
        assert sum(share.ended == "sent a wrong block" for share in fetched.summary.holders) >= 16

    run(main())
