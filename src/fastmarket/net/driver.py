"""Drives a node over a host: executes its actions, and makes every command awaitable."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextvars import Context, copy_context
from typing import Any, Protocol

from fastmarket.core.commands import Command
from fastmarket.core.driving import Driver, pump
from fastmarket.core.events import (
    AnnouncingPostponed,
    BugFound,
    ClockDiffers,
    Event,
    Finished,
    JobEnded,
    KnownAs,
    OffersRefused,
    PeerAnswered,
    PeerDisconnected,
    PeerEvent,
    PeerIdentified,
    PeerUnreachable,
    Persist,
    Progress,
)
from fastmarket.core.node import NodeCore
from fastmarket.errors import ConnectionLost, NotDurable, StorageFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.kad.events import SendRequest
from fastmarket.kad.lookup.lookup import Lookup
from fastmarket.kad.records.shares import NEARBY
from fastmarket.libp2p.requests import Reply, RequestResult
from fastmarket.libp2p.streams import RpcHandler
from fastmarket.net.clock import Clock
from fastmarket.net.host import Host
from fastmarket.net.pump import Pump
from fastmarket.net.twins import Twins
from fastmarket.offers.announce.clocks import side
from fastmarket.offers.store.changes import AnyChange
from fastmarket.wording import counted

logger = logging.getLogger(__name__)

JobObserver = Callable[[str, Lookup | None, float], None]
"""Called for each job that ended, with its class, its lookup if it is one, and its duration in seconds."""


class Keeper(Protocol):
    """Makes changes durable: `storage.journal.Journal` on a node with a data directory."""

    @property
    def trouble(self) -> str:
        """Why nothing can be stored now, or ""."""

    @property
    def lost(self) -> str:
        """Why nothing can be stored until this process ends, so that nothing should be started; or ""."""

    def keep(self, changes: Sequence[AnyChange]) -> Awaitable[None]:
        """Completes when these and all earlier changes would survive SIGKILL and power loss. Raises
        StorageFault."""


class Running:
    """A command in progress: `finished` completes at its end, `items` yields its progress until then."""

    __slots__ = ("_cancel", "_items", "_news", "finished")

    def __init__(self, cancel: Callable[[], None]) -> None:
        self.finished: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()
        self._cancel = cancel
        self._items: deque[object] = deque()
        self._news = asyncio.Event()

    def cancel(self) -> None:
        """The caller has gone; does nothing for a command that has ended.

        `finished` does not show that: cancelling its waiter cancels it as well.
        """
        self._cancel()

    async def items(self) -> AsyncGenerator[object, None]:
        """Progress as it comes; ends with the command. Raises what `finished` raises."""
        while True:
            while self._items:
                yield self._items.popleft()
            if self.finished.done():
                self.finished.result()
                return
            self._news.clear()
            await self._news.wait()

    def add(self, item: object) -> None:
        """Adds an item of progress; for the driver."""
        self._items.append(item)
        self._news.set()

    def end(self, event: Finished, fault: Exception | None) -> None:
        """Ends with the last event, or with what waiters raise; for the driver."""
        if not self.finished.done():
            if fault is None:
                self.finished.set_result(event)
            else:
                self.finished.set_exception(fault)
                self.finished.exception()  # if all callers have given up, it is of no interest
        self._news.set()


class NodeDriver(Driver):
    """One `NodeCore` on one host. `start` starts commands; everything else happens by itself."""

    def __init__(self, core: NodeCore, host: Host, clock: Clock, twins: Twins) -> None:
        """`twins` learns how others know this node."""
        self.core = core
        self.job_observers: list[JobObserver] = []
        self.keeper: Keeper | None = None
        self._host = host
        self._clock = clock
        self._twins = twins
        self._running: dict[int, Running] = {}
        self._pump = Pump(host.run_queue, core.next_timer, self._turn, self._failed)
        self._closed = False
        host.observers.append(self)
        host.links.neighbours = self._neighbours
        # So the first lookup knows which peers not to wait for.
        host.on_first_answer = self._on_first_answer

    def responder(self, protocol: str) -> RpcHandler:
        """Answers inbound requests of a protocol, within the turn that delivered them."""
        respond, turn, turns = self.core.responders[protocol], self.core.turn, self._pump

        def handle(peer: RemotePeer, body: bytes, now: float) -> bytes | None:
            reply = respond(peer.peer_id, body, now, peer.block or NEARBY)
            if turn.is_wanted:
                turns.wake()
            return reply

        return handle

    # -- commands

    def start(self, command: Command) -> Running:
        """Starts a command. Raises CallerFault for its arguments (Busy: too much is in progress),
        ConnectionLost once the node is stopped."""
        if self._closed:
            raise ConnectionLost("the node has stopped")
        # Observers of its jobs run in this context: they know the call it was started for.
        number = self.core.start(command, self._clock.now(), copy_context())
        running = self._running[number] = Running(lambda: self._cancel(number))
        self._pump.wake()
        return running

    async def run(self, command: Command) -> Finished:
        """Waits for the end of a command; cancelling the caller cancels the command."""
        running = self.start(command)
        try:
            return await running.finished
        finally:
            running.cancel()

    def check_durable(self) -> None:
        """To be called before signing anything that could not be stored. Raises StorageFault."""
        if self.keeper is not None and (why := self.keeper.lost):
            raise NotDurable(why)

    def wake(self) -> None:
        """The node got input outside a turn."""
        self.core.touch()
        self._pump.wake()

    def flush(self) -> None:
        """Hands over pending changes, before the node ends."""
        for action in self.core.poll_actions(self._clock.now()):
            if isinstance(action, Persist):
                self.persist(action)

    def close(self) -> None:
        """Ends every command; nothing is sent any more."""
        self._closed = True
        self._pump.close()
        for running in self._running.values():
            running.end(Finished(0), ConnectionLost("the node has stopped"))
        self._running.clear()

    # -- Driver

    def send(self, request: SendRequest) -> None:
        number = request.request_id

        def done(result: RequestResult) -> None:
            if self._closed:
                return
            now = self._clock.now()
            if isinstance(result, Reply):
                self.core.handle_reply(number, result.protocol, result.payload, now)
            else:
                self.core.handle_failure(number, result.kind, now)
            self._pump.wake()

        try:
            self._host.request(request.peer, request.choices, request.deadline, done)
        except Exception as error:  # noqa: BLE001 - it costs this request; the runner gives it up in time
            self._host.faults.tell("sending a request", error, request.peer.peer_id)

    def persist(self, action: Persist) -> None:
        assert self.keeper is not None, "changes are collected for a keeper alone"
        try:
            kept = asyncio.ensure_future(self.keeper.keep(action.changes))
        except Exception as error:  # noqa: BLE001 - what nothing keeps is not acknowledged
            self._host.faults.tell("keeping offers", error)
            self._persisted(action.ticket, f"a bug of ours: {error!r}")
        else:
            kept.add_done_callback(lambda done: self._persisted(action.ticket, _fault_of(done)))

    def deliver(self, event: Event) -> None:
        """Delivers an event to its waiter, or to the log. A bug costs this event, not the following ones."""
        self._host.faults.run("delivering an event", _DELIVERIES[type(event)], self, event)

    # -- HostObserver

    def on_peer_identified(self, peer: PeerInfo, protocols: frozenset[str], now: float) -> None:
        self._tell(PeerIdentified(peer, protocols), now)

    def on_peer_disconnected(self, peer_id: PeerId, now: float) -> None:
        self._tell(PeerDisconnected(peer_id), now)

    def on_peer_unreachable(self, peer_id: PeerId, now: float) -> None:
        self._tell(PeerUnreachable(peer_id), now)

    def _on_first_answer(self, peer_id: PeerId, took_s: float) -> None:
        self._tell(PeerAnswered(peer_id, took_s), self._clock.now())

    def _tell(self, event: PeerEvent, now: float) -> None:
        self.core.handle_peer(event, now)
        self._pump.wake()

    def _neighbours(self) -> Collection[PeerId]:
        """The peers closest to us, which are responsible with us for the keys around us."""
        engine = self.core.engine
        return [peer.peer_id for peer in engine.closest(self._host.peer_id.raw, engine.config.k)]

    # -- turns

    def _turn(self, now: float) -> None:
        if now >= self._pump.due:
            self.core.handle_timer(now)
        pump(self.core, self, now)

    def _failed(self, error: Exception) -> None:
        self._host.faults.tell("a turn of the node", error)

    def _cancel(self, number: int) -> None:
        if number in self._running and not self._closed:
            self.core.cancel(number, self._clock.now())
            self._pump.wake()

    def _persisted(self, ticket: int, fault: str) -> None:
        if not self._closed:
            self.core.handle_persisted(ticket, fault, self._clock.now())
            self._pump.wake()

    # -- events

    def _on_progress(self, event: Progress) -> None:
        running = self._running.get(event.operation)
        if running is not None:
            running.add(event.item)

    def _on_finished(self, event: Finished) -> None:
        running = self._running.pop(event.operation, None)
        if running is None:
            return
        fault = event.fault
        if isinstance(fault, NotDurable) and self.keeper is not None and (why := self.keeper.trouble):
            fault = NotDurable(why)
        running.end(event, fault)

    def _on_job_ended(self, event: JobEnded) -> None:
        context = event.tag if isinstance(event.tag, Context) else copy_context()
        for observer in self.job_observers:
            told = (observer, event.kind, event.lookup, event.took_s)
            self._host.faults.run("an observer of jobs", context.run, *told)

    def _on_bug(self, event: BugFound) -> None:
        self._host.faults.tell(event.place, event.error)

    def _on_postponed(self, event: AnnouncingPostponed) -> None:
        logger.warning("cannot announce offers now (%s); will retry later", event.fault)

    def _on_clock(self, event: ClockDiffers) -> None:
        logger.warning(
            "this node's clock is about %.0f s %s its peers': set it right, or they refuse its offers",
            abs(event.offset_s),
            side(event.offset_s),
        )

    def _on_refused(self, event: OffersRefused) -> None:
        logger.warning(
            "refused %s of other nodes because of the times in them: the holders' clocks are wrong, or this "
            "node's is",
            counted(event.refused, "offer"),
        )

    def _on_known_as(self, event: KnownAs) -> None:
        self._twins.on_named(event.peer)


_DELIVERIES: Mapping[type, Callable[[NodeDriver, Any], None]] = {
    Progress: NodeDriver._on_progress,
    Finished: NodeDriver._on_finished,
    JobEnded: NodeDriver._on_job_ended,
    BugFound: NodeDriver._on_bug,
    AnnouncingPostponed: NodeDriver._on_postponed,
    ClockDiffers: NodeDriver._on_clock,
    OffersRefused: NodeDriver._on_refused,
    KnownAs: NodeDriver._on_known_as,
}


def _fault_of(done: asyncio.Future[None]) -> str:
    """Why changes could not be stored; "" if they were."""
    if done.cancelled():
        return "the node is stopping"
    error = done.exception()
    if error is None:
        return ""
    return str(error) if isinstance(error, StorageFault) else f"a bug of ours: {error!r}"
