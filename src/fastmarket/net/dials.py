"""Dials in progress, and the requests that wait for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from fastmarket.bounded_map import BoundedMap
from fastmarket.config import NodeConfig
from fastmarket.errors import DialFailed
from fastmarket.faults import Faults
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.libp2p.dialing import DialBook
from fastmarket.libp2p.peerstore import AddrSource, worth_keeping
from fastmarket.net.addresses import OwnAddresses
from fastmarket.net.clock import Clock
from fastmarket.net.dial_reasons import DialReason, Failure
from fastmarket.net.dialer import DialEnd, Dialer
from fastmarket.net.identifier import Identifier
from fastmarket.net.link import Link
from fastmarket.net.transports.table import IP_KINDS, Transports, endpoint_of

logger = logging.getLogger(__name__)

# Peers whose last dial failures are kept, to explain why bootstrap peers do not answer.
MAX_TOLD_FAILURES = 256


# Addresses; a bootstrap list has a handful, but a program may dial as many peers as it likes.
MAX_GIVEN = 1024


class NotDialed(DialFailed):
    """Not dialed for a reason of ours, which says nothing about the peer."""


class PendingRequest(Protocol):
    """A request that waits for a connection."""

    def send(self, link: Link) -> None:
        """The connection is open."""

    def on_unreachable(self, gone: bool) -> None:
        """The dial failed; `gone`: because there is no node (`DialFailed`)."""


@dataclass(slots=True)
class _Dial:
    """One peer's dial, and the requests that wait for it."""

    task: asyncio.Task[Link]
    waiting: list[PendingRequest] = field(default_factory=list)


class DialOwner(Protocol):
    """The host whose dials these are."""

    @property
    def peer_id(self) -> PeerId: ...

    def link_to(self, peer_id: PeerId) -> Link | None:
        """The open connection, if any."""

    def on_unreachable(self, peer_id: PeerId) -> None:
        """A dial failed."""

    faults: Faults
    transports: Transports


class Dials:
    """At most one dial per peer."""

    def __init__(self, config: NodeConfig, clock: Clock, identifier: Identifier, owner: DialOwner) -> None:
        self._config = config.host
        self._clock = clock
        self._identifier = identifier
        self._owner = owner
        self._book = DialBook(config.connection)
        self._faults = owner.faults
        # Addresses given by our own operator or program; bounded, the ones given longest ago are dropped
        # first.
        self._given: BoundedMap[Multiaddr, None] = BoundedMap(MAX_GIVEN)
        own = identifier.addresses
        self._dialer = Dialer(
            config.host, owner.transports.dial, self._on_tried, self._book.rank, own, owner.faults
        )
        self._dials: dict[PeerId, _Dial] = {}
        # Of the last dials, by peer.
        self._failures: BoundedMap[PeerId, tuple[Failure, ...]] = BoundedMap(MAX_TOLD_FAILURES)
        self._closing = False

    def failures_of(self, peer_id: PeerId) -> tuple[Failure, ...]:
        """The failures of the last dial of a peer; empty if it succeeded, or was long ago."""
        return self._failures.peek(peer_id) or ()

    async def reach(self, peer: PeerInfo, *, given: bool) -> Link:
        """A new connection, from the dial in progress if there is one. Raises DialFailed."""
        if given:
            self._give(peer.addrs)
        # A caller that gives up must not cancel the dial for the others that wait for it.
        task = self._dial(peer).task
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise DialFailed("this node is shutting down", peer=peer.peer_id) from None
            raise

    async def prove(self, peer_id: PeerId, addr: Multiaddr) -> Link:
        """A new connection to the node at that address if it has that peer's key; the address was named by
        others. Raises DialFailed."""
        allowed = addr in self._given or _may_dial(self._identifier.addresses, addr)
        if not (allowed and worth_keeping(addr)):
            raise _failed(PeerInfo(peer_id), Failure(str(addr), DialReason.OUTSIDE))
        return await self._dialer.dial(peer_id, [addr], self._given)

    def wait(self, peer: PeerInfo, request: PendingRequest) -> bool:
        """Sends `request` when the dial has ended, or fails it; False: too many are waiting."""
        if peer.peer_id not in self._dials and len(self._dials) >= self._config.max_queued_dials:
            return False
        dial = self._dial(peer)
        if len(dial.waiting) >= self._config.max_waiting_requests:
            return False
        dial.waiting.append(request)
        return True

    def on_arrived(self, peer_id: PeerId, link: Link) -> None:
        """The peer has dialed us: sends what waits. Our own dial goes on, because the peer may have dropped
        its own in favour of it."""
        dial = self._dials.get(peer_id)
        if dial is not None:
            requests, dial.waiting = dial.waiting, []
            for request in requests:
                self._faults.run("sending requests queued for a peer", request.send, link)

    def forgive(self, addrs: Collection[Multiaddr]) -> None:
        """The operator wants these addresses tried now, however often they failed and wherever they lead."""
        self._give(addrs)
        for addr in addrs:
            self._book.forgive(addr)

    def _give(self, addrs: Iterable[Multiaddr]) -> None:
        for addr in addrs:
            self._given.put(addr.without_peer(), None)

    async def close(self) -> None:
        """Ends all dials, and starts no more."""
        self._closing = True
        tasks = [dial.task for dial in self._dials.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _dial(self, peer: PeerInfo) -> _Dial:
        dial = self._dials.get(peer.peer_id)
        if dial is None:
            dial = self._dials[peer.peer_id] = _Dial(asyncio.ensure_future(self._reach(peer)))
            dial.task.add_done_callback(lambda task: self._ended(peer.peer_id, task))
        return dial

    async def _reach(self, peer: PeerInfo) -> Link:
        if peer.peer_id == self._owner.peer_id:
            raise _failed(peer, Failure(str(peer.peer_id), DialReason.SELF))
        if self._closing:
            raise NotDialed("this node is shutting down", peer=peer.peer_id)
        if len(self._dials) > self._config.max_queued_dials:
            raise NotDialed("too many dials are queued", peer=peer.peer_id)
        known = self._known(peer)
        candidates = self._candidates(known)
        try:
            if not candidates and (failures := self._left_out(peer)):
                raise _failed(peer, *failures)
            return await self._dialer.dial(peer.peer_id, candidates, self._given)
        except Exception as fault:
            if not isinstance(fault, DialFailed):
                self._faults.tell("a dial", fault, peer.peer_id)
                fault = _failed(peer, Failure(str(peer.peer_id), DialReason.BUG))
            link = self._owner.link_to(peer.peer_id)
            if link is not None:
                return link  # the peer has reached us
            waiting = [addr for addr in known if addr not in candidates]
            # Addresses that failed recently were not tried now; their earlier failure still counts.
            absent = fault.gone or not candidates
            fault.gone = absent and all(map(self._book.refuses, waiting)) and bool(known)
            raise fault from None

    def _known(self, peer: PeerInfo) -> list[Multiaddr]:
        """Addresses from identify and from the caller, without our own (NAT, copied settings)."""
        known = [*self._identifier.store.addrs(peer.peer_id, self._clock.now()), *peer.addrs]
        own = self._identifier.addresses
        bare = dict.fromkeys(addr.without_peer() for addr in known)
        return [addr for addr in bare if addr not in own and worth_keeping(addr)]

    def _candidates(self, known: Iterable[Multiaddr]) -> list[Multiaddr]:
        """Of these, without those that failed recently or that strangers named in networks we do not belong
        to."""
        own = self._identifier.addresses
        ordered = self._book.order(known, self._clock.now())
        return [addr for addr in ordered if addr in self._given or _may_dial(own, addr)]

    def _left_out(self, peer: PeerInfo) -> list[Failure]:
        """If a peer has no address to try: why each of its addresses was left out."""
        now, own = self._clock.now(), self._identifier.addresses
        known = dict.fromkeys((*self._identifier.store.addrs(peer.peer_id, now), *peer.addrs))
        failures = []
        for addr in known:
            bare = addr.without_peer()
            if bare in own:
                failures.append(Failure(str(addr), DialReason.SELF))
            elif self._book.waits_until(bare) > now:
                failures.append(Failure(str(addr), DialReason.RECENTLY_FAILED))
            elif bare not in self._given and not _may_dial(own, addr):
                failures.append(Failure(str(addr), DialReason.OUTSIDE))
        return failures

    def _note(self, peer_id: PeerId, fault: BaseException | None) -> None:
        """Records the failures. They stay while the same addresses wait for their next attempt."""
        if fault is None:
            self._failures.pop(peer_id)
            return
        found = fault.failures if isinstance(fault, DialFailed) else ()
        failures = tuple(one for one in found if isinstance(one, Failure))
        if any(one.reason is not DialReason.RECENTLY_FAILED for one in failures):
            self._failures.put(peer_id, failures)

    def _on_tried(self, peer_id: PeerId, addr: Multiaddr, end: DialEnd) -> None:
        now = self._clock.now()
        if end in (DialEnd.DEAD, DialEnd.REFUSED):
            self._book.on_failed(addr, now, refused=end is DialEnd.REFUSED)
        elif end is DialEnd.WRONG:  # the address works, but belongs to another peer
            self._identifier.store.forget(peer_id, addr)
        else:
            self._book.on_succeeded(addr)
            self._identifier.store.add(peer_id, [addr], AddrSource.DIALED, now)

    def _ended(self, peer_id: PeerId, task: asyncio.Task[Link]) -> None:
        dial = self._dials.pop(peer_id)
        if not task.cancelled():
            self._note(peer_id, task.exception())
        if not task.cancelled() and task.exception() is None:
            link = task.result()
            for request in dial.waiting:
                self._faults.run("sending requests queued for a dial", request.send, link)
            return
        fault = None if task.cancelled() else task.exception()
        logger.debug("cannot reach %s: %s", peer_id, fault or "stopped")
        if not isinstance(fault, NotDialed):
            self._owner.on_unreachable(peer_id)
        gone = isinstance(fault, DialFailed) and fault.gone
        for request in dial.waiting:
            self._faults.run("failing requests queued for a dial", request.on_unreachable, gone)


def _failed(peer: PeerInfo, *failures: Failure) -> DialFailed:
    fault = DialFailed("; ".join(map(str, failures)), peer=peer.peer_id)
    fault.failures = failures
    return fault


def _may_dial(own: OwnAddresses, addr: Multiaddr) -> bool:
    """Whether an address may be dialed on a stranger's word. A name is checked once it is resolved."""
    found = endpoint_of(addr)
    return found is None or found[1].kind not in IP_KINDS or own.may_dial(found[1].host)
