"""A bug of ours costs the one thing it happened in; whatever repeats has its next time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastmarket.config import FleetConfig, HostConfig, NodeConfig, StorageConfig
from fastmarket.core.commands import Closest
from fastmarket.core.operations import JobOwner
from fastmarket.errors import ConnectionLost, NodeFault, StorageFault
from fastmarket.faults import LOG_INTERVAL_S, Faults
from fastmarket.fleet.writer import SharedWriter
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.routing.peer_cache import CachedPeer, PeerCache
from fastmarket.kad.wire.messages import Kind, encode_request
from fastmarket.libp2p.requests import Reply
from fastmarket.market.grpc_server import MarketServer
from fastmarket.net.clock import Clock
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.joining import Joining
from fastmarket.net.pump import Pump, RunQueue
from fastmarket.node import Node
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import Offer
from fastmarket.offers.store.changes import Change
from fastmarket.repeating import Repeating
from fastmarket.run_all import PAUSE_S
from fastmarket.storage.database import OfferDatabase, RecordRow
from fastmarket.storage.journal import Journal
from fastmarket.storage.peers import PeerFile, PeerSaver
from fastmarket.storage.records import RecordKeeper
from fastmarket.web.server import WebServer
from tests.conftest import Run
from tests.net.guests import come, guests
from tests.net.loopback import DEADLINE_S, ask, end_idle_connections, identity, nodes, seed, until
from tests.unit.storage.test_journal import NOW, held, offer

KAD = NodeConfig().kad.protocol
FIND_NODE = Choice(KAD, encode_request(Kind.FIND_NODE, b"somewhere"))


class Bug(Exception):
    """None that the package raises on purpose."""


class Broken:
    """Raises when called, `times` times; after that it does what was there before."""

    def __init__(self, before: Callable[..., Any] | None = None, times: int = 10**9) -> None:
        self.before = before
        self.left = times
        self.calls = 0

    def __call__(self, *args: Any, **named: Any) -> Any:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise Bug
        return self.before(*args, **named) if self.before is not None else None


def break_one(monkeypatch: pytest.MonkeyPatch, one: object, method: str, times: int = 10**9) -> None:
    """A method of one object, which has slots; others of its class are as they were."""
    before, broken = getattr(type(one), method), Broken(times=times)

    def call(self: object, *args: Any, **named: Any) -> Any:
        if self is one and broken.left:
            broken()
        return before(self, *args, **named)

    monkeypatch.setattr(type(one), method, call)


Bugs = Callable[[Callable[[], Coroutine[Any, Any, None]]], list[dict[str, Any]]]


@pytest.fixture
def bugs(run: Callable[..., Any]) -> Bugs:
    """Runs a scenario; what the loop's exception handler was told: bugs that we made, and nothing else."""

    def runner(scenario: Callable[[], Coroutine[Any, Any, None]]) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = []

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
            await scenario()

        run(main())
        assert all(isinstance(context.get("exception"), Bug) for context in told), told
        return told

    return runner


# -- the mechanism


def test_each_place_is_told_once_in_an_interval(bugs: Bugs) -> None:
    async def scenario() -> None:
        times = [0.0]
        faults = Faults(lambda: times[-1])
        for now in (0.0, 1.0, LOG_INTERVAL_S - 1, LOG_INTERVAL_S, LOG_INTERVAL_S + 1):
            times.append(now)
            assert not faults.run("here", Broken())
            faults.tell("there", Bug(), "a peer")
        assert faults.count == 10

    told = [context["message"] for context in bugs(scenario)]
    assert [message.partition(" ")[0] for message in told] == ["here", "there", "here", "there"]
    assert "a peer" in told[1]
    assert "(2 similar messages suppressed)" in told[2]


@pytest.mark.parametrize("broken", ["turn", "next_timer"])
def test_a_turn_that_fails_has_a_next_one(bugs: Bugs, broken: str) -> None:
    """Armed whatever happened; and what is due at once waits, so that a bug does not take all the CPU."""

    async def scenario() -> None:
        clock, failed = Clock(), list[Exception]()
        turn = Broken(times=1 if broken == "turn" else 0)
        timer = Broken(clock.now, times=1 if broken == "next_timer" else 0)  # due at once
        turns = Pump(RunQueue(clock, Faults()), timer, turn, failed.append)
        began = clock.now()
        turns.take(began)
        await until(lambda: turn.calls > 3)
        assert len(failed) == 1
        assert clock.now() - began >= PAUSE_S * 0.9
        assert turn.calls < 10**4
        turns.close()

    bugs(scenario)


def test_who_fails_with_more_to_do_holds_up_nobody(bugs: Bugs) -> None:
    async def scenario() -> None:
        run_queue, broken, others = RunQueue(Clock(), Faults()), Broken(times=1), Broken()
        for _ in range(3):
            run_queue.run_later(broken)
            run_queue.run_later(others)
        await until(lambda: broken.calls + others.calls == 6)
        assert not run_queue.is_crowded
        run_queue.run_later(others)
        await until(lambda: others.calls == 4)

    bugs(scenario)


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_what_repeats_goes_on(bugs: Bugs, kind: str) -> None:
    async def scenario() -> None:
        work = Broken(times=3)

        async def awaited() -> bool:
            work()
            return work.calls == 6

        repeating = Repeating("work", lambda: 0.001, awaited if kind == "coroutine" else work, Faults())
        repeating.start(at_once=True)
        await until(lambda: work.calls >= 6)
        if kind == "coroutine":
            await until(lambda: not repeating.running)  # it said so
        await repeating.stop()
        assert not repeating.running

    assert len(bugs(scenario)) == 1


def test_what_repeats_runs_soon_when_it_is_told_so(run: Run[None]) -> None:
    """Once for each time, also when told before the start; then it waits again."""

    async def main() -> None:
        calls = []
        repeating = Repeating("work", lambda: 3600.0, lambda: calls.append(None), Faults())
        repeating.soon()
        repeating.start()
        await until(lambda: len(calls) == 1)
        repeating.soon()
        repeating.soon()
        await until(lambda: len(calls) == 2)
        await repeating.stop()
        assert len(calls) == 2

    run(main())


# -- connections


def sweeping(**host: Any) -> NodeConfig:
    return replace(NodeConfig(), host=replace(HostConfig(), idle_sweep_s=0.05, **host))


@pytest.mark.parametrize("broken", ["report", "busy", "refresh", "neighbours"])
def test_the_sweep_goes_on(bugs: Bugs, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """One connection that cannot be swept is the one that is lost; the others are looked after, all along."""

    async def scenario() -> None:
        async with nodes(1, sweeping()) as (node,), guests(3) as (bad, *many):
            host = node.host
            link = await come(bad, node)
            assert link is not None
            there = host.link_to(bad.peer_id)
            addresses = host.identifier.addresses
            if broken == "report":
                monkeypatch.setattr(addresses, "report", Broken())
            elif broken == "busy":
                assert there is not None
                monkeypatch.setattr(there, "leave", Broken())
            elif broken == "refresh":
                break_one(monkeypatch, addresses.observed, "confirmed")
            else:
                host.links.neighbours = Broken()
                monkeypatch.setattr(host.links, "_config", replace(host.links._config, high_connections=0))
            for guest in many:
                await come(guest, node)
            end_idle_connections(node, 0.2)
            async with asyncio.timeout(DEADLINE_S):
                await until(lambda: host.connection_count == 0)
            assert host._sweeper.running

    assert bugs(scenario)


@pytest.mark.parametrize("where", ["data", "eof", "event", "turned", "lost"])
def test_a_bug_over_a_connection_costs_that_connection(
    bugs: Bugs, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Its place is free again, those who wait for it hear of it, and it is told once, not once for each."""

    async def scenario() -> None:
        async with nodes(2) as (node, other), guests(8) as (*many,):
            assert await other.dial(seed(node)) == node.peer_id
            for guest in many:
                link = await come(guest, node)
                assert link is not None
                there = node.host.link_to(guest.peer_id)
                assert there is not None
                if where == "data":
                    break_one(monkeypatch, there.connection, "receive_data")
                elif where == "event":
                    break_one(monkeypatch, there.connection, "next_event", times=1)
                elif where == "turned":
                    monkeypatch.setattr(there, "_deliver", Broken())
                elif where == "eof":
                    break_one(monkeypatch, there.connection, "receive_eof")
                else:
                    monkeypatch.setattr(there, "_deliver", Broken())
                if where in ("eof", "lost"):
                    link.abort()
                else:
                    await ask(guest, seed(node), FIND_NODE)
                await until(there.ended.is_set)
            await until(lambda: node.host.connection_count == 1)
            assert isinstance(await ask(other, seed(node), FIND_NODE), Reply)

    assert len(bugs(scenario)) == 1


def test_observers_and_requests_do_not_share_a_fault(bugs: Bugs) -> None:
    """The first of each raises; the others are told all the same."""

    class Observer:
        def __init__(self, broken: bool) -> None:
            self.seen: list[str] = []
            self.broken = broken

        def told(self, what: str) -> None:
            self.seen.append(what)
            if self.broken:
                raise Bug

        def on_peer_identified(self, peer: PeerInfo, protocols: frozenset[str], now: float) -> None:
            self.told("identified")

        def on_peer_disconnected(self, peer_id: PeerId, now: float) -> None:
            self.told("disconnected")

        def on_peer_unreachable(self, peer_id: PeerId, now: float) -> None:
            self.told("unreachable")

    async def scenario() -> None:
        async with nodes(2) as (node, other):
            bad, good = Observer(True), Observer(False)
            node.host.observers[:0] = [bad]
            node.host.observers.append(good)
            assert await node.dial(seed(other)) == other.peer_id
            assert node.engine.table_size == 1
            outcomes: list[object] = []
            deadline = node.now() + DEADLINE_S
            for done in (Broken(), outcomes.append, Broken(), outcomes.append):
                node.host.request(seed(other), [FIND_NODE], deadline, done)
            await until(lambda: len(outcomes) == 2)
            assert not node.host._requests
            # Those that wait for a dial, which fails here.
            nobody = PeerInfo(identity(80).peer_id)
            for done in (Broken(), outcomes.append):
                node.host.request(nobody, [FIND_NODE], deadline, done)
            await until(lambda: len(outcomes) == 3)
            assert outcomes[-1].kind is FailureKind.UNREACHABLE  # type: ignore[attr-defined]
            await other.close()
            await until(lambda: "disconnected" in good.seen)
            # Identified again: the other one has said that it serves nobody any more.
            assert good.seen == bad.seen == ["identified", "unreachable", "identified", "disconnected"]

    assert bugs(scenario)


def test_changed_addresses_are_told_to_all(bugs: Bugs) -> None:
    async def scenario() -> None:
        async with nodes(1) as (node,):
            told: list[str] = []
            addresses = node.host.identifier.addresses
            addresses.on_changed[:0] = [Broken()]
            addresses.on_changed.append(lambda: told.append("there"))
            await node.listen(node.host.listen_addrs[0].from_text("/ip4/127.0.0.1/tcp/0"))
            assert told == ["there"]
            assert len(node.engine.local.addrs) == 2

    assert bugs(scenario)


# -- jobs and offers


def test_a_job_that_breaks_is_told_to_its_caller_and_to_nobody_else(
    bugs: Bugs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with nodes(3) as made:
            for node in made[1:]:
                await node.bootstrap([seed(made[0])], DEADLINE_S)
            driver, core = made[1]._driver, made[1].core
            broken = made[1].engine.find_node(b"a", DEADLINE_S)
            break_one(monkeypatch, broken.lookup, "poll")
            told: list[Exception] = []

            class Owner(JobOwner):
                def on_bug(self, fault: Exception, now: float) -> None:
                    told.append(fault)

            others = [driver.start(Closest(bytes([n]) * 32, DEADLINE_S)) for n in range(20)]
            core.run(broken, Owner(), made[1].now())
            others += [driver.start(Closest(bytes([n]) * 33, DEADLINE_S)) for n in range(20)]
            async with asyncio.timeout(DEADLINE_S / 2):
                await asyncio.gather(*(one.finished for one in others))
                await until(lambda: len(told) == 1)
            assert isinstance(told[0], NodeFault)
            assert not len(made[1].engine.jobs)

    assert len(bugs(scenario)) == 1


def test_offers_are_announced_again_after_a_bug(bugs: Bugs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first attempts to announce fail; the schedule has the offer again."""

    async def scenario() -> None:
        config = NodeConfig()
        config = replace(config, offers=replace(config.offers, retry_first_s=0.05))
        async with nodes(2, config) as (node, other):
            await node.bootstrap([seed(other)], DEADLINE_S)
            break_one(monkeypatch, node.core, "_run", times=2)
            content = b"\x12\x20" + bytes(32)
            outcome = await node.register_offer(
                content, b"u", "n", FileMetadata("192.0.2.1", 1, 1), DEADLINE_S
            )
            assert not outcome.is_reached
            async with asyncio.timeout(DEADLINE_S):
                await until(lambda: len(other.offers.store) == 1)

    assert bugs(scenario)


def test_a_bug_in_a_registration_is_told_to_all_who_wait(bugs: Bugs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first goes alone; the others wait for each other, and what signs them together breaks."""

    async def scenario() -> None:
        async with nodes(1) as (node,):
            break_one(monkeypatch, node.offers, "register_many")
            one = FileMetadata("192.0.2.1", 1, 1)
            waiting = [
                node.register_offer(b"\x12\x20" + bytes([number]) * 32, b"u", "n", one, DEADLINE_S)
                for number in range(5)
            ]
            async with asyncio.timeout(DEADLINE_S / 2):
                told = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(one) for one in told[1:]} == {NodeFault}
            monkeypatch.undo()
            again = await node.register_offer(b"\x12\x20" + bytes(32), b"u", "n", one, DEADLINE_S)
            assert again.is_reached

    bugs(scenario)


def test_what_could_not_be_kept_is_not_acknowledged(bugs: Bugs, monkeypatch: pytest.MonkeyPatch) -> None:
    class Keeper:
        keep = Broken()
        trouble = lost = ""

    async def scenario() -> None:
        async with nodes(2) as (node, other):
            await node.bootstrap([seed(other)], DEADLINE_S)
            node.keep_offers(Keeper())
            with pytest.raises(StorageFault):
                await node.register_offer(
                    b"\x12\x20" + bytes(32), b"u", "n", FileMetadata("192.0.2.1", 1, 1), DEADLINE_S
                )

    assert bugs(scenario)


# -- what is written now and then


def test_the_journal_writes_what_a_bug_kept_from_being_written(
    bugs: Bugs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one = offer("one")

    async def scenario() -> None:
        database = OfferDatabase(tmp_path)
        journal = Journal(database, replace(StorageConfig(), retry_s=0.05), lambda: NOW)
        monkeypatch.setattr(database, "put", Broken(database.put, times=1))
        with pytest.raises(StorageFault, match="bug of ours"):
            await journal.keep([Change(one, True)])
        await until(lambda: journal.commits == 1)  # though its caller was told otherwise, as with a full disk
        await journal.close()

    bugs(scenario)
    assert held(tmp_path) == {one.envelope}


def test_peers_and_values_are_saved_after_a_bug(bugs: Bugs, tmp_path: Path) -> None:
    async def scenario() -> None:
        config = replace(StorageConfig(), peers_interval_s=0.02, record_interval_s=0.02)
        peers = [CachedPeer(PeerInfo(identity(1).peer_id, (seed_addr(),)), NOW)]
        snapshot = Broken(lambda: peers, times=2)
        saver = PeerSaver(PeerFile(tmp_path), config, snapshot)
        journal = Journal(OfferDatabase(tmp_path), config, lambda: NOW)
        row = RecordRow(b"key", False, b"value", b"", NOW, NOW + 3600)
        rows = [[row]]
        changed = Broken(lambda: rows.pop() if rows else [], times=2)
        keeper = RecordKeeper(journal, config, changed)
        async with asyncio.timeout(DEADLINE_S):
            await until(lambda: bool(PeerFile(tmp_path).read()) and not rows)
        await saver.close()
        await keeper.close()
        assert [record.key for record in OfferDatabase(tmp_path).records()] == [b"key"]
        await journal.close()

    assert len(bugs(scenario)) == 2


def seed_addr() -> Any:
    from fastmarket.formats.multiaddr import Multiaddr

    return Multiaddr.from_text("/ip4/127.0.0.1/tcp/1")


def test_the_shared_store_is_written_to_after_a_bug(bugs: Bugs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a write, and of one offer that cannot be made into a row: that one alone stays out."""

    class Store:
        def __init__(self) -> None:
            self.rows: list[object] = []
            self.put = Broken(self._put, times=1)

        async def _put(self, rows: list[object]) -> dict[object, str]:
            self.rows += rows
            return {}

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

    async def scenario() -> None:
        from fastmarket.fleet import writer as module

        offers = [offer(str(number)) for number in range(3)]
        bad, made = offers[1], module.offer_row

        def row_of(one: Offer, now: float) -> Any:
            if one is bad:
                raise Bug
            return made(one, now)

        monkeypatch.setattr(module, "offer_row", row_of)
        store = Store()
        writer = SharedWriter(store, replace(FleetConfig(), retry_s=0.05), lambda: NOW)  # type: ignore[arg-type]
        writer.start()
        writer.take(offers)
        async with asyncio.timeout(DEADLINE_S):
            missing = await writer.settled([one.key for one in offers])
            assert missing == dict.fromkeys((one.key for one in offers), "a bug of ours; see the log")
            await until(lambda: len(store.rows) == 2)
        assert len(writer) == 1
        writer._failed.clear()
        await writer.stop()

    assert len(bugs(scenario)) == 2


# -- the node


def test_joining_is_tried_again_after_a_bug(bugs: Bugs, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        from fastmarket.net import joining as module

        monkeypatch.setattr(module, "RETRY_FIRST_S", 0.05)
        monkeypatch.setattr(module, "RETRY_LONGEST_S", 0.05)
        monkeypatch.setattr(module, "DEADLINE_S", 1.0)
        async with nodes(1) as (seed_node,):
            config = NodeConfig()
            at = str(seed_node.listen_addrs[0])
            config = replace(
                config,
                host=replace(config.host, listen=("/ip4/127.0.0.1/tcp/0",)),
                market=replace(config.market, port=0),
                bootstrap=(at,),
            )
            node = Node(config, identity(70))
            tries: list[int] = []
            real = node._joining._join

            async def join(dht: DhtNode, saved: PeerCache) -> bool:
                tries.append(1)
                if len(tries) == 1:
                    return False  # at the start nobody answers
                if len(tries) < 4:
                    raise Bug
                return await real(dht, saved)

            monkeypatch.setattr(node._joining, "_join", join)
            async with node:
                async with asyncio.timeout(DEADLINE_S):
                    await until(lambda: node.bootstrapped)
                await until(lambda: not node._joining.is_trying)

    assert len(bugs(scenario)) == 1


ENDS: dict[str, tuple[type, str]] = {
    "the peers": (PeerSaver, "close"),
    "the values": (RecordKeeper, "close"),
    "the network": (DhtNode, "close"),
    "gRPC": (MarketServer, "stop"),
    "joining": (Joining, "stop"),
    "HTTP": (WebServer, "stop"),
}


@pytest.mark.parametrize("broken", ENDS)
def test_a_node_ends_whatever_one_part_raises(
    bugs: Bugs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broken: str
) -> None:
    """What was acknowledged is on disk, and nothing listens any more."""
    part, name = ENDS[broken]
    ending = getattr(part, name)
    parts: list[Any] = []

    async def fails(self: Any, *given: object) -> None:
        parts.append(self)
        raise Bug

    async def scenario() -> None:
        config = NodeConfig()
        config = replace(
            config,
            host=replace(config.host, listen=("/ip4/127.0.0.1/tcp/0",)),
            market=replace(config.market, port=0),
            web=replace(config.web, port=0),
        )
        node = Node(config, identity(71), tmp_path)
        closed: list[Journal] = []
        close = Journal.close

        async def note(journal: Journal) -> None:
            await close(journal)
            closed.append(journal)

        with monkeypatch.context() as patch:
            patch.setattr(part, name, fails)
            patch.setattr(Journal, "close", note)
            await node.start()
            dht = node.dht
            metadata = FileMetadata("192.0.2.1", 1, 1)
            await dht.register_offer(b"\x12\x20" + bytes(32), b"u", "n", metadata, 0.5)
            with pytest.raises(Bug):
                await node.stop()
        assert len(closed) == 1
        if part is not DhtNode:
            with pytest.raises(ConnectionLost):
                await dht.closest_peers(b"x", 1.0)
        for one in parts:
            await ending(one)
        assert parts
        await node.stop()  # what has ended does not end again
        assert len(closed) == 1

    bugs(scenario)
    assert len(held(tmp_path)) == 1


def test_a_request_that_cannot_be_sent_costs_itself(bugs: Bugs, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with nodes(4) as made:
            for node in made[1:]:
                await node.bootstrap([seed(made[0])], DEADLINE_S)
            request = made[1].host.request
            monkeypatch.setattr(made[1].host, "request", Broken(request, times=1))
            async with asyncio.timeout(DEADLINE_S):
                found = await made[1].closest_peers(b"somewhere", 1.0)
            assert len(found) >= 2

    assert len(bugs(scenario)) == 1
