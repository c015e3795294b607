"""A small network in virtual time around one node, which gets what a hostile peer sends, and must then still
do all that it does: let time pass, sweep, look up, register, and answer honest peers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from fastmarket.core import commands as c
from fastmarket.errors import PeerFault
from fastmarket.kad.lookup.query import Quorum
from fastmarket.kad.records.shares import NEARBY
from fastmarket.kad.records.values import GetValueResult
from fastmarket.kad.wire.messages import Kind, encode_request
from fastmarket.libp2p.peerstore import PeerStore
from fastmarket.net.addresses import OwnAddresses
from fastmarket.offers.wire.messages import FindRequest, encode_find
from tests.fuzz.judge import alive
from tests.fuzz.values import content, terms
from tests.virtual import IMMEDIATE, VirtualNetwork, VirtualNode

LOOK_EVERY: Final = 256  # inputs between looks at all that the node does; each is looked at by `answers`
DAY_EVERY: Final = 1024  # inputs between days that pass
DAY_AT: Final = 32  # the first day is early, so that short runs have one
SHORT_S: Final = 90.0  # in which sweeps, probes and checks of a peer fall due
DAY_S: Final = 26 * 3600.0  # in which all timers fire: refresh, reannouncement, expiry of records
DEADLINE_S: Final = 30.0
OWN: Final = 90  # number of the content that the node offers from the beginning
VALUE_KEY: Final = b"a key"


class NoLongerWorks(AssertionError):
    """The node does not do what it did before `culprit`, an input; None: only several together did it."""

    def __init__(self, culprit: bytes | None, why: BaseException) -> None:
        together = "" if culprit is not None else " (by several inputs together)"
        super().__init__(f"the node no longer works{together}: {type(why).__name__}: {why}")
        self.culprit = culprit


class World:
    """One node under attack, two honest ones, and the hostile peer, all acquainted."""

    def __init__(self) -> None:
        self.net = VirtualNetwork(11, IMMEDIATE)
        self.node, self.honest, self.other, self.hostile = self.net.mesh(4)
        self.store = PeerStore(self.node.config.connection)
        self.own_addrs = OwnAddresses(self.node.peer_id, interfaces=lambda: ["192.0.2.1"])
        self.own_addrs.listen_on("0.0.0.0", 16899, self.net.now)
        self._registered = 0
        for node in (self.node, self.honest):
            self.run(node, c.Register(terms(OWN), DEADLINE_S))
        self.run(self.honest, c.PutValue(VALUE_KEY, b"a value", Quorum.MAJORITY, DEADLINE_S))

    def run(self, node: VirtualNode, command: c.Command) -> object:
        """A command to its end; the outcome or the result. Raises the fault that ended it."""
        finished = node.run(command, within_s=10 * DEADLINE_S)
        if finished.fault is not None:
            raise finished.fault
        return finished.result if finished.outcome is None else finished.outcome

    # -- what the hostile peer does

    def request(self, protocol: str, body: bytes) -> bytes | None:
        """It asks the node. Raises PeerFault, as the host expects."""
        node = self.node
        try:
            return node.core.responders[protocol](self.hostile.peer_id, body, self.net.now, NEARBY)
        finally:
            if node.core.turn.is_wanted:
                node.turn()

    def reply(self, command: c.Command, body: bytes) -> object:
        """It answers whatever the node asks of it on behalf of a command."""
        self.hostile.answer = lambda sender, protocol, request, now: body
        try:
            return self.run(self.node, command)
        finally:
            self.hostile.answer = self.hostile.respond

    # -- the node still works

    def answers(self) -> None:
        """An honest peer is answered."""
        node, now = self.node, self.net.now
        kad, offers = node.config.kad.protocol, node.config.offers.protocol
        asked = self.honest.peer_id
        reply = node.core.responders[kad](asked, encode_request(Kind.FIND_NODE, asked.raw), now, NEARBY)
        assert reply is not None
        assert self.other.peer_id.raw in reply
        found = node.core.responders[offers](asked, encode_find(FindRequest(content(OWN), 20)), now, NEARBY)
        assert found is not None
        assert node.peer_id.raw in found

    def works(self) -> None:
        """All that a node does, for itself and for others, before and after its sweeps."""
        self._does_all()
        self.net.rest(SHORT_S)
        self._does_all()

    def lives(self) -> None:
        """The same, after more than a day."""
        self.net.rest(DAY_S)
        self._does_all()

    def _does_all(self) -> None:
        node, honest = self.node, self.honest
        self._registered += 1
        number = 100 + self._registered
        self.own_addrs.refresh(self.net.now)
        assert self.own_addrs.announced
        for one, other in ((node, honest), (honest, node)):
            number += 1000
            outcome = self.run(one, c.Register(terms(number), DEADLINE_S))
            assert getattr(outcome, "is_reached", False), f"registering: {outcome}"
            for key in (number, OWN):
                found = self.run(other, c.FindOffers(content(key), DEADLINE_S))
                assert isinstance(found, c.OffersFound)
                providers = {offer.provider for offer in found.offers}
                assert one.peer_id in providers, f"the offer of {one.number} is not found by {other.number}"
            self.run(one, c.Withdraw(content(number), b"u", DEADLINE_S))
            assert self.run(one, c.FindPeer(other.peer_id, DEADLINE_S)) is not None
            self.run(one, c.FindProviders(content(OWN), None, DEADLINE_S))
            self.run(one, c.Bootstrap([other.info], DEADLINE_S))
        self.run(honest, c.PutValue(VALUE_KEY, b"a value", Quorum.MAJORITY, DEADLINE_S))
        value = self.run(node, c.GetValue(VALUE_KEY, Quorum.MAJORITY, DEADLINE_S))
        assert isinstance(value, GetValueResult)
        assert value.record is not None
        assert value.record.value == b"a value"


class Worlds:
    """The world that a target's inputs go to: `check`, `after` and `reset` of a `Target`."""

    def __init__(self, feed: Callable[[World, bytes], object], look_every: int = LOOK_EVERY) -> None:
        """`feed(world, data)` is what the hostile peer does with an input; it raises PeerFault if refused."""
        self._feed = feed
        self._look_every = look_every
        self._made: World | None = None
        self._fed: list[bytes] = []  # since the last day
        self._count = 0
        self._by_days = False  # a day had to pass for something to show

    def reset(self) -> None:
        """A new network."""
        self._made = None
        self._fed, self._count = [], 0

    @property
    def _world(self) -> World:
        if self._made is None:
            self._made = World()
        return self._made

    def check(self, data: bytes) -> object:
        """Feeds one input."""
        self._fed.append(data)
        return self._feed(self._world, data)

    def after(self, data: bytes) -> None:
        """Whether the node still works. Raises `NoLongerWorks`, which names the input, perhaps an earlier
        one."""
        self._count += 1
        try:
            self._look(self._world, self._count)
        except Exception as error:
            fed, alone = self._fed, self._count == 1
            self.reset()
            raise NoLongerWorks(data if alone else self._blame(fed), error) from error
        if self._count % DAY_EVERY == DAY_AT:
            self._fed = []

    def _look(self, world: World, count: int) -> None:
        world.answers()
        if count == 1 or count % self._look_every == 0:
            world.works()
        if count % DAY_EVERY == DAY_AT or (count == 1 and self._by_days):
            self._by_days = True  # until it has been lived through
            world.lives()
            self._by_days = count == 1

    def _blame(self, fed: Sequence[bytes]) -> bytes | None:
        """Which of the inputs does it by itself, the latest first."""
        for data in reversed(fed):
            alive()
            world = World()
            with suppress(PeerFault):
                self._feed(world, data)
            try:
                self._look(world, 1)
            except Exception:  # noqa: BLE001 - that it fails is what is asked
                return data
        return None
