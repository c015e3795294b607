"""Each way to write a bootstrap address wrong has its own words, in the log, at /readyz and for callers."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest

from fastmarket.config import HostConfig, KadConfig, MarketConfig, NodeConfig, WebConfig
from fastmarket.errors import DialFailed
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.market.grpc_client import MarketClient
from fastmarket.net.dial_reasons import DialReason, Failure, of_seed
from fastmarket.node import Node
from tests.conftest import Run
from tests.net.loopback import identity

SEED = identity(70)
OTHER = identity(71).peer_id
DIAL_TIMEOUT_S = 1.0


def settings(*bootstrap: str, **kad: str) -> NodeConfig:
    return NodeConfig(
        bootstrap=bootstrap,
        host=HostConfig(listen=("/ip4/127.0.0.1/tcp/0",), dial_timeout_s=DIAL_TIMEOUT_S),
        kad=replace(KadConfig(request_timeout_s=3.0), **kad),
        market=MarketConfig(port=0),
        web=WebConfig(metrics_port=0),
    )


@asynccontextmanager
async def seed(**more: bool) -> AsyncIterator[Node]:
    async with Node(replace(settings(), **more), SEED) as node:
        yield node


@asynccontextmanager
async def listener(end: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[int]:
    """A port where something answers as it likes."""

    writers = []

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await end(writer)

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for writer in writers:
            writer.close()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def say_nothing(writer: asyncio.StreamWriter) -> None:
    pass


async def greet(writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example.org ESMTP\r\n")


def at(port: object, peer: object = SEED.peer_id) -> str:
    return f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer}"


def port_of(address: str) -> str:
    return address.rpartition(":")[2]


async def address(what: str, stack: AsyncExitStack) -> str:
    """Of a bootstrap peer that is wrong in that way."""
    started = {"client": {"server_mode": False}}.get(what, {})
    if what in ("identity", "grpc", "http", "client", "network"):
        node = await stack.enter_async_context(seed(**started))
        port = str(node.listen_addrs[0]).split("/")[4]
        return {
            "identity": at(port, OTHER),
            "grpc": at(port_of(node.grpc_address)),
            "http": at(port_of(node.metrics_address)),
        }.get(what, at(port))
    if what in ("hang up", "silent", "mail"):
        end = {"hang up": hang_up, "silent": say_nothing, "mail": greet}[what]
        return at(await stack.enter_async_context(listener(end)))
    async with listener(hang_up) as closed:
        pass
    return {
        "name": f"/dns4/nobody.invalid/tcp/1/p2p/{OTHER}",
        "closed port": at(closed),
        "udp": f"/ip4/127.0.0.1/udp/1/quic-v1/p2p/{OTHER}",
        "broadcast": f"/ip4/255.255.255.255/tcp/1/p2p/{OTHER}",
    }[what]


CASES = [
    ("name", DialReason.DNS),
    ("closed port", DialReason.REFUSED),
    ("identity", DialReason.WRONG_IDENTITY),
    ("grpc", DialReason.NOT_LIBP2P),
    ("mail", DialReason.NOT_LIBP2P),
    ("http", DialReason.NOT_LIBP2P),
    ("hang up", DialReason.CLOSED),
    ("silent", DialReason.TIMEOUT),
    ("network", DialReason.OTHER_NETWORK),
    ("client", DialReason.SERVES_NOBODY),
    ("udp", DialReason.NO_ADDRESS),
    ("broadcast", DialReason.UNREACHABLE),
]


@pytest.mark.parametrize(("what", "reason"), CASES)
def test_why_a_bootstrap_peer_does_not_answer(
    run: Run[None], what: str, reason: DialReason, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            wrong = await address(what, stack)
            prefix = {"prefix": "/other"} if what == "network" else {}
            node = await stack.enter_async_context(Node(settings(wrong, **prefix), identity(72)))
            told = re.compile(f"{re.escape(wrong)}: ([^;]*: )?{re.escape(reason.words)}")
            assert told.search(caplog.text)
            assert told.search(node.missing())
            async with MarketClient(node.grpc_address) as market:
                (trouble,) = (await market.get_node()).troubles
            assert told.search(trouble)
            with pytest.raises(DialFailed) as caught:  # at the next try, too
                await node.dht.bootstrap(node._joining._seeds, 5.0)
            assert [one.reason for one in caught.value.failures if isinstance(one, Failure)] == [reason]

    with caplog.at_level(logging.INFO):
        run(main())


def test_one_of_several_is_told_of_though_the_node_has_joined(
    run: Run[None], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with seed() as there, AsyncExitStack() as stack:
            wrong = await address("closed port", stack)
            wrong = wrong.replace(str(SEED.peer_id), str(OTHER))
            async with Node(settings(str(there.listen_addrs[0]), wrong), identity(72)) as node:
                assert node.missing() == ""
                why = f"{wrong}: connection refused: {DialReason.REFUSED.words}"
                assert f"1 of 2 bootstrap peers did not answer ({why}" in caplog.text

    run(main())


@pytest.mark.parametrize("how", ["own id", "own address", "own name"])
def test_a_list_that_names_the_node_itself_alone_makes_it_the_first(
    run: Run[None], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with listener(hang_up) as port:
            pass
        named = {
            "own id": f"/dns4/nobody.invalid/tcp/1/p2p/{SEED.peer_id}",
            "own address": at(port, OTHER),
            "own name": f"/dns4/localhost/tcp/{port}/p2p/{OTHER}",
        }[how]
        config = settings(named)
        config = replace(config, host=replace(config.host, listen=(f"/ip4/127.0.0.1/tcp/{port}",)))
        async with Node(config, SEED) as node:
            assert node.missing() == ""
            assert not node.joins
            assert node.dht.engine._seeds == ()
            assert not node._joining.is_trying
            assert node.dht.node_info().troubles == ()
            async with Node(settings(str(node.listen_addrs[0])), identity(72)) as second:
                assert second.bootstrapped
                assert second.missing() == ""

    with caplog.at_level(logging.INFO):
        run(main())
    assert "ignoring bootstrap peer" in caplog.text
    assert "cannot join the network" not in caplog.text


def test_every_kind_of_failure_has_its_reason() -> None:
    peer = PeerInfo(OTHER, (Multiaddr.from_text("/ip4/127.0.0.1/tcp/1"),))
    where = f"/ip4/127.0.0.1/tcp/1/p2p/{OTHER}"
    dialed = (Failure("/ip4/127.0.0.1/tcp/1", DialReason.REFUSED, "refused"),)
    seen = set()
    for kind in FailureKind:
        (connected,) = of_seed(peer, kind, (), frozenset({"/a/kad/1.0.0"}), "/a/kad/1.0.0")
        (away,) = of_seed(peer, kind, dialed, None, "/a/kad/1.0.0")
        assert (away.where, away.reason) == (where, DialReason.REFUSED)
        assert connected.where == where
        seen.add(connected.reason)
    assert len(seen) == len(FailureKind) - 1, "a reset and an end are told alike"
    assert len({reason.words for reason in DialReason}) == len(DialReason)
