"""The runner: request numbers, timers, replies nobody waits for."""

from __future__ import annotations

import pytest

from fastmarket.errors import Busy, PeerFault
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.kad.events import JobFinished, JobProgress, SendRequest
from fastmarket.kad.jobs import FORGOTTEN_AFTER_S, JobRunner, PeerWatcher
from fastmarket.trace import Trace
from tests.sim_network import START, peer_info_of

PEER = peer_info_of(1)


class Observer:
    """Notes what the routing table would be told."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def on_reply(self, peer_id: PeerId, now: float) -> None:
        self.seen.append((peer_id, None))

    def on_failure(self, peer_id: PeerId, kind: FailureKind, now: float) -> None:
        self.seen.append((peer_id, kind))


class Recorder(Trace):
    """Keeps event names."""

    __slots__ = ("names",)

    def __init__(self) -> None:
        self.names: list[str] = []

    def event(self, name: str, **fields: object) -> None:
        self.names.append(name)


class OneRequest(PeerWatcher):
    """Sends one request, ends with its outcome or at a time of its own."""

    def __init__(self, ends_at: float | None = None) -> None:
        self.ends_at = ends_at
        self.result: object = None
        self.out = [SendRequest(7, PEER, (Choice("/test", b"?"),), 5.0)]
        self.events: list[object] = []
        self.woken: list[float] = []
        self.identified = 0

    @property
    def is_finished(self) -> bool:
        return self.result is not None

    def start(self, now: float) -> None:
        self.events.append("started")

    def poll_requests(self, now: float) -> list[SendRequest]:
        out, self.out = self.out, []
        return out

    def on_reply(self, token: int, protocol: str, payload: bytes, now: float) -> None:
        assert token == 7
        if payload == b"bad":
            raise PeerFault("bad")
        self.result = payload

    def on_failure(self, token: int, kind: FailureKind, now: float) -> None:
        self.result = kind

    def next_timer(self) -> float | None:
        return self.ends_at

    def handle_timer(self, now: float) -> None:
        self.woken.append(now)
        if self.ends_at is not None and now >= self.ends_at:
            self.result = "time"

    def poll_events(self) -> list[object]:
        events, self.events = self.events, []
        return events

    def cancel(self, now: float) -> None:
        self.result = "cancelled"

    def on_peer_identified(self, now: float) -> None:
        self.identified += 1


def make(max_jobs: int = 10) -> tuple[JobRunner, Observer, Recorder]:
    observer, trace = Observer(), Recorder()
    return JobRunner(max_jobs, observer, trace), observer, trace


def test_a_job_from_start_to_end() -> None:
    runner, observer, _ = make()
    job_id = runner.start(OneRequest(), START)
    (action,) = runner.poll_actions()
    assert (action.peer, action.deadline) == (PEER, START + 5.0)
    assert runner.poll_events() == [JobProgress(job_id, "started")]
    runner.handle_reply(action.request_id, "/test", b"yes", START)
    assert runner.poll_events() == [JobFinished(job_id, b"yes")]
    assert observer.seen == [(PEER.peer_id, None)]
    assert (len(runner), runner.pending_count) == (0, 0)


def test_a_second_answer_is_ignored() -> None:
    runner, observer, trace = make()
    runner.start(OneRequest(), START)
    (action,) = runner.poll_actions()
    runner.handle_reply(action.request_id, "/test", b"yes", START)
    runner.poll_events()
    runner.handle_reply(action.request_id, "/test", b"again", START)
    runner.handle_failure(action.request_id, FailureKind.RESET, START)
    runner.handle_reply(999, "/test", b"never asked", START)
    assert runner.poll_events() == []
    assert observer.seen == [(PEER.peer_id, None)]
    assert trace.names == ["kad.reply.unasked"] * 2


def test_an_answer_to_a_finished_job_is_ignored_but_tells_of_the_peer() -> None:
    runner, observer, trace = make()
    job_id = runner.start(OneRequest(), START)
    (action,) = runner.poll_actions()
    runner.cancel(job_id, START)
    runner.poll_events()
    runner.handle_reply(action.request_id, "/test", b"late", START + 1)
    assert runner.poll_events() == []
    assert observer.seen == [(PEER.peer_id, None)]
    assert trace.names == ["kad.reply.late"]


def test_garbage_fails_the_request_and_is_held_against_the_peer() -> None:
    runner, observer, trace = make()
    job_id = runner.start(OneRequest(), START)
    (action,) = runner.poll_actions()
    runner.poll_events()
    runner.handle_reply(action.request_id, "/test", b"bad", START)
    assert runner.poll_events() == [JobFinished(job_id, FailureKind.PEER_FAULT)]
    assert observer.seen == [(PEER.peer_id, FailureKind.PEER_FAULT)]
    assert trace.names == ["kad.reply.fault"]


def test_too_many_jobs() -> None:
    runner, _, _ = make(max_jobs=2)
    first = runner.start(OneRequest(), START)
    runner.start(OneRequest(), START)
    with pytest.raises(Busy):
        runner.start(OneRequest(), START)
    runner.cancel(first, START)
    runner.start(OneRequest(), START)


def test_timers_in_order_and_moved_ones() -> None:
    runner, _, _ = make(max_jobs=100)
    jobs = [OneRequest(START + 10 - number) for number in range(10)]
    ids = [runner.start(job, START) for job in jobs]
    runner.poll_events()
    assert runner.next_timer() == START + 1
    runner.handle_timer(START + 0.5)
    assert not any(job.woken for job in jobs)
    runner.handle_timer(START + 3)
    assert [event.job_id for event in runner.poll_events() if isinstance(event, JobFinished)] == ids[:-4:-1]
    jobs[6].ends_at = START + 20  # what it wants now is later than what the heap says
    runner.handle_timer(START + 4)
    assert jobs[6].woken == []
    assert runner.next_timer() == START + 5
    runner.handle_timer(START + 15)
    assert len(runner) == 1
    assert runner.next_timer() == START + 20
    runner.handle_timer(START + 20)
    assert len(runner) == 0
    assert runner.next_timer() is None


def test_internal_jobs_make_no_events() -> None:
    runner, _, _ = make()
    told: list[tuple[object, float]] = []
    runner.start(OneRequest(), START, lambda result, now: told.append((result, now)))
    (action,) = runner.poll_actions()
    runner.handle_failure(action.request_id, FailureKind.RESET, START + 2)
    assert told == [(FailureKind.RESET, START + 2)]
    assert runner.poll_events() == []


def test_watchers_are_told_until_they_end() -> None:
    runner, _, _ = make()
    job = OneRequest()
    job_id = runner.start(job, START)
    runner.on_peer_identified(START)
    runner.cancel(job_id, START)
    runner.on_peer_identified(START)
    assert job.identified == 1


def test_a_request_the_shell_forgot_counts_as_timed_out() -> None:
    runner, observer, trace = make()
    runner.start(OneRequest(), START)
    now = START + 5.0 + FORGOTTEN_AFTER_S
    runner.start(OneRequest(), now)
    assert runner.pending_count == 1
    assert observer.seen == [(PEER.peer_id, FailureKind.TIMEOUT)]
    assert trace.names == ["kad.request.forgotten"]


def test_what_expects_no_reply_says_nothing_of_its_peer() -> None:
    runner, observer, _ = make()
    job = OneRequest()
    job.out = [SendRequest(7, PEER, (Choice("/test", b"!", expects_reply=False),), 5.0)]
    job_id = runner.start(job, START)
    (action,) = runner.poll_actions()
    runner.handle_reply(action.request_id, "/test", b"", START)
    assert runner.poll_events()[-1] == JobFinished(job_id, b"")
    assert observer.seen == []


def test_replies_that_come_together_are_one_reason_to_poll() -> None:
    runner, _, _ = make()
    job = Counting()
    runner.start(job, START)
    actions = runner.poll_actions()
    polled = job.polled
    for action in actions:
        runner.handle_reply(action.request_id, "/test", b"yes", START)
    runner.poll_actions()
    assert (job.replies, job.polled) == (3, polled + 1)


class Counting(OneRequest):
    """Sends three requests, and goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.out = [SendRequest(number, PEER, (Choice("/test", b"?"),), 5.0) for number in range(3)]
        self.polled = self.replies = 0

    def poll_requests(self, now: float) -> list[SendRequest]:
        self.polled += 1
        return super().poll_requests(now)

    def on_reply(self, token: int, protocol: str, payload: bytes, now: float) -> None:
        self.replies += 1
