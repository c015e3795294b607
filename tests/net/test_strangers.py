"""What strangers may do to a node over a real socket: nothing that anybody else would notice."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

import pytest

from fastmarket.config import HostConfig, NodeConfig
from fastmarket.errors import DialFailed
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.libp2p.requests import Failed, Reply
from fastmarket.net.dht_node import DhtNode
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, ask, identity, nodes, seed, until


def endpoint_of(node: DhtNode) -> tuple[str, int]:
    endpoint = node.host.listen_addrs[0].host_port()
    assert endpoint is not None
    return endpoint.host, endpoint.port


def noise(number: int, size: int) -> bytes:
    """Bytes without meaning, the same every time."""
    return hashlib.shake_128(b"%d" % number).digest(size)


OPENINGS = {
    "nothing": b"",
    "noise": noise(1, 4096),
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a huge multistream token": b"\xff\xff\x7f" + b"/" * 4096,
    "no common protocol": b"\x13/multistream/1.0.0\n\x06/tls/\n",
    "handshake of noise": b"\x13/multistream/1.0.0\n\x07/noise\n"
    + b"\x00\x20"
    + noise(2, 32)
    + noise(3, 900),
    "a noise message that is too short": b"\x13/multistream/1.0.0\n\x07/noise\n\x00\x01\x00",
    "half a header": b"\x13/multistr",
}


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS.keys())
def test_whatever_a_stranger_opens_with_costs_its_own_connection_only(run: Run[None], opening: bytes) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            reader, writer = await asyncio.open_connection(*endpoint_of(a))
            writer.write(opening)
            writer.write_eof()
            await reader.read()  # the node ends the connection
            writer.close()
            await b.bootstrap([seed(a)], DEADLINE_S)
            await until(lambda: a.host.connection_count == 1)

    run(scenario())


REQUESTS = {
    "noise": noise(4, 100),
    "an unknown type": b"\x08\x63\x12\x01a",
    "PING, which rust refuses too": b"\x08\x05",
    "PUT_VALUE without a record": b"\x08\x00\x12\x01a",
    "ADD_PROVIDER for somebody else": b"\x08\x02\x12\x01a",
    "an empty key": b"\x08\x04",
    "a field that ends nowhere": b"\x08\x04\x12\x7fa",
}


@pytest.mark.parametrize("body", REQUESTS.values(), ids=REQUESTS.keys())
def test_a_bad_request_costs_its_stream_only(run: Run[None], body: bytes) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            await b.bootstrap([seed(a)], DEADLINE_S)
            for protocol in (NodeConfig().kad.protocol, NodeConfig().offers.protocol):
                outcome = await ask(b, seed(a), Choice(protocol, body))
                assert isinstance(outcome, Failed)
                assert outcome.kind is FailureKind.RESET
            fine = await ask(b, seed(a), Choice(NodeConfig().kad.protocol, b"\x08\x04\x12\x01a"))
            assert isinstance(fine, Reply)
            assert a.host.connection_count == b.host.connection_count == 1

    run(scenario())


def test_a_protocol_nobody_serves_is_refused_and_no_more(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            await b.bootstrap([seed(a)], DEADLINE_S)
            outcome = await ask(b, seed(a), Choice("/nobody/speaks/this", b"x"))
            assert isinstance(outcome, Failed)
            assert outcome.kind is FailureKind.REFUSED
            assert b.host.connection_count == 1

    run(scenario())


def test_handshakes_that_never_end_leave_room_for_honest_peers(run: Run[None]) -> None:
    """More half-open connections than allowed: the surplus is dropped, and once they are gone all is well."""

    async def scenario() -> None:
        bound = 4
        config = replace(NodeConfig(), host=HostConfig(max_pending_inbound=bound))
        async with nodes(2, config) as (a, b):
            streams = [await asyncio.open_connection(*endpoint_of(a)) for _ in range(bound + 3)]
            # Those beyond the bound are closed without a word.
            for reader, _ in streams[bound:]:
                assert await reader.read() == b""
            assert a.host.connection_count == bound
            for _, writer in streams:
                writer.close()
            await until(lambda: a.host.connection_count == 0)
            await b.bootstrap([seed(a)], DEADLINE_S)

    run(scenario())


def test_connections_are_bounded(run: Run[None]) -> None:
    async def scenario() -> None:
        config = replace(NodeConfig(), host=HostConfig(max_connections=2))
        async with nodes(4, config) as (a, b, c, d):
            await b.dial(seed(a))
            await c.dial(seed(a))
            with pytest.raises(DialFailed):
                await d.dial(seed(a))
            assert a.host.connection_count == 2
            await b.close()
            await until(lambda: a.host.connection_count == 1)
            await d.dial(seed(a))

    run(scenario())


def test_an_identity_other_than_the_dialed_one_is_refused(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            with pytest.raises(DialFailed) as caught:
                await b.host.connect(PeerInfo(identity(99).peer_id, a.host.listen_addrs))
            assert str(a.host.listen_addrs[0]) in str(caught.value)
            # The address itself is fine, and has not been put aside for it.
            await b.host.connect(seed(a))

    run(scenario())


def test_a_connection_that_dies_fails_its_requests_at_once(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            await b.bootstrap([seed(a)], DEADLINE_S)
            waiting = asyncio.ensure_future(
                ask(b, seed(a), Choice(NodeConfig().kad.protocol, b"\x08\x04\x12\x01a"))
            )
            await asyncio.sleep(0)
            link = b.host.link_to(a.peer_id)
            assert link is not None
            link.abort()
            outcome = await waiting
            assert isinstance(outcome, Failed | Reply)
            if isinstance(outcome, Failed):
                assert outcome.kind in (FailureKind.CLOSED, FailureKind.RESET)
            # And the next request dials again.
            again = await ask(b, seed(a), Choice(NodeConfig().kad.protocol, b"\x08\x04\x12\x01a"))
            assert isinstance(again, Reply)

    run(scenario())
