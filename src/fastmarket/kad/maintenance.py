"""Background work of a node: refreshes of the table, announcements of its own records, removal of expired
ones."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from fastmarket.config import KadConfig
from fastmarket.errors import Busy, CallerFault
from fastmarket.kad.jobs import Job, JobRunner
from fastmarket.kad.records.put_job import PutResult
from fastmarket.run_all import run_all

# Intervals are randomly stretched or shortened by up to this share, so that nodes started together spread
# out.
JITTER = 0.1


class Own(Enum):
    """Kinds of records that a node announces by itself."""

    VALUE = "value"
    PROVIDER = "provider"


@dataclass(slots=True, eq=False)
class _Published:
    kind: Own
    key: bytes
    value: bytes  # of a VALUE


class Maintenance:
    """Timers of the whole node."""

    __slots__ = (
        "_announce",
        "_config",
        "_due",
        "_entropy",
        "_jobs",
        "_own",
        "_refresh",
        "_refresh_at",
        "_refreshed_at",
        "_running",
        "_sequence",
        "_sweep",
        "_sweep_at",
        "timer",
    )

    def __init__(
        self,
        config: KadConfig,
        jobs: JobRunner,
        entropy: Callable[[int], bytes],
        now: float,
        *,
        refresh: Callable[[float], Job | None],
        announce: Callable[[Own, bytes, bytes, float], Job],
        sweep: Callable[[float], None],
    ) -> None:
        """`refresh`, `announce` and `sweep` are called when they are due; the first two return jobs."""
        self._config = config
        self._jobs = jobs
        self._entropy = entropy
        self._own: dict[tuple[Own, bytes], _Published] = {}
        self._due: list[tuple[float, int, _Published]] = []
        self._sequence = 0
        self._running = 0
        self._refreshed_at = float("-inf")
        self._refresh_at = now + self._spread(config.refresh_interval_s)
        self._sweep_at = now + self._spread(config.sweep_interval_s)
        self._refresh, self._announce, self._sweep = refresh, announce, sweep
        self.timer = 0.0
        """When to call `handle_timer`."""
        self._rearm()

    def __len__(self) -> int:
        return len(self._own)

    def own(self, kind: Own) -> list[bytes]:
        """Keys that are announced regularly."""
        return [key for own_kind, key in self._own if own_kind is kind]

    def publish(self, kind: Own, key: bytes, value: bytes, now: float) -> None:
        """Announces regularly from now on; the first announcement is the caller's. Raises CallerFault if
        there are too many."""
        known = self._own.get((kind, key))
        if known is not None:
            known.value = value
            return
        if len(self._own) >= self._config.max_published:
            raise CallerFault("key", f"{self._config.max_published} are already published")
        published = self._own[kind, key] = _Published(kind, key, value)
        self._schedule(published, now + self._spread(self._config.republish_interval_s))

    def is_published(self, kind: Own, key: bytes) -> bool:
        """Whether the key is announced regularly."""
        return (kind, key) in self._own

    def unpublish(self, kind: Own, key: bytes) -> bool:
        """Stops announcing; returns whether the key was announced."""
        return self._own.pop((kind, key), None) is not None

    def refresh_soon(self, wait_s: float, pause_s: float, now: float) -> None:
        """Makes the next refresh due in `wait_s`, but not earlier than `pause_s` after the last one."""
        at = max(now + self._spread(wait_s), self._refreshed_at + pause_s)
        self._refresh_at = min(self._refresh_at, at)
        self._rearm()

    def handle_timer(self, now: float) -> None:
        """Does what is due."""
        if now < self.timer:
            return
        try:
            run_all((self._sweep_due, self._refresh_due, self._announce_due), now)
        finally:
            self._rearm()

    def _rearm(self) -> None:
        self.timer = min(self._refresh_at, self._sweep_at)
        if self._due and self._running < self._config.max_background_jobs:
            self.timer = min(self.timer, self._due[0][0])

    # Each sets its next time first, so that there is a next time whatever it raises.

    def _sweep_due(self, now: float) -> None:
        if now >= self._sweep_at:
            self._sweep_at = now + self._spread(self._config.sweep_interval_s)
            self._sweep(now)

    def _refresh_due(self, now: float) -> None:
        if now >= self._refresh_at:
            self._refreshed_at = now
            self._refresh_at = now + self._spread(self._config.refresh_interval_s)
            job = self._refresh(now)
            if job is not None:
                self._start(job, None, now)

    def _announce_due(self, now: float) -> None:
        while self._due and self._due[0][0] <= now and self._running < self._config.max_background_jobs:
            _, _, published = heapq.heappop(self._due)
            # Unpublished, or unpublished and published again: then it has another entry.
            kind, key = published.kind, published.key
            if self._own.get((kind, key)) is not published:
                continue
            try:
                job = self._announce(kind, key, published.value, now)
            except CallerFault:  # a better value than ours is stored here by now
                del self._own[kind, key]
            except Exception:
                self._schedule(published, now + self._spread(self._config.republish_retry_s))
                raise
            else:
                self._start(job, published, now)

    def _start(self, job: Job, published: _Published | None, now: float) -> None:
        def done(result: object, at: float) -> None:
            self._running -= 1
            self._rearm()
            if published is not None:
                put = result.outcome if isinstance(result, PutResult) else None
                stored = put is not None and put.is_reached and put.acknowledged > 0
                config = self._config
                wait_s = config.republish_interval_s if stored else config.republish_retry_s
                self._schedule(published, at + self._spread(wait_s))

        self._running += 1
        try:
            self._jobs.start(job, now, done)
        except Busy:
            done(None, now)

    def _schedule(self, published: _Published, due: float) -> None:
        self._sequence += 1
        heapq.heappush(self._due, (due, self._sequence, published))
        self._rearm()

    def _spread(self, interval_s: float) -> float:
        share = int.from_bytes(self._entropy(4), "big") / 0xFFFFFFFF
        return interval_s * (1 + JITTER * (2 * share - 1))
