"""A py-libp2p peer of the interoperability matrix; ../README.md describes the conversation."""

from __future__ import annotations

import json
import logging
import sys
from argparse import ArgumentParser, Namespace
from typing import Any

import libp2p
import trio
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr
from node import make_node
from ops import Ops

DEFAULT_TIMEOUT_S = 20.0
CAN = ["ed25519", "secp256k1", "rsa", "values-utf8-keys-only"]


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--listen", action="append", default=[])
    parser.add_argument("--key-type", default="ed25519")
    parser.add_argument("--seed")
    parser.add_argument("--kad-prefix", default="/fastmarket")
    parser.add_argument("--mode", choices=("server", "client"), default="server")
    parser.add_argument("--early-muxer", choices=("on", "off"), help="the library never does it")
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
        with trio.fail_after(timeout_s):
            result = await op(**command)
    except Exception as error:  # noqa: BLE001 - whatever failed is the answer
        say({"id": number, "ok": False, "error": one_line(error)})
    else:
        say({"id": number, "ok": True, "result": result})


def one_line(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):  # of a nursery: the first tells enough
        error = error.exceptions[0]
    return " ".join(f"{type(error).__name__}: {error}".split())


async def main() -> None:
    args = parse_args()
    node = make_node(args.key_type, args.seed, args.kad_prefix, args.mode)
    listen = [Multiaddr(addr) for addr in args.listen]
    async with node.host.run(listen), background_trio_service(node.dht), trio.open_nursery() as nursery:
        peer_id = str(node.host.get_id())
        say(
            {
                "ready": True,
                "peer_id": peer_id,
                "listen": [f"{addr}/p2p/{peer_id}" for addr in node.host.get_transport_addrs()],
                "implementation": "py-libp2p",
                "version": libp2p.__version__,
                "can": CAN,
            }
        )
        ops = Ops(node)
        async for line in trio.wrap_file(sys.stdin):
            if line.strip():
                nursery.start_soon(answer, ops, json.loads(line))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR)
    trio.run(main)
