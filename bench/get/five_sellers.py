"""Five sellers, of which one is stopped (SIGSTOP), one sends 1 MB a second and one sends wrong bytes, beside
the two good ones alone."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc.aio

from bench.get.commands import CommandFailed
from bench.get.following import until_there
from bench.get.nodes import GET_DEADLINE_S, SELLER, Network, begin_get, sell
from bench.get.row import middle, rounded, row, share
from bench.get.setting import Setting
from bench.local_network import Mark, Report
from bench.processes import started
from fastmarket.cli.processes import ServerProcess
from fastmarket.pb import market_pb2, market_pb2_grpc

LIMIT = 1.3
SLOW = ("--content-rate", "1MB")
STOP_AT = 0.2  # of the file fetched when the seller is stopped
ROOT = Path(__file__).parent.parent.parent


def measure(setting: Setting) -> Report:
    """In turns, each with a buyer that knows nothing of the sellers yet."""
    alone: list[float] = []
    five: list[float] = []
    with ExitStack() as stack:
        good = stack.enter_context(setting.network())
        for _ in range(2):
            _, cid = good.seller(setting.path)
        mixed = stack.enter_context(setting.network())
        sellers = [mixed.start(*SELLER) for _ in range(3)]
        sellers.append(mixed.start(*SELLER, *SLOW))
        for node in sellers:
            assert sell(node, setting.path) == cid
        liar = stack.enter_context(_liar(sellers[0].ready["content"]))
        asyncio.run(_offer(mixed.start(), cid, liar))
        for _ in range(setting.turns):
            alone.append(_took_s(setting, good, cid, None))
            five.append(_took_s(setting, mixed, cid, sellers[2]))
        good.check_logs()
        mixed.check_logs()
    ratio = middle([one / other for one, other in zip(five, alone, strict=True)])
    figures: dict[str, object] = {"two good ones, s": rounded(alone), "five, s": rounded(five)}
    marks = [
        share("5 sellers, 3 of them bad: wall time, of the 2 good ones alone", ratio, LIMIT),
        Mark("wrong bytes out", 0, 0, ""),  # `check_got` has compared them
    ]
    return row("5 sellers", figures, marks)


def _took_s(setting: Setting, network: Network, cid: str, doomed: ServerProcess | None) -> float:
    with network.buyer() as buyer, tempfile.TemporaryFile() as log:
        output = network.directory / "got"
        command = begin_get(buyer, cid, output, log)
        if doomed is not None:
            until_there(output, STOP_AT * setting.size, command)
            doomed.process.send_signal(signal.SIGSTOP)
        try:
            status, ended = command.wait(GET_DEADLINE_S)
        finally:
            if doomed is not None:
                doomed.process.send_signal(signal.SIGCONT)
        if status != 0:
            log.seek(0)
            raise CommandFailed(log.read().decode(errors="replace"))
        setting.check_got(output)
    return ended.wall_s


@contextmanager
def _liar(url: str) -> Iterator[int]:
    """Its port."""
    with started([sys.executable, "-m", "bench.get.liar", url], ROOT) as process:
        yield int(process.hello["port"])


async def _offer(node: ServerProcess, cid: str, port: int) -> None:
    """Registers the content at that port."""
    async with grpc.aio.insecure_channel(node.ready["grpc"]) as channel:
        stub = market_pb2_grpc.MarketStub(channel)  # type: ignore[no-untyped-call]
        user = market_pb2.User(id=b"l", name="liar", ip="127.0.0.1", port=port, price=0)
        await stub.RegisterFile(market_pb2.RegisterFileRequest(user=user, fileHash=cid))
