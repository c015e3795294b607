"""A whole node with all its ports, in this process, and what is asked of it over real sockets."""

from __future__ import annotations

import asyncio
import logging
import re
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc
import grpc.aio

from fastmarket.config import (
    ContentConfig,
    HostConfig,
    MarketConfig,
    NodeConfig,
    PaymentConfig,
    WebConfig,
)
from fastmarket.formats.cid import Cid
from fastmarket.formats.unixfs.importer import cid_of_bytes
from fastmarket.market.grpc_errors import rich_of
from fastmarket.node import Node
from fastmarket.pb.fastmarket.v1 import errors_pb2
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1
from tests.fuzz.values import ED25519

T = TypeVar("T")
GOOD: Final = bytes(range(256)) * 2000  # two leaves
ANSWER_S: Final = 10.0  # wall time; an answer that takes longer never comes
CALL_S: Final = 5.0
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")
# What a call may end with besides OK: ours, and gRPC's own for calls that are cut off.
REFUSALS: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
    }
)


class Refused(Exception):
    """The node answered with an error that is the caller's, or the network's."""


@contextmanager
def quiet() -> Iterator[None]:
    """Without lines of logs."""
    logs = logging.getLogger("fastmarket")
    before = logs.level
    logs.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logs.setLevel(before)


class _Errors(logging.Handler):
    """Lines about bugs of ours."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.lines.append(f"{record.getMessage()}: {record.exc_info[1]!r}")


class LiveNode:
    """Sells one file for nothing, and has no peers."""

    def __init__(self) -> None:
        self._home = tempfile.TemporaryDirectory()
        self.goods = Path(self._home.name) / "goods"
        self.goods.mkdir()
        (self.goods / "good.bin").write_bytes(GOOD)
        (self.goods / "other.txt").write_bytes(b"other")
        config = NodeConfig(
            host=HostConfig(listen=("/ip4/127.0.0.1/tcp/0",)),
            market=MarketConfig(port=0),
            web=WebConfig(port=0, metrics_port=0),
            content=ContentConfig(port=0, host="127.0.0.1", allow_paths=(str(self.goods),)),
            payments=PaymentConfig(required=True),
        )
        self.node = Node(config, ED25519[0])
        self.errors = _Errors()
        self._logger = logging.getLogger("fastmarket")
        self._logger.addHandler(self.errors)
        self._propagates, self._logger.propagate = self._logger.propagate, False
        self.bugs: list[str] = []
        loop().set_exception_handler(lambda _loop, context: self.bugs.append(str(context)))
        run(self.node.start())
        self.cid: Cid = cid_of_bytes(GOOD)
        self.channel = self._channel()
        self.sell(str(self.goods / "good.bin"))

    def _channel(self) -> grpc.aio.Channel:
        async def made() -> grpc.aio.Channel:
            return grpc.aio.insecure_channel(self.node.grpc_address)

        return run(made())

    def stop(self) -> None:
        """Ends it."""
        run(self.channel.close())
        run(self.node.stop())
        self._logger.removeHandler(self.errors)
        self._logger.propagate = self._propagates
        loop().set_exception_handler(None)
        self._home.cleanup()

    def sell(self, path: str) -> None:
        """For nothing."""

        async def call() -> None:
            method = self.channel.unary_stream("/fastmarket.v1.Market/Sell")
            async for _ in method(v1.SellRequest(paths=[path]).SerializeToString(), timeout=ANSWER_S):
                pass

        run(call())

    def check(self) -> None:
        """No bug of ours was met."""
        bugs, self.bugs = self.bugs, []
        lines, self.errors.lines = self.errors.lines, []
        met = [*bugs, *lines]
        assert not met, f"a bug was met: {met[0]:.300}"

    # -- HTTP

    @property
    def page_port(self) -> int:
        return int(self.node.http_address.rpartition(":")[2])

    @property
    def metrics_port(self) -> int:
        return int(self.node.metrics_address.rpartition(":")[2])

    @property
    def content_port(self) -> int:
        return int(self.node.content_url.rpartition(":")[2])

    def http(self, port: int, data: bytes) -> bytes:
        """What comes until the node ends the connection, which it has to once nothing more follows."""
        return run(asyncio.wait_for(_exchange(port, data), ANSWER_S))

    def judged(self, reply: bytes) -> int:
        """The status; raises Refused for 4xx, and for 503: too busy, or no network."""
        assert b"HTTP/1.1 500" not in reply[:15], "an internal error"
        found = _STATUS.match(reply)
        if not reply:
            raise Refused("no answer")
        assert found is not None, f"not HTTP: {reply[:60]!r}"
        status = int(found[1])
        if status >= 400:
            assert status in (*range(400, 452), 501, 503, 505), f"status {status}"
            raise Refused(str(status))
        return status

    def works(self) -> None:
        """The page, the port of contents and gRPC answer as before."""
        host = f"Host: 127.0.0.1:{self.page_port}\r\nConnection: close\r\n\r\n".encode()
        page = self.http(self.page_port, b"GET / HTTP/1.1\r\n" + host)
        assert page.startswith(b"HTTP/1.1 200"), f"the page: {page[:60]!r}"
        probe = self.http(self.metrics_port, b"GET /healthz HTTP/1.1\r\n" + host)
        assert probe.startswith(b"HTTP/1.1 200"), f"the probe: {probe[:60]!r}"
        target = f"GET /ipfs/{self.cid} HTTP/1.1\r\n".encode()
        content = self.http(self.content_port, target + host)
        assert content.startswith(b"HTTP/1.1 200"), f"the content: {content[:60]!r}"
        assert content.endswith(GOOD), "the content is not whole"
        assert v1.Node.FromString(self.call("GetNode", b"")[0]).peer_id == str(self.node.peer_id)
        self.check()

    # -- gRPC

    def call(self, method: str, raw: bytes, *, streams: bool = False, most: int = 3) -> list[bytes]:
        """The answers to one message, up to `most` of them. Raises Refused for a status of ours."""
        service, _, name = method.rpartition(".")
        path = f"/{service or 'fastmarket.v1.Market'}/{name}"
        try:
            return run(self._called(path, raw, streams, most))
        except grpc.aio.AioRpcError as error:
            self._check_status(error)
            raise Refused(error.code().name) from None

    async def _called(self, path: str, raw: bytes, streams: bool, most: int) -> list[bytes]:
        call = (self.channel.stream_stream if streams else self.channel.unary_stream)(path)
        stream = call(iter([raw]) if streams else raw, timeout=CALL_S)
        found: list[bytes] = []
        async for answer in stream:
            found.append(answer)
            if len(found) == most:
                stream.cancel()
                break
        return found

    @staticmethod
    def _check_status(error: grpc.aio.AioRpcError) -> None:
        code, details = error.code(), error.details() or ""
        assert code in REFUSALS, f"{code.name}: {details}"
        if code is not grpc.StatusCode.INVALID_ARGUMENT:
            return
        (wrong,) = (
            errors_pb2.BadRequest.FromString(detail.value).field_violations[0]
            for detail in rich_of(error).details
            if detail.type_url.endswith("BadRequest")
        )
        assert re.fullmatch(r"[a-z][A-Za-z_.]*", wrong.field), f"names no field: {details}"
        assert details == f"{wrong.field}: {wrong.description}"[: len(details)]


async def _exchange(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    parts: list[bytes] = []

    async def read() -> None:
        try:
            while piece := await reader.read(1 << 16):
                parts.append(piece)
        except ConnectionError:
            return

    reading = asyncio.ensure_future(read())
    try:
        try:
            writer.write(data)
            writer.write_eof()
        except OSError:
            pass
        await reading
    finally:
        reading.cancel()
        writer.transport.abort()
    return b"".join(parts)


@cache
def loop() -> asyncio.AbstractEventLoop:
    """One that all targets share."""
    return asyncio.new_event_loop()


def run(work: Coroutine[Any, Any, T]) -> T:
    """To its end."""
    return loop().run_until_complete(work)


_LIVE: list[LiveNode] = []


def live() -> LiveNode:
    """The one that runs."""
    if not _LIVE:
        _LIVE.append(LiveNode())
    return _LIVE[0]


def reset() -> None:
    """Another one, the next time."""
    while _LIVE:
        _LIVE.pop().stop()
