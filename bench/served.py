"""What the benchmarks load, each a process of its own: our node, and the ceilings that stand beside it.

    python -m bench.served node [--peers 200] [--offers 0]   a node with a table and offers for CONTENT
    python -m bench.served raw                  answers each REQUEST_BYTES with REPLY_BYTES, nothing else
    python -m bench.served grpc                 a grpc.aio server whose handler returns what it was given
    python -m bench.served imports              what a node imports, and nothing done with it
    python -m bench.served nodes --count 50     nodes that listen; prints the memory before and after
                           [--join ADDR]        and connect to that node, which then has them in its table

Each says one line of JSON when it is ready and ends with its input.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import grpc
import grpc.aio
import uvloop

from bench.processes import rss_mb
from fastmarket.cli.memory import GC_THRESHOLDS
from fastmarket.config import NodeConfig
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.net.dht_node import DhtNode
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import OfferTerms, sign_offer

LOOPBACK = Multiaddr.from_text("/ip4/127.0.0.1/tcp/0")
CONTENT = b"\x12\x20" + hashlib.sha256(b"content").digest()
REQUEST_BYTES = 39  # a FIND_NODE behind its length
REPLY_BYTES = 1484  # 20 peers with two addresses each
OTHERS = 1000  # the first seed of nodes that are not the one under load
EMPTY_UNARY, EMPTY_STREAM = "/bench.Empty/Unary", "/bench.Empty/Stream"


def synthetic_peer(number: int) -> PeerInfo:
    """A peer as others would describe it: an Ed25519 id and two addresses."""
    peer_id = PeerId.from_bytes(b"\x00\x24\x08\x01\x12\x20" + hashlib.sha256(b"%d" % number).digest())
    addrs = (f"/ip4/192.0.2.{number % 250 + 1}/tcp/16899", f"/ip6/2001:db8::{number:x}/tcp/16899")
    return PeerInfo(peer_id, tuple(Multiaddr.from_text(addr) for addr in addrs))


def _say(**line: object) -> None:
    print(json.dumps(line), flush=True)


async def _end_of_input() -> None:
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def _node(seed: int) -> DhtNode:
    config = NodeConfig()
    identity = Identity.from_seed(hashlib.sha256(b"served %d" % seed).digest())
    return DhtNode(identity, replace(config, host=replace(config.host, listen=())))


async def serve_node(given: argparse.Namespace) -> None:
    """A table of `--peers` identified peers less those that found no place; the same ones every time."""
    node = _node(0)
    (addr,) = await node.listen(LOOPBACK)
    kad = NodeConfig().kad
    for number in range(given.peers):
        node.engine.on_peer_identified(synthetic_peer(number), {kad.protocol}, node.now())
    for number in range(given.offers):
        signer = Identity.from_seed(hashlib.sha256(b"holder %d" % number).digest())
        terms = OfferTerms(
            CONTENT, b"user", "someone", FileMetadata("192.0.2.7", 4000, number, 10**9, "a.bin")
        )
        node.offers.store.add(sign_offer(signer, terms, node.now()), node.now())
    gc.set_threshold(*GC_THRESHOLDS)  # as `fastmarket-server` does it
    gc.freeze()
    _say(addr=str(addr), table=node.engine.table_size)
    await _end_of_input()
    await node.close()


class _Raw(asyncio.Protocol):
    """The least that serving can cost: a read, a division, a write."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._part = 0

    def data_received(self, data: bytes) -> None:
        requests, self._part = divmod(self._part + len(data), REQUEST_BYTES)
        if requests:
            self._transport.write(bytes(requests * REPLY_BYTES))


async def serve_raw(given: argparse.Namespace) -> None:
    server = await asyncio.get_running_loop().create_server(_Raw, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    _say(addr=f"/ip4/{host}/tcp/{port}")
    await _end_of_input()


async def serve_grpc(given: argparse.Namespace) -> None:
    async def unary(raw: bytes, context: Any) -> bytes:
        return raw

    async def stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for raw in requests:
            yield raw

    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Stream": grpc.stream_stream_rpc_method_handler(stream),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Empty", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    _say(grpc=f"127.0.0.1:{port}")
    await _end_of_input()
    await server.stop(0)


async def serve_imports(given: argparse.Namespace) -> None:
    """gRPC, protobuf, libsodium and uvloop are loaded by this module's imports."""
    _say(pid=os.getpid())
    await _end_of_input()


async def serve_nodes(given: argparse.Namespace) -> None:
    first = _node(OTHERS)
    await first.listen(LOOPBACK)
    before = rss_mb(os.getpid())
    more = [_node(number) for number in range(OTHERS + 1, OTHERS + given.count)]
    for node in more:
        await node.listen(LOOPBACK)
    if given.join:
        there = Multiaddr.from_text(given.join)
        assert there.peer_id is not None
        for node in (first, *more):
            await node.dial(PeerInfo(there.peer_id, (there.without_peer(),)))
    _say(first_mb=before, all_mb=rss_mb(os.getpid()))
    await _end_of_input()
    for node in (first, *more):
        await node.close()


WHAT = {
    "node": serve_node,
    "raw": serve_raw,
    "grpc": serve_grpc,
    "imports": serve_imports,
    "nodes": serve_nodes,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--peers", type=int, default=200)
    parser.add_argument("--offers", type=int, default=0)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--join", default="")
    given = parser.parse_args()
    uvloop.run(WHAT[given.what](given))


if __name__ == "__main__":
    main()
