"""Addresses that strangers make up, against real nodes: they cost nobody anything, and upkeep goes on."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from fastmarket.config import NodeConfig
from fastmarket.errors import DialFailed
from fastmarket.formats.addr_protocols import IP6, IP6ZONE, PROTOCOLS, TCP, VARIABLE
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.varint import encode_uvarint, frame
from fastmarket.kad.wire.messages import Field, Kind, encode_reply
from fastmarket.libp2p.identify import PUSH_PROTOCOL
from fastmarket.libp2p.requests import Failed
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.link import Link
from fastmarket.offers.model.metadata import FileMetadata
from tests.conftest import Run
from tests.net.guests import come, guests
from tests.net.loopback import DEADLINE_S, ask, identity, nodes, seed, until

HOST, PORT = IP6.to_bytes("2001:db8::1"), b"\x10\x01"


def part(code: int, value: bytes, variable: bool = False) -> bytes:
    return encode_uvarint(code) + (frame(value) if variable else value)


def zoned(zone: bytes) -> bytes:
    return part(IP6ZONE.code, zone, True) + part(IP6.code, HOST) + part(TCP.code, PORT)


# Some that are refused, and some that are not and lead nowhere.
ODD = [
    *(zoned(zone) for zone in (b"a%b", b"%", b"a..b", b"x" * 64, "\u00fc".encode(), b"nosuch0")),
    *(
        part(
            protocol.code,
            value[: protocol.size] if protocol.size != VARIABLE else value,
            protocol.size == VARIABLE,
        )
        + part(TCP.code, PORT)
        for protocol in PROTOCOLS
        for value in (b"a%b\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", b"fe80::1%a%b", b"\xff" * 16)
    ),
    part(4, bytes(4)) + part(TCP.code, PORT),
    part(4, b"\x7f\0\0\1") + part(TCP.code, b"\0\0"),
    part(53, b"a..b", True) + part(TCP.code, PORT),
    part(53, b"[::1]", True) + part(TCP.code, PORT),
    part(53, "\u2603.example".encode(), True) + part(TCP.code, PORT),
]


def field(number: int, value: bytes) -> bytes:
    return encode_uvarint(number << 3 | 2) + frame(value)


def odd_peer(number: int) -> bytes:
    """A peer of a kad message, at odd addresses."""
    some = ODD[number % 7 :: 7]
    body = field(1, identity(900 + number).peer_id.raw) + b"".join(field(2, raw) for raw in some[:16])
    return field(Field.CLOSER_PEERS, body)


def push(link: Link, node: DhtNode, body: bytes) -> None:
    connection, now = link.connection, node.now()
    stream = connection.open_stream([PUSH_PROTOCOL], now, lazy=True)
    connection.send(stream, frame(body), now)
    connection.close_write(stream, now)
    link.wake()


@contextmanager
def errors_logged(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    with caplog.at_level(logging.INFO):
        found: list[logging.LogRecord] = []
        yield found
        found += [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_upkeep_goes_on_after_odd_pushes(run: Run[None], caplog: pytest.LogCaptureFixture) -> None:
    """Idle connections are still ended, the one that pushed stays as it was, and the log stays empty."""

    async def scenario() -> None:
        config = NodeConfig()
        config = replace(config, host=replace(config.host, idle_sweep_s=0.05, idle_timeout_s=0.3))
        async with nodes(1, config) as (node,), guests(1, first=600) as (odd,), guests(4, first=700) as many:
            link = await come(odd, node)
            assert link is not None
            there = node.host.link_to(odd.peer_id)
            assert there is not None
            for raw in ODD:
                push(link, odd, field(4, raw) + field(2, raw))
            await until(lambda: node.host.identifier.store.protocols(odd.peer_id) is not None)
            for guest in many:
                await come(guest, node)
            assert there.is_open
            async with asyncio.timeout(DEADLINE_S):
                await until(lambda: node.host.connection_count == 0)

    with errors_logged(caplog) as found:
        run(scenario())
    assert not found


def lie(node: DhtNode) -> None:
    """The node answers every question with peers at odd addresses."""
    config = node._config
    kad = encode_reply(Kind.FIND_NODE, [odd_peer(number) for number in range(7)])
    offers = b"".join(odd_peer(number) for number in range(7))
    node.host.serve(config.kad.protocol, lambda peer, body, now: kad, config.kad.max_request_bytes)
    node.host.serve(config.offers.protocol, lambda peer, body, now: offers, config.offers.max_message_bytes)


def content(number: int) -> bytes:
    return b"\x12\x20" + hashlib.sha256(b"content %d" % number).digest()


def test_searches_are_not_slowed_by_odd_replies(run: Run[None]) -> None:
    """Forty at once; what a search that hangs would wait for is a minute away."""

    async def scenario() -> None:
        async with nodes(5) as made:
            evil, *honest = made
            lie(evil)
            for one in made:
                for other in made:
                    if one is not other:
                        await one.dial(seed(other))
            offer = FileMetadata("192.0.2.1", 5, 5)
            outcome = await honest[1].register_offer(content(1), b"u", "n", offer, DEADLINE_S)
            assert outcome.is_reached

            async def find(number: int) -> int:
                return len([found async for found in honest[0].find_offers(content(number), 60.0)])

            async with asyncio.timeout(DEADLINE_S):
                found = await asyncio.gather(*map(find, range(40)))
            assert found == [0, 1, *[0] * 38]
            async with asyncio.timeout(DEADLINE_S):
                assert await honest[0].closest_peers(b"somewhere", 60.0)
            assert [len(node.engine.jobs) for node in honest] == [0] * len(honest)

    run(scenario())


def test_nothing_odd_is_dialed_or_raises_anything_but_dial_failed(run: Run[None]) -> None:
    async def scenario() -> None:
        quick = replace(NodeConfig(), host=replace(NodeConfig().host, dial_timeout_s=1.0))
        async with nodes(1, quick) as (node,):
            texts = [f"/ip6zone/nosuch{n}/ip6/fe80::1/tcp/1" for n in range(3)]
            texts += [
                "/dns4/\u00fc..b/tcp/1",
                "/dns4/a%b/tcp/1",
                "/dns6/127.0.0.1/tcp/1",
                "/unix/tmp/x",
                "/tcp/1",
            ]
            texts += ["/ip4/255.255.255.255/tcp/1", "/ip6/ff02::1/tcp/1", "/ip6/::ffff:0.0.0.0/tcp/1"]
            for number, text in enumerate(texts):
                stranger = PeerInfo(identity(800 + number).peer_id, (Multiaddr.from_text(text),))
                with pytest.raises(DialFailed):
                    await node.dial(stranger)
                outcome = await ask(node, stranger)
                assert isinstance(outcome, Failed)
                assert outcome.kind in (FailureKind.UNREACHABLE, FailureKind.GONE)

    run(scenario())


def test_a_bug_in_a_dial_is_a_failed_dial(run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
    """For whoever waits for it, in either way; the log tells the rest once."""

    async def scenario() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))

        async def broken(endpoint: object) -> list[str]:
            raise ValueError("a bug")

        async with nodes(1) as (node,):
            resolver = node.host.dials._dialer._shell.resolver
            monkeypatch.setattr(resolver, "hosts", broken)
            name = Multiaddr.from_text("/dns4/localhost/tcp/1")
            for number in range(20):
                stranger = PeerInfo(identity(800 + number).peer_id, (name,))
                node.host.dials.forgive([name])
                with pytest.raises(DialFailed):
                    await node.dial(stranger)
                node.host.dials.forgive([name])
                outcome = await ask(node, stranger)
                assert isinstance(outcome, Failed)
        assert [str(context["exception"]) for context in told] == ["a bug"]

    run(scenario())
