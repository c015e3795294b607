"""Bounds and time limits of every HTTP port, crossed over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fastmarket.config import NodeConfig, WebConfig
from fastmarket.node import Node
from fastmarket.web.metrics import PROBES
from fastmarket.web.server import WebServer
from tests.net.loopback import DEADLINE_S, identity, until
from tests.net.test_metrics import LOOPBACK, MarketConfig

HEAD = b"GET /page HTTP/1.1\r\nHost: localhost\r\n"
REFUSED = b"PUT /refuses HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n"
HALF_A_BODY = b"PUT /reads HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"
UPGRADE = HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
CONFIG = WebConfig(max_connections=6, max_connections_per_ip=6, reserved_connections=2, max_requests=4)
SOON = replace(CONFIG, request_timeout_s=0.1, unread_timeout_s=0.1)
BIG = bytes(30_000_000)  # more than any socket buffer takes

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Site:
    """A server with a page, one that waits, one that reads, a large one, and a probe."""

    def __init__(self, config: WebConfig) -> None:
        async def page(request: Request) -> Response:
            return PlainTextResponse("page")

        async def waits(request: Request) -> Response:
            self.waiting += 1
            await self.go_on.wait()
            return PlainTextResponse("waited")

        async def reads(request: Request) -> Response:
            return PlainTextResponse(str(len(await request.body())))

        async def refuses(request: Request) -> Response:
            return PlainTextResponse("no", 403)

        async def big(request: Request) -> Response:
            return Response(BIG)

        routes = {
            "/page": page,
            "/waits": waits,
            "/reads": reads,
            "/refuses": refuses,
            "/big": big,
            "/healthz": page,
        }
        made = [Route(path, answer, methods=("GET", "PUT")) for path, answer in routes.items()]
        self.server = WebServer(made, config, "127.0.0.1", 0, always=PROBES)
        self.waiting = 0
        self.go_on = asyncio.Event()
        self.port = 0

    async def connect(self, sent: bytes = b"", host: str = "127.0.0.1") -> Stream:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(host, 0))
        writer.write(sent)
        return reader, writer

    async def get(self, path: str, host: str = "127.0.0.1") -> str:
        """The status line's code and the body."""
        reader, writer = await self.connect(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode(), host
        )
        answer = (await reader.read()).decode()
        writer.close()
        head, _, body = answer.partition("\r\n\r\n")
        return f"{head[9:12]} {body.strip()}"


@asynccontextmanager
async def site(config: WebConfig) -> AsyncIterator[Site]:
    made = Site(config)
    made.port = await made.server.start()
    try:
        yield made
    finally:
        made.go_on.set()
        await made.server.stop()


@pytest.mark.parametrize("sent", [b"", HEAD, HALF_A_BODY])
def test_a_request_that_does_not_come_ends(run: Any, sent: bytes) -> None:
    async def main() -> None:
        async with site(SOON) as made:
            reader, writer = await made.connect(sent)
            assert await reader.read() == b""
            writer.close()
            await until(lambda: len(made.server.door) == 0)

    run(main())


def test_a_body_that_goes_on_behind_its_answer_ends(run: Any) -> None:
    """A page may answer before it has read all, and nobody waits for the rest any more."""

    async def main() -> None:
        async with site(SOON) as made:
            for drips in (0, 3):
                reader, writer = await made.connect(REFUSED)
                await reader.readuntil(b"no")
                for _ in range(drips):
                    writer.write(b"x")
                    await writer.drain()
                async with asyncio.timeout(DEADLINE_S):
                    assert await reader.read() == b""
                writer.close()

    run(main())


def test_what_takes_its_time_is_no_late_request(run: Any) -> None:
    """An answer that is worked on, and a connection kept for the next request."""

    async def main() -> None:
        async with site(SOON) as made, httpx.AsyncClient(base_url=f"http://127.0.0.1:{made.port}") as http:
            waits = asyncio.create_task(http.get("/waits"))
            reader, writer = await made.connect(HEAD + b"\r\n")
            await reader.readuntil(b"page")
            for _ in range(3):  # longer than a request may take, as other connections see it
                late, other = await made.connect(HEAD)
                assert await late.read() == b""
                other.close()
            made.go_on.set()
            assert (await waits).text == "waited"
            writer.write(HEAD)
            await asyncio.sleep(0)
            writer.write(b"\r\n")
            assert b"page" in await reader.readuntil(b"page")
            writer.write(HEAD)  # the second time it is late, too
            assert await reader.read() == b""
            writer.close()

    run(main())


@pytest.mark.parametrize("at", range(1, len(HEAD) + 2, 7))
def test_a_request_in_parts_is_answered(run: Any, at: int) -> None:
    whole = HEAD + b"Connection: close\r\n\r\n"

    async def main() -> None:
        async with site(CONFIG) as made:
            reader, writer = await made.connect(whole[:at])
            await until(lambda: len(made.server.door) == 1)
            writer.write(whole[at:])
            assert (await reader.read()).endswith(b"page")
            writer.close()

    run(main())


def test_an_answer_that_nobody_reads_ends(run: Any) -> None:
    async def main() -> None:
        async with site(replace(SOON, request_timeout_s=DEADLINE_S)) as made:
            _, writer = await made.connect(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            await until(lambda: len(made.server.door) == 1)
            await until(lambda: len(made.server.door) == 0)
            writer.close()

    run(main())


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + b"\r\n"])
def test_connections_without_a_request_give_way(run: Any, sent: bytes) -> None:
    """Silent ones, half-sent ones and idle ones: whoever asks is answered."""

    async def main() -> None:
        async with site(CONFIG) as made:
            held = [await made.connect(sent) for _ in range(20)]
            for _ in range(3):
                assert await made.get("/page") == "200 page"
            assert len(made.server.door) <= CONFIG.max_connections
            for _, writer in held:
                writer.close()

    run(main())


def test_probes_are_answered_when_everything_is_in_use(run: Any) -> None:
    async def main() -> None:
        config = replace(CONFIG, max_requests=6)
        async with site(config) as made:
            asks = [asyncio.create_task(made.get("/waits")) for _ in range(6)]
            await until(lambda: made.waiting == 6)
            crowd = [await made.connect(HEAD) for _ in range(10)]  # they want the reserve
            for _ in range(3):
                assert await made.get("/healthz") == "200 page"
                assert (await made.get("/page")).startswith("503")
            made.go_on.set()
            assert await asyncio.gather(*asks) == ["200 waited"] * 6
            for _, writer in crowd:
                writer.close()
            await until(lambda: len(made.server.door) == 0)
            assert await made.get("/page") == "200 page"

    run(main())


def test_more_requests_than_the_bound_are_told_so(run: Any) -> None:
    async def main() -> None:
        async with site(CONFIG) as made:
            asks = [asyncio.create_task(made.get("/waits")) for _ in range(4)]
            await until(lambda: made.waiting == 4)
            assert (await made.get("/page")).startswith("503")
            assert await made.get("/healthz") == "200 page"
            made.go_on.set()
            await asyncio.gather(*asks)

    run(main())


def test_one_address_does_not_take_every_place(run: Any) -> None:
    async def main() -> None:
        async with site(replace(CONFIG, max_connections_per_ip=2, max_requests=6)) as made:
            asks = [asyncio.create_task(made.get("/waits", "127.0.0.9")) for _ in range(2)]
            await until(lambda: made.waiting == 2)
            assert (await made.get("/page", "127.0.0.9")).startswith("503")
            assert await made.get("/healthz", "127.0.0.9") == "200 page"
            assert await made.get("/page") == "200 page"
            made.go_on.set()
            await asyncio.gather(*asks)

    run(main())


def test_a_body_too_long_ends(run: Any) -> None:
    async def main() -> None:
        async with site(CONFIG) as made:
            for size, answered in ((CONFIG.max_body_bytes, True), (CONFIG.max_body_bytes + 1, False)):
                put = f"PUT /reads HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
                reader, writer = await made.connect(put.encode() + bytes(size))
                assert ((await reader.read()).endswith(str(size).encode())) is answered
                writer.close()

    run(main())


def test_noise_is_no_line_in_the_log(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with site(CONFIG) as made:
            for sent in (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", UPGRADE):
                reader, writer = await made.connect(sent)
                assert await reader.read(12)
                writer.close()

    run(main())
    assert [record for record in caplog.records if record.name != "asyncio"] == []


def test_metrics_are_for_our_own_names(run: Any) -> None:
    async def main() -> None:
        web = WebConfig(port=0, metrics_port=0, names=("node.example.org",))
        config = NodeConfig(host=LOOPBACK, market=MarketConfig(port=0), web=web)
        async with Node(config, identity(9)) as node:
            for address in (node.metrics_address, node.http_address):
                base = f"http://{address}"
                async with httpx.AsyncClient(base_url=base, timeout=DEADLINE_S) as http:
                    for name, ours in (
                        ("localhost", True),
                        ("127.0.0.1:9", True),
                        ("[::1]", True),
                        ("Node.Example.org", True),
                        ("rebound.example", False),
                        ("127.0.0.1.rebound.example:80", False),
                        ("localhost@rebound.example", False),
                        ("rebound.example:80@localhost", False),
                        ("rebound.example:99999999", False),
                        ("[::1", False),
                        (b"\xff.example", False),
                        ("node.example.org.evil.example", False),
                    ):
                        path = "/metrics" if address == node.metrics_address else "/status.json"
                        code = (await http.get(path, headers={"Host": name})).status_code
                        assert code == (200 if ours else 421), name
                    for path in PROBES if address == node.metrics_address else ():
                        assert (await http.get(path, headers={"Host": "any.name"})).status_code == 200

    run(main())
