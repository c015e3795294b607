"""A fastmarket peer of the interoperability matrix; ../README.md describes the conversation."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from argparse import ArgumentParser, Namespace
from typing import Any

import uvloop
from node import make_node
from ops import Ops

from fastmarket._version import __version__
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.net.dht_node import DhtNode

DEFAULT_TIMEOUT_S = 20.0
MAX_LINE_BYTES = 4 << 20
CAN = ["ed25519", "rsa", "ecdsa", "secp256k1", "seed", "early-muxer"]


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--listen", action="append", default=[])
    parser.add_argument("--key-type", choices=("ed25519", "rsa", "ecdsa", "secp256k1"), default="ed25519")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--kad-prefix", default="/fastmarket")
    parser.add_argument("--mode", choices=("server", "client"), default="server")
    parser.add_argument("--early-muxer", choices=("on", "off"), default="on")
    parser.add_argument("--idle-timeout", type=float, help="seconds until an unused connection is closed")
    return parser.parse_args()


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


async def answer(ops: Ops, command: dict[str, Any]) -> None:
    number, name = command.pop("id"), command.pop("op")
    timeout_s = command.pop("timeout_s", DEFAULT_TIMEOUT_S)
    op = None if name.startswith("_") else getattr(ops, name, None)
    if op is None:
        say({"id": number, "ok": False, "error": "unsupported", "unsupported": True})
        return
    try:
        async with asyncio.timeout(timeout_s):
            result = await op(**command)
    except Exception as error:  # noqa: BLE001 - whatever failed is the answer
        say({"id": number, "ok": False, "error": " ".join(f"{type(error).__name__}: {error}".split())})
    else:
        say({"id": number, "ok": True, "result": result})


async def converse(node: DhtNode) -> None:
    """Until the end of stdin; commands run beside each other."""
    reader = asyncio.StreamReader(MAX_LINE_BYTES)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    ops = Ops(node)
    async with asyncio.TaskGroup() as running:
        while line := await reader.readline():
            running.create_task(answer(ops, json.loads(line)))


async def main(args: Namespace) -> None:
    node = make_node(args)
    try:
        for addr in args.listen:
            await node.listen(Multiaddr.from_text(addr))
        say(
            {
                "ready": True,
                "peer_id": str(node.peer_id),
                "listen": [str(addr) for addr in node.listen_addrs],
                "implementation": "fastmarket",
                "version": __version__,
                "can": CAN,
            }
        )
        await converse(node)
    finally:
        await node.close()


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.DEBUG, format="%(name)s: %(message)s")
    uvloop.run(main(parse_args()))
