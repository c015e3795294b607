"""Drives the engine over a host: actions become requests, outcomes go back in, jobs become awaitable."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection
from contextvars import copy_context

from fastmarket.errors import ConnectionLost, NodeFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.engine import Engine
from fastmarket.kad.events import JobFault, JobFinished, JobProgress, SendRequest
from fastmarket.kad.jobs import Job
from fastmarket.kad.lookup.lookup import Lookup
from fastmarket.kad.records.shares import NEARBY
from fastmarket.libp2p.connection import Connection
from fastmarket.libp2p.requests import Reply, RequestResult
from fastmarket.net.clock import Clock
from fastmarket.net.host import Host
from fastmarket.net.pump import Pump


class RunningJob:
    """A job under way: `result` is done at its end, `items` yields its progress until then."""

    def __init__(self, cancel: Callable[[], None], job: Job, begun: float) -> None:
        self.result: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.cancel = cancel
        self.kind = type(job).__name__
        self.lookup: Lookup | None = getattr(job, "lookup", None)
        # Observers run in it: what the job was started for (a call, and its trace) is known to them.
        self.context = copy_context()
        self.begun = begun
        self._items: deque[object] = deque()
        self._news = asyncio.Event()

    async def items(self) -> AsyncGenerator[object, None]:
        """Progress as it comes; ends with the job. Raises what the result raises."""
        while True:
            while self._items:
                yield self._items.popleft()
            if self.result.done():
                self.result.result()
                return
            self._news.clear()
            await self._news.wait()

    def add(self, item: object) -> None:
        """For the driver: the job found something."""
        self._items.append(item)
        self._news.set()

    def finish(self, result: object) -> None:
        """For the driver: the job is over."""
        if not self.result.done():
            self.result.set_result(result)
        self._news.set()

    def fail(self, fault: Exception) -> None:
        """For the driver: the node stopped first, or a bug of ours ended the job."""
        if not self.result.done():
            self.result.set_exception(fault)
            self.result.exception()  # whoever waits gets it; nobody has to wait
        self._news.set()


JobObserver = Callable[[str, Lookup | None, float], None]
"""Told of each job that ended: its class, its lookup where it is one, and the seconds it took."""


class KadNode:
    """One engine on one host. Its jobs are started by `start`; everything else happens by itself."""

    def __init__(self, host: Host, engine: Engine, clock: Clock) -> None:
        self.engine = engine
        self._host = host
        self._clock = clock
        self._running: dict[int, RunningJob] = {}
        self._turns = Pump(host.agenda, engine.next_timer, self._turn, self._failed)
        self._closed = False
        self.joined = False
        """Whether this node set out to join others, by anybody."""
        self.job_observers: list[JobObserver] = []
        engine.routing.on_hurry = self._turns.wake
        host.observers.append(self)
        host.links.neighbours = self._neighbours
        # So the first lookup knows whom it need not wait for.
        host.on_pace = lambda peer_id, took_s: engine.learnt.paces.answered(peer_id, took_s, True)

    def handle(self, connection: Connection, body: bytes, now: float) -> bytes | None:
        """Answers an inbound request; what it sets off (a liveness check) comes with `on_hurry`."""
        sender = connection.remote_peer
        assert sender is not None
        return self.engine.handle_request(sender, body, now, connection.block or NEARBY)

    def start(self, job: Job) -> RunningJob:
        """Runs a job. Raises Busy when too many are running, ConnectionLost once the node is stopped."""
        if self._closed:
            raise ConnectionLost("the node has stopped")
        now = self._clock.now()
        job_id = self.engine.start(job, now)
        running = RunningJob(lambda: self._cancel(job_id), job, now)
        self._running[job_id] = running
        self._turns.wake()
        return running

    def arm(self) -> None:
        """The engine was given something for later."""
        self._turns.wake()

    async def run(self, job: Job) -> object:
        """A job's result; cancelling the caller cancels the job."""
        running = self.start(job)
        try:
            return await running.result
        finally:
            running.cancel()

    def close(self) -> None:
        """Ends every job; nothing is sent any more."""
        self._closed = True
        self._turns.close()
        for running in self._running.values():
            running.fail(ConnectionLost("the node has stopped"))
        self._running.clear()

    # -- HostObserver

    def peer_identified(self, peer: PeerInfo, protocols: frozenset[str], now: float) -> None:
        engine = self.engine
        alone = not engine.table_size and not self.joined
        engine.peer_identified(peer, protocols, now)
        if alone and engine.table_size:
            # Met by others: by a network that knows us from before, perhaps, and that we have forgotten.
            engine.maintenance.refresh_soon(engine.config.return_delay_s, 0.0, now)
        self._turns.wake()

    def peer_disconnected(self, peer_id: PeerId, now: float) -> None:
        self.engine.peer_disconnected(peer_id, now)
        self._turns.wake()

    def peer_unreachable(self, peer_id: PeerId, now: float) -> None:
        self.engine.peer_unreachable(peer_id, now)
        self._turns.wake()

    def _neighbours(self) -> Collection[PeerId]:
        """The peers closest to us, who answer with us for the keys around us."""
        return [peer.peer_id for peer in self.engine.closest(self._host.peer_id.raw, self.engine.config.k)]

    # -- turns

    def _cancel(self, job_id: int) -> None:
        if job_id in self._running and not self._closed:
            self.engine.cancel(job_id, self._clock.now())
            self._turns.wake()

    def _turn(self, now: float) -> None:
        engine = self.engine
        if now >= self._turns.due:
            engine.handle_timer(now)
        for action in engine.poll_actions():
            try:
                self._send(action)
            except Exception as error:  # noqa: BLE001 - it costs this request; the runner gives it up in time
                self._host.faults.tell("sending a request", error, action.peer.peer_id)
        ended = []
        for event in engine.poll_events():
            if isinstance(event, JobProgress):
                if (running := self._running.get(event.job_id)) is not None:
                    running.add(event.item)
            elif isinstance(event, JobFinished) and (done := self._running.pop(event.job_id, None)):
                done.finish(event.result)
                ended.append(done)
            elif isinstance(event, JobFault):
                self._host.faults.tell(f"the job {event.kind}", event.error)
                if event.ended and (done := self._running.pop(event.job_id, None)) is not None:
                    done.fail(NodeFault(f"a bug of ours ended it: {event.error!r}"))
        for done in ended:
            for observer in self.job_observers:
                self._host.faults.run(
                    "an observer of jobs",
                    done.context.run,
                    *(observer, done.kind, done.lookup, now - done.begun),
                )

    def _failed(self, error: Exception) -> None:
        self._host.faults.tell("a turn of the DHT", error)

    def _send(self, action: SendRequest) -> None:
        request_id = action.request_id

        def done(outcome: RequestResult) -> None:
            if self._closed:
                return
            now = self._clock.now()
            if isinstance(outcome, Reply):
                self.engine.receive_reply(request_id, outcome.protocol, outcome.payload, now)
            else:
                self.engine.request_failed(request_id, outcome.kind, now)
            self._turns.wake()

        self._host.request(action.peer, action.choices, action.deadline, done)
