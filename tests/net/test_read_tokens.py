"""A token that may read, over gRPC: no more of this machine than over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from fastmarket.config import AccessConfig, ContentConfig, HostConfig, MarketConfig, NodeConfig
from fastmarket.node import Node
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1
from fastmarket.pb.fastmarket.v1 import market_pb2_grpc as v1_grpc
from tests.net.loopback import identity
from tests.net.test_access import READ, WRITE, answers_of, bearer

CONTENT = "ab" * 32


@asynccontextmanager
async def market(directory: Path, tokens: str = "") -> AsyncIterator[Any]:
    """A node that sells, and a stub of its service."""
    config = NodeConfig(
        host=HostConfig(listen=("/ip4/127.0.0.1/tcp/0",)),
        market=MarketConfig(port=0),
        content=ContentConfig(port=0, allow_paths=(str(directory),)),
        access=AccessConfig(tokens=tokens),
    )
    async with (
        Node(config, identity(1)) as node,
        grpc.aio.insecure_channel(node.grpc_address) as channel,
    ):
        yield v1_grpc.MarketStub(channel)  # type: ignore[no-untyped-call]


def with_tokens(tmp_path: Path) -> str:
    path = tmp_path / "tokens"
    path.touch(0o600)
    path.write_text(f"read {READ}\nwrite {WRITE}\n")
    return str(path)


def goods(tmp_path: Path) -> list[str]:
    """The paths of three files, in order."""
    directory = tmp_path / "goods"
    directory.mkdir()
    paths = [str(directory / name) for name in "abc"]
    for path in paths:
        Path(path).write_text(path)
    return paths


async def pages(stub: Any, metadata: Any) -> list[v1.Good]:
    """All goods, one a page; more pages than goods are a fault."""
    found: list[v1.Good] = []
    token = ""
    for _ in range(4):
        page = await stub.ListGoods(v1.ListGoodsRequest(page_size=1, page_token=token), metadata=metadata)
        found += page.goods
        token = page.next_page_token
        if not token:
            return found
    raise AssertionError("the pages never end")


def test_goods_are_listed_without_their_paths(run: Any, tmp_path: Path) -> None:
    paths = goods(tmp_path)

    async def main() -> None:
        async with market(tmp_path / "goods", with_tokens(tmp_path)) as stub:
            reader, writer = bearer(READ), bearer(WRITE)
            sell = v1.SellRequest(paths=[str(tmp_path / "goods")], price=1, each_file=True)
            await answers_of(stub.Sell(sell, metadata=writer))
            listed, shown = await pages(stub, writer), await pages(stub, reader)
            assert [good.path for good in listed] == paths
            assert [good.path for good in shown] == [""] * 3
            assert [good.cid for good in shown] == [good.cid for good in listed]
            assert [good.size for good in shown] == [len(path) for path in paths]
            page = await stub.ListGoods(v1.ListGoodsRequest(page_size=1), metadata=reader)
            assert str(tmp_path) not in str(page)
            await stub.Unsell(v1.UnsellRequest(content=paths[0]), metadata=writer)
            gone = v1.ListGoodsRequest(page_size=1, page_token=page.next_page_token)
            with pytest.raises(grpc.aio.AioRpcError, match="begin again"):
                await stub.ListGoods(gone, metadata=reader)
            # What comes behind a path of the caller's own tells where the goods lie, one question a letter.
            asked = v1.ListGoodsRequest(page_size=1, page_token=f"1:{tmp_path}/goods/aa")
            assert (await stub.ListGoods(asked, metadata=writer)).goods
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.ListGoods(asked, metadata=reader)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert (refused.value.details() or "").startswith("page_token: ")

    run(main())


def test_where_there_are_no_tokens_a_program_of_this_machine_sees_paths(run: Any, tmp_path: Path) -> None:
    paths = goods(tmp_path)

    async def main() -> None:
        async with market(tmp_path / "goods") as stub:
            sell = v1.SellRequest(paths=[paths[0]], price=1)
            await answers_of(stub.Sell(sell))
            assert [good.path for good in await pages(stub, None)] == [paths[0]]
            await answers_of(stub.FindHolders(v1.FindHoldersRequest(content=CONTENT, live=True)))

    run(main())


def test_no_holder_is_probed(run: Any, tmp_path: Path) -> None:
    (tmp_path / "goods").mkdir()

    async def main() -> None:
        async with market(tmp_path / "goods", with_tokens(tmp_path)) as stub:
            live = v1.FindHoldersRequest(content=CONTENT, live=True)
            await answers_of(stub.FindHolders(live, metadata=bearer(WRITE)))
            live.live = False
            await answers_of(stub.FindHolders(live, metadata=bearer(READ)))
            live.live = True
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await answers_of(stub.FindHolders(live, metadata=bearer(READ)))
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert (refused.value.details() or "").startswith("live: ")

    run(main())
