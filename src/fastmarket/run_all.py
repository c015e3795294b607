"""Runs several calls in turn, even if some of them fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable

# After a failure, what is due at once waits: what fails every time would otherwise take all the CPU.
PAUSE_S = 1.0


def run_all(calls: Iterable[Callable[[float], object]], now: float) -> None:
    """Calls every one of them, and only then raises the first exception."""
    first: Exception | None = None
    for call in calls:
        try:
            call(now)
        except Exception as error:  # noqa: BLE001 - raised below
            first = first or error
    if first is not None:
        raise first
