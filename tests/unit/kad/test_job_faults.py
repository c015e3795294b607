"""A bug in one job costs that job; over a reply, the peer that sent it; and no other job anything."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from fastmarket.config import KadConfig
from fastmarket.formats.choice import FailureKind
from fastmarket.kad.events import JobFault, JobFinished
from fastmarket.kad.jobs import FORGOTTEN_AFTER_S, Job, JobRunner
from fastmarket.kad.maintenance import Maintenance, Own
from tests.unit.kad.test_jobs import OneRequest, make
from tests.virtual import START

METHODS = [name for name in vars(Job) if not name.startswith("_") and callable(getattr(Job, name))]


class Bug(Exception):
    """None that the package raises on purpose."""


def break_method(job: OneRequest, method: str) -> OneRequest:
    """The job's method raises from now on."""

    def broken(*args: object) -> Any:
        raise Bug(method)

    if method in ("is_finished", "result"):
        names = {method: property(broken)} if method == "is_finished" else {}
        job.__class__ = type("Broken", (type(job),), names)
    else:
        setattr(job, method, broken)
    return job


def all_done(runner: JobRunner) -> dict[int, object]:
    return {event.job_id: event.result for event in runner.poll_events() if isinstance(event, JobFinished)}


# How each method comes to be called, with several jobs in one batch.
def by_replies(runner: JobRunner, requests: list[int], now: float) -> None:
    for request in requests:
        runner.handle_reply(request, "/test", b"yes", now)


def by_failures(runner: JobRunner, requests: list[int], now: float) -> None:
    for request in requests:
        runner.handle_failure(request, FailureKind.TIMEOUT, now)


def by_garbage(runner: JobRunner, requests: list[int], now: float) -> None:
    for request in requests:
        runner.handle_reply(request, "/test", b"bad", now)


def by_forgetting(runner: JobRunner, requests: list[int], now: float) -> None:
    runner.start(OneRequest(), now + 5.0 + FORGOTTEN_AFTER_S)


def by_time(runner: JobRunner, requests: list[int], now: float) -> None:
    runner.handle_timer(now + 3)


def by_identify(runner: JobRunner, requests: list[int], now: float) -> None:
    runner.on_peer_identified(now)
    by_replies(runner, requests, now)


WAYS = {
    "on_reply": by_replies,
    "on_failure": by_failures,
    "poll_requests": by_replies,
    "poll_events": by_replies,
    "next_timer": by_time,
    "handle_timer": by_time,
    "on_peer_identified": by_identify,
}
MORE = [
    ("on_failure", by_garbage),
    ("on_failure", by_forgetting),
    ("poll_requests", by_failures),
    ("poll_requests", by_time),
    ("poll_events", by_time),
    ("poll_requests", by_identify),
    ("is_finished", by_replies),
    ("is_finished", by_time),
]


def test_every_method_of_a_job_is_broken_below() -> None:
    assert set(METHODS) - set(WAYS) == {"start", "cancel"}  # which have tests of their own


@pytest.mark.parametrize(("method", "happen"), [*WAYS.items(), *MORE])
@pytest.mark.parametrize("internal", [False, True])
def test_one_broken_job_among_forty(
    method: str, happen: Callable[[JobRunner, list[int], float], None], internal: bool
) -> None:
    runner, _, _ = make(max_jobs=50)
    told: list[object] = []
    done = (lambda result, now: told.append(result)) if internal else None
    jobs = [OneRequest(ends_at=START + 3) for _ in range(40)]
    ids = [runner.start(job, START, done if number == 17 else None) for number, job in enumerate(jobs)]
    requests = [action.request_id for action in runner.poll_actions()]
    runner.poll_events()
    break_method(jobs[17], method)
    happen(runner, requests, START + 1)
    events = runner.poll_events()
    finished = {event.job_id for event in events if isinstance(event, JobFinished)}
    assert finished - {ids[17]} == set(ids) - {ids[17]}
    faults = [event for event in events if isinstance(event, JobFault)]
    assert {fault.job_id for fault in faults} == {ids[17]}
    assert all(isinstance(fault.error, Bug) for fault in faults)
    assert (ids[17] in finished) is (method == "on_reply" and not internal)
    if method == "on_reply":  # that peer failed, as far as the job knows, and the job took it for its end
        assert [fault.ended for fault in faults] == [False]
        assert jobs[17].result is FailureKind.PEER_FAULT
    else:
        assert faults[-1].ended
        assert told == ([None] if internal else [])
    left = len(runner)
    assert left == (1 if happen is by_forgetting else 0)  # its place is free again
    assert runner.next_timer() is None


@pytest.mark.parametrize("internal", [False, True])
def test_a_job_that_cannot_begin(internal: bool) -> None:
    runner, _, _ = make(max_jobs=1)
    told: list[object] = []
    job = break_method(OneRequest(), "start")
    if internal:
        runner.start(job, START, lambda result, now: told.append(result))
        assert told == [None]
    else:
        with pytest.raises(Bug):  # the caller is there, and hears of it
            runner.start(job, START)
    assert len(runner) == 0
    assert [type(event) for event in runner.poll_events()] == [JobFault]


def test_a_job_that_cannot_be_cancelled() -> None:
    runner, _, _ = make()
    job_id = runner.start(break_method(OneRequest(), "cancel"), START)
    runner.cancel(job_id, START + 1)
    assert len(runner) == 0
    assert [event.ended for event in runner.poll_events() if isinstance(event, JobFault)] == [True]


def test_whoever_is_told_of_a_result_breaks_nothing() -> None:
    runner, _, _ = make()

    def told(result: object, now: float) -> None:
        raise Bug

    runner.start(OneRequest(), START, told)
    other = runner.start(OneRequest(), START)
    by_replies(runner, [action.request_id for action in runner.poll_actions()], START + 1)
    events = runner.poll_events()
    assert [event.job_id for event in events if isinstance(event, JobFinished)] == [other]
    assert [type(event.error) for event in events if isinstance(event, JobFault)] == [Bug]
    assert len(runner) == 0


@pytest.mark.parametrize("broken", ["refresh", "announce", "sweep"])
def test_what_a_node_does_unasked_has_a_next_time(broken: str) -> None:
    """Whichever raises: the others are done, and it is tried again."""
    config = KadConfig()
    runner, _, _ = make()
    done: dict[str, int] = {"refresh": 0, "announce": 0, "sweep": 0}

    def doing(name: str) -> Any:
        done[name] += 1
        if name == broken:
            raise Bug(name)
        return OneRequest(ends_at=START) if name == "announce" else None

    maintenance = Maintenance(
        config,
        runner,
        lambda size: bytes(size),
        START,
        refresh=lambda now: doing("refresh"),
        announce=lambda kind, key, value, now: doing("announce"),
        sweep=lambda now: doing("sweep"),
    )
    maintenance.publish(Own.PROVIDER, b"key", b"", START)
    now, wanted = START, 3
    for _ in range(1000):
        now = max(now, maintenance.timer)
        with suppress(Bug):
            maintenance.handle_timer(now)
        runner.handle_timer(now)
        by_replies(runner, [action.request_id for action in runner.poll_actions()], now)
        if min(done.values()) >= wanted:
            break
    assert min(done.values()) >= wanted
