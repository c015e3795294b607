"""Blocks over HTTP from servers that are good, slow, rude or gone, over real sockets."""

from __future__ import annotations

import asyncio
import pickle
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fastmarket.config import HolderConfig
from fastmarket.errors import CallerFault
from fastmarket.exchange.fetching.events import Ask
from fastmarket.exchange.fetching.holder import AskFailure
from fastmarket.formats.cid import Cid, sha256_multihash
from fastmarket.net.addresses import OwnAddresses
from fastmarket.net.clock import Clock
from fastmarket.net.fetching.http_dialer import HttpDialer
from fastmarket.net.fetching.http_holder import HttpHolder, retry_after_s
from fastmarket.net.fetching.http_target import BLOCKED_PORTS, HttpTarget
from fastmarket.net.resolver import Resolver
from tests.certificates import Authority
from tests.conftest import Run
from tests.net.fetching.gateway import head, of_blocks, ok, serving
from tests.net.loopback import identity

BLOCKS = [bytes([i]) * (i * 9000 + 1) for i in range(20)]
CIDS = [Cid(1, 0x55, sha256_multihash(block)) for block in BLOCKS]
BY_NAME = {str(cid): block for cid, block in zip(CIDS, BLOCKS, strict=True)}
CONFIG = HolderConfig(max_connections_per_holder=4)


@dataclass
class Answers:
    """What a holder answered, by request."""

    blocks: dict[int, bytes] = field(default_factory=dict)
    missing: list[int] = field(default_factory=list)
    failures: dict[int, tuple[AskFailure, str, float | None]] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def on_block(self, request: int, block: bytes) -> None:
        assert request not in self.blocks
        self.blocks[request] = block
        self.changed.set()

    def on_missing(self, request: int) -> None:
        self.missing.append(request)
        self.changed.set()

    def on_failure(
        self, request: int, kind: AskFailure, detail: str, retry_after_s: float | None = None
    ) -> None:
        self.failures[request] = (kind, detail, retry_after_s)
        self.changed.set()

    async def until(self, done: Callable[[], bool]) -> None:
        """Waits; the test's deadline ends what never comes."""
        while not done():
            self.changed.clear()
            await self.changed.wait()

    async def failure(self, request: int) -> tuple[AskFailure, str, float | None]:
        await self.until(lambda: request in self.failures)
        return self.failures[request]


@asynccontextmanager
async def holding(
    target: HttpTarget,
    *,
    config: HolderConfig = CONFIG,
    may_dial: Callable[[str], bool] = lambda host: True,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[tuple[HttpHolder, Answers]]:
    answers = Answers()
    dialer = HttpDialer(config, Resolver((), 5.0), may_dial, tls)
    holder = HttpHolder(target, answers, dialer, config, Clock())
    try:
        yield holder, answers
    finally:
        await holder.close()
        assert dialer.used == 0, "every connection is accounted for"


def ask(number: int, cid: Cid | None = None, most: int = 1_000_000) -> Ask:
    return Ask(number, 0, (cid or CIDS[number]).raw, 0.0, most)


def local(port: int) -> HttpTarget:
    return HttpTarget("127.0.0.1", port)


def test_many_blocks_come_over_few_connections(run: Run[Any]) -> None:
    async def main() -> None:
        async with serving(of_blocks(BY_NAME)) as gateway, holding(local(gateway.port)) as (holder, answers):
            for number in range(len(BLOCKS)):
                holder.ask(ask(number))
            await answers.until(lambda: len(answers.blocks) == len(BLOCKS))
            assert [answers.blocks[i] for i in range(len(BLOCKS))] == BLOCKS
            assert gateway.connections <= CONFIG.max_connections_per_holder
            holder.ask(ask(77, CIDS[3]))
            await answers.until(lambda: 77 in answers.blocks)
            assert gateway.connections <= CONFIG.max_connections_per_holder
            line, *headers = gateway.lines[0].split("\r\n")
            assert line == f"GET /ipfs/{CIDS[0]}?format=raw HTTP/1.1"
            assert f"Host: 127.0.0.1:{gateway.port}" in headers
            assert "Accept: application/vnd.ipld.raw" in headers

    run(main())


def test_a_process_serves_blocks(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "blocks"
        path.write_bytes(pickle.dumps(BY_NAME))
        script = Path(__file__).with_name("gateway.py")
        pipes = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, script, path, stdin=pipes, stdout=pipes
        )
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        async with holding(local(port)) as (holder, answers):
            for number in range(len(BLOCKS)):
                holder.ask(ask(number))
            await answers.until(lambda: len(answers.blocks) == len(BLOCKS))
            assert [answers.blocks[i] for i in range(len(BLOCKS))] == BLOCKS
            process.kill()
            await process.wait()
            holder.ask(ask(99, CIDS[0]))  # over a connection that was kept, and then over none
            kind, _, _ = await answers.failure(99)
            assert kind in (AskFailure.UNREACHABLE, AskFailure.LOST)

    run(main())


@pytest.mark.parametrize("status", ["404 Not Found", "410 Gone", "451 No", "412 No", "504 No"])
def test_what_a_holder_does_not_have_is_missing(run: Run[Any], status: str) -> None:
    async def reply(cid: str, writer: asyncio.StreamWriter) -> None:
        writer.write(head(status, "Content-Length: 3") + b"no\n")

    async def main() -> None:
        async with serving(reply) as gateway, holding(local(gateway.port)) as (holder, answers):
            for number in range(8):
                holder.ask(ask(number))
            await answers.until(lambda: sorted(answers.missing) == list(range(8)))
            assert gateway.connections <= CONFIG.max_connections_per_holder, "they were kept"

    run(main())


REFUSALS = [
    ("301 Moved", AskFailure.REFUSED, "redirects"),
    ("402 Payment Required", AskFailure.REFUSED, "payment"),
    ("403 Forbidden", AskFailure.REFUSED, "403"),
    ("400 Bad Request", AskFailure.REFUSED, "400"),
    ("500 Internal Server Error", AskFailure.LOST, "500"),
    ("429 Too Many Requests", AskFailure.BUSY, "429"),
    ("503 Service Unavailable", AskFailure.BUSY, "503"),
]


@pytest.mark.parametrize(("status", "kind", "word"), REFUSALS)
def test_a_refusal_says_why(run: Run[Any], status: str, kind: AskFailure, word: str) -> None:
    async def reply(cid: str, writer: asyncio.StreamWriter) -> None:
        writer.write(head(status, "Content-Length: 0", "Retry-After: 7", "Location: http://127.0.0.1:1/"))

    async def main() -> None:
        async with serving(reply) as gateway, holding(local(gateway.port)) as (holder, answers):
            holder.ask(ask(1))
            told, detail, retry_after = await answers.failure(1)
            assert told is kind
            assert word in detail
            assert retry_after == (7.0 if kind is AskFailure.BUSY else None)
            assert len(gateway.asked) == 1

    run(main())


MALFORMED = [
    (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", AskFailure.MALFORMED),
    (head("200 OK"), AskFailure.MALFORMED),
    (head("200 OK", "Content-Length: 5000001"), AskFailure.OVERSIZED),
    (head("200 OK", "X: " + "y" * 20_000), AskFailure.MALFORMED),
    (ok(b"abc") + b"more", AskFailure.MALFORMED),
]


@pytest.mark.parametrize(("raw", "kind"), MALFORMED)
def test_what_breaks_the_protocol_costs_its_connection(run: Run[Any], raw: bytes, kind: AskFailure) -> None:
    async def reply(cid: str, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)

    async def main() -> None:
        async with serving(reply) as gateway, holding(local(gateway.port)) as (holder, answers):
            holder.ask(ask(1))
            told, _, _ = await answers.failure(1)
            assert told is kind
            holder.ask(ask(2))
            await answers.failure(2)
            assert gateway.connections == 2

    run(main())


def test_a_request_whose_kept_connection_ended_is_sent_again(run: Run[Any]) -> None:
    async def main() -> None:
        serve = of_blocks(BY_NAME)
        seen: list[str] = []

        async def reply(cid: str, writer: asyncio.StreamWriter) -> None:
            seen.append(cid)
            if len(seen) == 2:
                writer.transport.abort()
            else:
                await serve(cid, writer)

        async with serving(reply) as gateway, holding(local(gateway.port)) as (holder, answers):
            holder.ask(ask(1))
            await answers.until(lambda: 1 in answers.blocks)
            holder.ask(ask(2))
            await answers.until(lambda: 2 in answers.blocks)
            assert seen == [str(CIDS[1]), str(CIDS[2]), str(CIDS[2])]

    run(main())


def test_an_answer_that_breaks_off_is_lost(run: Run[Any]) -> None:
    async def reply(cid: str, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(BLOCKS[5])[:-1])
        await writer.drain()
        writer.close()

    async def main() -> None:
        async with serving(reply) as gateway, holding(local(gateway.port)) as (holder, answers):
            holder.ask(ask(1))
            assert (await answers.failure(1))[0] is AskFailure.LOST

    run(main())


def test_a_dropped_request_frees_its_place(run: Run[Any]) -> None:
    async def main() -> None:
        serve = of_blocks(BY_NAME)
        hanging = asyncio.Event()

        async def reply(cid: str, writer: asyncio.StreamWriter) -> None:
            if cid == str(CIDS[0]):
                hanging.set()
                await asyncio.Event().wait()
            await serve(cid, writer)

        one = HolderConfig(max_connections_per_holder=1)
        async with serving(reply) as gateway, holding(local(gateway.port), config=one) as (holder, answers):
            for number in (0, 1, 2):
                holder.ask(ask(number))
            await hanging.wait()
            holder.drop(1)
            holder.drop(0)
            holder.drop(99)
            await answers.until(lambda: 2 in answers.blocks)
            assert list(answers.blocks) == [2]
            assert not answers.failures

    run(main())


def test_who_is_not_there_fails_all_that_waits(run: Run[Any]) -> None:
    async def main() -> None:
        async with serving(of_blocks({})) as gateway:
            port = gateway.port
        async with holding(local(port)) as (holder, answers):
            for number in (1, 2, 3):
                holder.ask(ask(number))
            await answers.until(lambda: len(answers.failures) == 3)
            kinds = {kind for kind, _, _ in answers.failures.values()}
            assert kinds == {AskFailure.UNREACHABLE}

    run(main())


def test_one_connection_is_tried_before_many(run: Run[Any]) -> None:
    async def main() -> None:
        may_answer = asyncio.Event()

        async def reply(cid: str, writer: asyncio.StreamWriter) -> None:
            await may_answer.wait()
            writer.write(ok(BY_NAME[cid]))

        async with serving(reply) as gateway, holding(local(gateway.port)) as (holder, answers):
            for number in range(10):
                holder.ask(ask(number))
            assert gateway.connections == 0
            await gateway.connected(4)
            may_answer.set()
            await answers.until(lambda: len(answers.blocks) == 10)
            assert gateway.connections == 4

    run(main())


def test_a_private_address_is_not_dialed_on_a_strangers_word(run: Run[Any]) -> None:
    async def main() -> None:
        public = OwnAddresses(identity(1).peer_id, ("/ip4/5.5.5.5/tcp/4001",))
        async with serving(of_blocks(BY_NAME)) as gateway:
            for host in ("127.0.0.1", "localhost", "0.0.0.0", "224.0.0.1", "::ffff:127.0.0.1"):
                target = HttpTarget(host, gateway.port)
                async with holding(target, may_dial=public.may_dial) as (holder, answers):
                    holder.ask(ask(1))
                    assert (await answers.failure(1))[0] is AskFailure.UNREACHABLE
            assert gateway.connections == 0

    run(main())


@pytest.mark.parametrize("port", [0, -1, 65536, 22, 25, 6667])
def test_ports_of_other_protocols_are_not_asked(port: int) -> None:
    with pytest.raises(CallerFault):
        HttpTarget("127.0.0.1", port)


def test_the_blocked_ports_leave_the_usual_ones() -> None:
    assert not BLOCKED_PORTS & {80, 443, 8080, 8081, 8443, 16899}


@pytest.mark.parametrize(
    ("target", "url"),
    [
        (HttpTarget("192.0.2.1", 80), "http://192.0.2.1"),
        (HttpTarget("2001:db8::1", 443), "http://[2001:db8::1]:443"),
        (HttpTarget("2001:db8::1", 443, True), "https://[2001:db8::1]"),
        (HttpTarget("shop.example", 8443, True, "/base"), "https://shop.example:8443/base"),
    ],
)
def test_a_target_has_an_url(target: HttpTarget, url: str) -> None:
    assert target.url == url
    line = target.request(CIDS[0].raw).split(b"\r\n")[0].decode()
    assert line == f"GET {target.path}/ipfs/{CIDS[0]}?format=raw HTTP/1.1"


@pytest.mark.parametrize("path", ["x", "/a b", "/a\r\nX: y", "/a?b", "//", "/" + "a" * 300])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(CallerFault):
        HttpTarget("192.0.2.1", 80, path=path)


def test_tls_is_verified(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        authority = Authority(tmp_path)
        pair = authority.issue("server")
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(pair.cert, pair.key)
        server.set_alpn_protocols(["http/1.1"])
        trusting = ssl.create_default_context(cafile=str(authority.ca))
        async with serving(of_blocks(BY_NAME), ssl=server) as gateway:
            target = HttpTarget("127.0.0.1", gateway.port, is_tls=True)
            async with holding(target, tls=trusting) as (holder, answers):
                for number in range(10):
                    holder.ask(ask(number))
                await answers.until(lambda: len(answers.blocks) == 10)
                assert [answers.blocks[i] for i in range(10)] == BLOCKS[:10]
            async with holding(target) as (holder, answers):
                holder.ask(ask(1))
                kind, detail, _ = await answers.failure(1)
                assert kind is AskFailure.UNREACHABLE
                assert "certificate" in detail
            async with holding(local(gateway.port)) as (holder, answers):
                holder.ask(ask(1))
                assert (await answers.failure(1))[0] in (AskFailure.LOST, AskFailure.MALFORMED)
        async with serving(of_blocks(BY_NAME)) as gateway:
            target = HttpTarget("127.0.0.1", gateway.port, is_tls=True)
            impatient = HolderConfig(dial_timeout_s=0.1)
            async with holding(target, config=impatient) as (holder, answers):
                holder.ask(ask(1))
                assert (await answers.failure(1))[0] is AskFailure.UNREACHABLE

    run(main())


def test_connections_of_all_holders_are_bounded(run: Run[Any]) -> None:
    async def main() -> None:
        none = HolderConfig(max_connections=0)
        async with holding(local(8081), config=none) as (holder, answers):
            holder.ask(ask(1))
            assert (await answers.failure(1))[0] is AskFailure.BUSY

    run(main())


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("99999999999999999999", 300.0),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
        ("Tue, 14 Nov 2023 22:13:30", 10.0),
        ("", None),
        ("-1", None),
        ("soon", None),
        ("Tue, 14 Nov 99999 22:13:30 GMT", None),
        ("\u0663", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, wait_s: float | None) -> None:
    assert retry_after_s(text, 1_700_000_000.0, 300.0) == wait_s


def test_closing_ends_dials_and_requests(run: Run[Any]) -> None:
    async def main() -> None:
        async def reply(cid: str, writer: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        async with serving(reply) as gateway:
            async with holding(local(gateway.port)) as (holder, answers):
                holder.ask(ask(1))
            assert not answers.failures
            async with holding(local(gateway.port)) as (holder, answers):
                for number in range(9):
                    holder.ask(ask(number))
                await gateway.connected(3)
            assert not answers.failures

    run(main())
