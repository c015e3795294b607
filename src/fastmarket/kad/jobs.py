"""The runner of jobs: numbers their requests and keeps their timers."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from fastmarket.errors import Busy, PeerFault
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.kad.events import JobFault, JobFinished, JobProgress, SendRequest
from fastmarket.kad.job import Job, PeerObserver, PeerWatcher
from fastmarket.kad.lookup.known_alive import KnownAlive
from fastmarket.kad.lookup.rtt import RttEstimator
from fastmarket.trace import NULL_TRACE, Trace

__all__ = ["Done", "Job", "JobRunner", "PeerObserver", "PeerWatcher"]

# If the shell never answers a request, it counts as timed out this long after its deadline.
FORGOTTEN_AFTER_S = 5.0


Done = Callable[[object, float], None]
"""`done(result, now)` of an internal job; the result is None if a bug ended it."""


class _Running:
    __slots__ = ("armed", "changed_at", "done", "job", "job_id")

    def __init__(self, job_id: int, job: Job, done: Done | None) -> None:
        self.job_id = job_id
        self.job = job
        self.done = done  # for internal jobs, which make no events
        self.armed: float | None = None  # the valid entry in the timer heap
        self.changed_at: float | None = None  # time of an outcome since the last poll


class JobRunner:
    """Runs up to `max_jobs` jobs at once; replies to a job that has ended are dropped.

    Whatever a job raises, other than PeerFault, is reported as `JobFault`. In handling a reply it costs that
    job this peer; anywhere else it ends this job, and no other.
    """

    __slots__ = (
        "_actions",
        "_alive",
        "_dirty",
        "_events",
        "_jobs",
        "_max_jobs",
        "_next_job",
        "_next_request",
        "_observer",
        "_pending",
        "_rtt",
        "_timers",
        "_trace",
        "_watchers",
    )

    def __init__(
        self,
        max_jobs: int,
        observer: PeerObserver,
        trace: Trace = NULL_TRACE,
        rtt: RttEstimator | None = None,
        alive: KnownAlive | None = None,
    ) -> None:
        """`rtt` learns of every reply, even to a job that has ended; `alive` learns of every valid reply and
        of every failure."""
        self._alive = alive
        self._rtt = rtt
        self._max_jobs = max_jobs
        self._observer = observer
        self._trace = trace
        self._jobs: dict[int, _Running] = {}
        self._pending: dict[int, SendRequest] = {}
        self._dirty: list[_Running] = []  # jobs with outcomes since they were polled
        self._timers: list[tuple[float, int, _Running]] = []
        self._actions: list[SendRequest] = []
        self._events: list[object] = []
        self._watchers: dict[int, PeerWatcher] = {}
        self._next_job = 1
        self._next_request = 1

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def pending_count(self) -> int:
        """Requests without an outcome yet."""
        return len(self._pending)

    def start(self, job: Job, now: float, done: Done | None = None) -> int:
        """Starts a job and returns its id. With `done`, it makes no events; `done(result, now)` is called at
        its end.

        Raises Busy if `max_jobs` are running, and whatever an external job raises at its start.
        """
        if len(self._jobs) >= self._max_jobs:
            self._pump_changed()
        if len(self._jobs) >= self._max_jobs:
            raise Busy("jobs", f"{self._max_jobs} jobs are running")
        job_id = self._next_job
        self._next_job += 1
        running = self._jobs[job_id] = _Running(job_id, job, done)
        if isinstance(job, PeerWatcher):
            self._watchers[job_id] = job
        try:
            job.start(now)
        except Exception as error:
            self._on_bug(job_id, running, error, now)
            if done is None:
                raise
            return job_id
        self._pump(job_id, running, now)
        return job_id

    def cancel(self, job_id: int, now: float) -> None:
        """Ends a job with what it has; does nothing for an unknown or finished one."""
        running = self._jobs.get(job_id)
        if running is None:
            return
        try:
            running.job.cancel(now)
        except Exception as error:  # noqa: BLE001 - see the class
            self._on_bug(job_id, running, error, now)
        else:
            self._pump(job_id, running, now)

    def handle_reply(self, request_id: int, protocol: str, payload: bytes, now: float) -> None:
        """Takes a reply from the shell; one to an unknown request is traced and dropped."""
        pending = self._pending.pop(request_id, None)
        if pending is None:
            self._trace.event("kad.reply.unasked", request_id=request_id)
            return
        # A request that expects no reply was merely written, which says nothing about the peer.
        said = payload != b"" or pending.expects_reply(protocol)
        rtt, peer_id = self._rtt, pending.peer.peer_id
        if rtt is not None and said and peer_id.raw in rtt.unresponsive:
            rtt.on_heard(peer_id)
        running = self._jobs.get(pending.job_id)
        if running is None:
            self._trace.event("kad.reply.late", request_id=request_id, job_id=pending.job_id)
        else:
            try:
                running.job.on_reply(pending.token, protocol, payload, now)
            except PeerFault as fault:
                said = False
                self._trace.event("kad.reply.fault", peer=peer_id, reason=fault.reason)
                self._note_failure(peer_id, FailureKind.PEER_FAULT, now)
                self._notify_failure(running, pending.token, FailureKind.PEER_FAULT, now)
            except Exception as error:  # noqa: BLE001 - see the class
                said = False
                self._report_bug(running, error, ended=False)
                self._notify_failure(running, pending.token, FailureKind.PEER_FAULT, now)
        if said:
            self._observer.on_reply(peer_id, now)
            if self._alive is not None:
                self._alive.on_answer(peer_id, now)
        if running is not None:
            self._on_outcome(pending.job_id, running, now)

    def handle_failure(self, request_id: int, kind: FailureKind, now: float) -> None:
        """The shell gave up on a request."""
        pending = self._pending.pop(request_id, None)
        if pending is None:
            return
        if kind is FailureKind.REFUSED:
            self._observer.on_refusal(
                pending.peer.peer_id, [choice.protocol for choice in pending.choices], now
            )
        else:
            self._note_failure(pending.peer.peer_id, kind, now)
        running = self._jobs.get(pending.job_id)
        if running is not None:
            self._notify_failure(running, pending.token, kind, now)
            self._on_outcome(pending.job_id, running, now)

    def on_peer_identified(self, now: float) -> None:
        """Notifies the jobs that watch for identified peers."""
        if not self._watchers:
            return
        for job_id, watcher in list(self._watchers.items()):
            running = self._jobs.get(job_id)
            if running is None:
                continue  # ended as a consequence of another watcher's work
            try:
                watcher.on_peer_identified(now)
            except Exception as error:  # noqa: BLE001 - see the class
                self._on_bug(job_id, running, error, now)
            else:
                self._pump(job_id, running, now)

    def next_timer(self) -> float | None:
        """When the first job wants to be woken; never too late, sometimes too early."""
        timers = self._timers
        while timers:
            when, _, running = timers[0]
            if running.armed == when:
                return when
            heapq.heappop(timers)
        return None

    def handle_timer(self, now: float) -> None:
        """Wakes every job whose time has come, once."""
        self._pump_changed()
        timers, due = self._timers, []
        while timers and timers[0][0] <= now:
            due.append(heapq.heappop(timers))
        for when, job_id, running in due:
            if running.armed != when:
                continue
            running.armed = None
            try:
                wanted = running.job.next_timer()
                if wanted is None or wanted > now:  # the wake-up was early
                    self._arm(job_id, running, wanted)
                    continue
                running.job.handle_timer(now)
            except Exception as error:  # noqa: BLE001 - see the class
                self._on_bug(job_id, running, error, now)
            else:
                self._pump(job_id, running, now)

    def poll_actions(self) -> list[SendRequest]:
        """Requests to send, in order."""
        if self._dirty:
            self._pump_changed()
        actions = self._actions
        if actions:
            self._actions = []
            return actions
        return []

    def poll_events(self) -> list[object]:
        """JobProgress, JobFinished and JobFault, in order."""
        if self._dirty:
            self._pump_changed()
        events = self._events
        if events:
            self._events = []
            return events
        return []

    def _on_outcome(self, job_id: int, running: _Running, now: float) -> None:
        """Marks an external job, which is polled once for all outcomes of a turn; polls an internal one at
        once."""
        if job_id not in self._jobs:
            return  # a bug has ended it
        if running.done is not None:
            self._pump(job_id, running, now)
            return
        if running.changed_at is None:
            self._dirty.append(running)
        running.changed_at = now

    def _pump_changed(self) -> None:
        while self._dirty:
            changed, self._dirty = self._dirty, []
            for running in changed:
                now, running.changed_at = running.changed_at, None
                if now is not None and running.job_id in self._jobs:
                    self._pump(running.job_id, running, now)

    def _note_failure(self, peer_id: PeerId, kind: FailureKind, now: float) -> None:
        self._observer.on_failure(peer_id, kind, now)
        if self._alive is not None and kind is not FailureKind.BUSY:
            self._alive.on_doubt(peer_id)

    def _notify_failure(self, running: _Running, token: int, kind: FailureKind, now: float) -> None:
        try:
            running.job.on_failure(token, kind, now)
        except Exception as error:  # noqa: BLE001 - see the class
            self._on_bug(running.job_id, running, error, now)

    def _on_bug(self, job_id: int, running: _Running, error: Exception, now: float) -> None:
        """Ends a job because of a bug of ours; replies to its requests are dropped."""
        self._report_bug(running, error, ended=True)
        running.armed = None
        self._watchers.pop(job_id, None)
        if self._jobs.pop(job_id, None) is not None and running.done is not None:
            try:
                running.done(None, now)
            except Exception as second:  # noqa: BLE001 - a bug of the callback
                self._report_bug(running, second, ended=True)

    def _report_bug(self, running: _Running, error: Exception, *, ended: bool) -> None:
        self._events.append(JobFault(running.job_id, type(running.job).__name__, error, ended))
        self._trace.event("kad.job.fault", job_id=running.job_id, ended=ended)

    def _pump(self, job_id: int, running: _Running, now: float) -> None:
        """Passes on a job's output, then re-arms or removes it."""
        job = running.job
        try:
            outgoing = job.poll_requests(now)
            if outgoing:
                self._send(job_id, outgoing, now)
            progress = job.poll_events()
            if progress and running.done is None:
                self._events.extend([JobProgress(job_id, item) for item in progress])
            if job.is_finished:
                running.armed = None
                del self._jobs[job_id]
                self._watchers.pop(job_id, None)
                if running.done is None:
                    self._events.append(JobFinished(job_id, job.result))
                else:
                    running.done(job.result, now)
                return
            self._arm(job_id, running, job.next_timer())
        except Exception as error:  # noqa: BLE001 - see the class
            self._on_bug(job_id, running, error, now)

    def _arm(self, job_id: int, running: _Running, wanted: float | None) -> None:
        # An entry that is too early costs only one check, so it stays until it comes up.
        if wanted is not None and (running.armed is None or wanted < running.armed):
            running.armed = wanted
            heapq.heappush(self._timers, (wanted, job_id, running))

    def _send(self, job_id: int, outgoing: list[SendRequest], now: float) -> None:
        pending = self._pending
        for request in outgoing:
            request.request_id, request.job_id = self._next_request, job_id
            request.deadline = now + request.timeout_s
            self._next_request += 1
            pending[request.request_id] = request
        self._actions += outgoing
        oldest = next(iter(pending))
        while pending[oldest].deadline + FORGOTTEN_AFTER_S <= now:
            lost = pending.pop(oldest)
            self._trace.event("kad.request.forgotten", request_id=oldest, peer=lost.peer.peer_id)
            self._note_failure(lost.peer.peer_id, FailureKind.TIMEOUT, now)
            running = self._jobs.get(lost.job_id)
            if running is not None:
                self._notify_failure(running, lost.token, FailureKind.TIMEOUT, now)
                if running.changed_at is None:
                    self._dirty.append(running)
                running.changed_at = now
            oldest = next(iter(pending))
