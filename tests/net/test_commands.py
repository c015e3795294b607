"""Commands of a real node: callers that give up, and those who must be told whatever else goes wrong."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fastmarket.config import NodeConfig
from fastmarket.core.commands import Closest
from fastmarket.core.events import KnownAs
from fastmarket.formats.cid import new_cidv0
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.net.twins import Twins
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import OfferTerms
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, identity, nodes, seed, until

MANY = 60


def terms(number: int) -> OfferTerms:
    content = new_cidv0(b"file %d" % number).multihash
    return OfferTerms(content, b"u", "ann", FileMetadata("192.0.2.7", 9000, 5))


async def turns(count: int = 20) -> None:
    """Lets the loop turn, with nothing to wait for."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_cancelled_caller_ends_its_command(run: Run[None]) -> None:
    async def scenario() -> None:
        connected = asyncio.Event()
        silent = await asyncio.start_server(lambda reader, writer: connected.set(), "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        peer = PeerInfo(identity(99).peer_id, (Multiaddr.from_text(f"/ip4/127.0.0.1/tcp/{port}"),))
        async with silent, nodes(1) as (node,):
            caller = asyncio.ensure_future(node.bootstrap([peer], DEADLINE_S))
            await connected.wait()
            assert node.core.operation_count == 1
            caller.cancel()
            await turns()
            assert node.core.operation_count == 0

    run(scenario())


def test_what_a_cancelled_caller_has_not_begun_is_not_registered(run: Run[None]) -> None:
    config = NodeConfig()
    config = replace(config, offers=replace(config.offers, register_slice=2, max_registering=1))

    async def scenario() -> None:
        async with nodes(2, config) as (a, b):
            await b.bootstrap([seed(a)], DEADLINE_S)
            caller = asyncio.ensure_future(b.register_offers([terms(n) for n in range(MANY)], DEADLINE_S))
            await until(lambda: b.node_info().own_offers > 0)
            begun = b.node_info().own_offers
            caller.cancel()
            await until(lambda: not b.core.slices.waiting)
            assert b.node_info().own_offers == begun
            await until(lambda: b.core.operation_count == 0)

    run(scenario())


def test_who_fails_to_hear_costs_no_caller_the_end_of_its_command(
    run: Run[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others say of this node is delivered together with the ends of commands."""

    def broken(twins: Twins, us: PeerInfo) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(Twins, "on_named", broken)

    async def scenario() -> None:
        async with nodes(1) as (node,):
            driver, told = node._driver, list[str]()
            monkeypatch.setattr(node.host.faults, "tell", lambda place, error: told.append(place))
            running = driver.start(Closest(b"key", DEADLINE_S))
            node.core._events.append(KnownAs(PeerInfo(node.peer_id)))  # before its end
            assert not (await running.finished).result.closest
            assert told == ["telling what happened"]

    run(scenario())
