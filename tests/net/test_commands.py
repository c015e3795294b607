"""Commands of a real node: callers that give up, and those who must be told whatever else goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from fastmarket.config import NodeConfig
from fastmarket.core.commands import Closest
from fastmarket.core.events import KnownAs
from fastmarket.errors import Busy
from fastmarket.formats.cid import new_cidv0
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.lookup.lookup_job import LookupResult
from fastmarket.kad.records.shares import NEARBY
from fastmarket.net.host import Host
from fastmarket.net.twins import Twins
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import OfferTerms, sign_offer
from fastmarket.offers.store.changes import AnyChange
from fastmarket.offers.wire.messages import encode_store
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, identity, nodes, seed, until
from tests.net.test_ipns_http import WRITER, signed

MANY = 60


def terms(number: int) -> OfferTerms:
    content = new_cidv0(b"file %d" % number).multihash
    return OfferTerms(content, b"u", "ann", FileMetadata("192.0.2.7", 9000, 5))


async def turns(count: int = 20) -> None:
    """Lets the loop turn, with nothing to wait for."""
    for _ in range(count):
        await asyncio.sleep(0)


@asynccontextmanager
async def silent_peer() -> AsyncIterator[tuple[PeerInfo, asyncio.Event]]:
    """A peer that says nothing to who connects, and an event: somebody has."""
    connected = asyncio.Event()
    server = await asyncio.start_server(lambda reader, writer: connected.set(), "127.0.0.1", 0)
    addr = f"/ip4/127.0.0.1/tcp/{server.sockets[0].getsockname()[1]}"
    async with server:
        yield PeerInfo(identity(99).peer_id, (Multiaddr.from_text(addr),)), connected


def test_a_cancelled_caller_ends_its_command(run: Run[None]) -> None:
    async def scenario() -> None:
        async with silent_peer() as (peer, connected), nodes(1) as (node,):
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
            monkeypatch.setattr(node.host.faults, "tell", lambda place, error, what="": told.append(place))
            running = driver.start(Closest(b"key", DEADLINE_S))
            node.core._events.append(KnownAs(PeerInfo(node.peer_id)))  # before its end
            assert isinstance((await running.finished).result, LookupResult)
            assert told == ["delivering an event"]

    run(scenario())


def test_a_node_that_is_busy_says_so_to_who_puts_a_name(run: Run[None]) -> None:
    config = NodeConfig()
    config = replace(config, kad=replace(config.kad, max_jobs=1))

    async def scenario() -> None:
        async with silent_peer() as (peer, connected), nodes(1, config) as (node,):
            caller = asyncio.ensure_future(node.bootstrap([peer], DEADLINE_S))
            await connected.wait()
            with pytest.raises(Busy):
                await node.public.put_ipns(
                    WRITER.peer_id, signed(1, node.now() + 3600), deadline_s=DEADLINE_S
                )
            caller.cancel()

    run(scenario())


class Kept:
    """A keeper that takes everything."""

    trouble = lost = ""

    def __init__(self) -> None:
        self.changes: list[AnyChange] = []

    async def keep(self, changes: Sequence[AnyChange]) -> None:
        self.changes += changes


def test_what_is_stored_while_connections_close_is_kept(
    run: Run[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    holder, close = identity(98), Host.close
    config = NodeConfig()

    async def scenario() -> None:
        kept = Kept()
        async with nodes(1, config) as (node,):
            node.keep_offers(kept)
            offer = sign_offer(holder, terms(1), node.now())

            async def close_late(host: Host) -> None:
                respond = node.core.responders[config.offers.protocol]
                respond(holder.peer_id, encode_store([offer.envelope], []), node.now(), NEARBY)
                await close(host)

            monkeypatch.setattr(Host, "close", close_late)
        await turns()
        assert [change.offers for change in kept.changes] == [(offer,)]

    run(scenario())
