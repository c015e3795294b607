"""What all tests share: a loop that forgives nothing, and ports that take a connection at once."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest
import uvloop
from hypothesis import HealthCheck, settings

from fastmarket import deferred_accept
from fastmarket.cli.memory import GC_THRESHOLDS

T = TypeVar("T")

Run = Callable[[Coroutine[Any, Any, T]], T]

DEADLINE_S = 120.0  # ends what never comes; a busy machine takes as long as it takes

# Speed is what benchmarks judge: on a busy machine an example may take its time to be made and to be run.
settings.register_profile("fastmarket", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fastmarket")


def pytest_collection_finish() -> None:
    """What importing all tests made stays for ever: the collector looks at what a test makes, and not at it;
    and no more often than it does in our programs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


@pytest.fixture(scope="session", autouse=True)
def _accepted_at_once() -> Iterator[None]:
    """The kernel hands over a connection that says nothing at once, and not after a minute, which tests of
    what a port then does would only wait out. `net/test_silent.py` and `e2e` have what is shipped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deferred_accept, "DEFER_S", 0)
        yield


def _is_grpc_poller(context: dict[str, Any]) -> bool:
    """grpc.aio 1.x has one poller for all loops of a process; under load it wakes the loop of a test that has
    ended, and complains in the loop of the one that runs. No fault of either."""
    return "PollerCompletionQueue" in context["message"] and isinstance(
        context.get("exception"), RuntimeError
    )


@pytest.fixture
def run() -> Run[Any]:
    """Runs a coroutine on uvloop, as the programs do, within a deadline; an exception that nobody handled,
    in a callback, a task or a future, fails the test."""

    def runner(coroutine: Coroutine[Any, Any, T], deadline_s: float = DEADLINE_S) -> T:
        unhandled: list[dict[str, Any]] = []

        async def main() -> T:
            asyncio.get_running_loop().set_exception_handler(
                lambda loop, context: None if _is_grpc_poller(context) else unhandled.append(context)
            )
            async with asyncio.timeout(deadline_s):
                return await coroutine

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
            result = loop.run(main())
            gc.collect()  # an exception never retrieved is reported when its future is collected
            loop.run(asyncio.sleep(0))
        assert not unhandled, unhandled
        return result

    return runner
