"""`FindHolders` with `live`: each holder is asked whether it is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastmarket.config import ContentConfig, HostConfig, MarketConfig, NodeConfig
from fastmarket.formats.cid import Cid, Codec, sha256_multihash
from fastmarket.market.grpc_client import MarketClient
from fastmarket.node import Node
from fastmarket.offers.model.metadata import FileMetadata, Way
from tests.virtual import identity

CONTENT = str(Cid(1, Codec.RAW, sha256_multihash(b"a content")))
CONFIG = NodeConfig(
    host=HostConfig(listen=("/ip4/127.0.0.1/tcp/0",)),
    market=MarketConfig(port=0),
    content=ContentConfig(port=0),
)


@asynccontextmanager
async def gateway(status: str) -> AsyncIterator[int]:
    """Answers each request with that status line; "" is silence."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HEAD /ipfs/" + CONTENT.encode() + b"?format=raw ")
        if status:
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def test_a_live_search_says_which_holders_answer(run: Any) -> None:
    async def main() -> None:
        async with (
            gateway("200 OK") as good,
            gateway("404 Not Found") as empty,
            gateway("") as silent,
            gateway("500 Internal Server Error") as broken,
            Node(CONFIG, identity(1)) as node,
            MarketClient(node.grpc_address) as client,
        ):
            for user, port in ((b"a", silent), (b"b", empty), (b"c", good), (b"d", broken), (b"e", 1)):
                terms = FileMetadata("127.0.0.1", port, 5, ways=Way.HTTP)
                await client.register(CONTENT, terms, user_id=user)
            await client.register(CONTENT, FileMetadata("127.0.0.1", good, 4), user_id=b"tells no way")
            found = await client.find_holders(CONTENT, live=True)
            told = [(holder.id, holder.liveness) for holder in found]
            assert told[:3] == [(b"tells no way", ""), (b"c", "LIVE"), (b"b", "MISSING")]
            assert {*told[3:]} == {(user, "SILENT") for user in (b"a", b"d", b"e")}
            assert 0 < found[1].probe_ms < 1000
            assert [holder.liveness for holder in await client.find_holders(CONTENT)] == [""] * 6

    run(main())
