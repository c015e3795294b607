"""Batching of registrations: group commit for `Register`, slices for `RegisterMany`.

A single registration costs a signature, a lookup and a message to each storer; a hundred together cost little
more. A registration that comes alone does not wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

from fastmarket.config import OfferConfig

T = TypeVar("T")

# Seconds between the starts of two slices. Signing a slice takes long, and other work gets its turn in
# between even on a lone node, where a slice is finished as soon as it is signed.
SLICE_PAUSE_S = 0.002


class RegistrationSlots:
    """A limited number of slots for batches in progress."""

    __slots__ = ("_count", "in_use")

    def __init__(self, count: int) -> None:
        self._count = count
        self.in_use = 0

    @property
    def is_free(self) -> bool:
        """Whether another batch may start."""
        return self.in_use < self._count

    def take(self, size: int) -> Slot:
        """Takes a slot for a batch of `size` registrations."""
        self.in_use += 1
        return Slot(self, size)


class Slot:
    """A slot, released once every registration of its batch has been reported, or all have ended. So retries
    at storers that refuse or hang keep no other batch waiting."""

    __slots__ = ("_slots", "_unreported")

    def __init__(self, slots: RegistrationSlots, size: int) -> None:
        self._slots: RegistrationSlots | None = slots
        self._unreported = set(range(size))

    def report(self, index: int) -> None:
        """Notes the outcome, preliminary or final, of one registration."""
        self._unreported.discard(index)
        if not self._unreported:
            self.release()

    def release(self) -> None:
        """Frees the slot; later calls are ignored."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.in_use -= 1


class RegistrationBatcher(Generic[T]):
    """Collects registrations while others are in progress, and decides which to start together.

    Many at once are usually followed by about as many, from callers that waited for their answers; these are
    awaited for `gather_s` seconds.
    """

    __slots__ = ("_expected", "_max_together", "_slots", "_wait_s", "_wait_until", "waiting")

    def __init__(self, config: OfferConfig) -> None:
        self._slots = RegistrationSlots(config.max_gathering)
        self._max_together = config.register_slice
        self._wait_s = config.gather_s
        self.waiting: list[T] = []
        self._expected = 1
        self._wait_until: float | None = None

    def __len__(self) -> int:
        return len(self.waiting)

    @property
    def is_idle(self) -> bool:
        """Whether a registration may start alone: none is in progress or waiting, and no more are
        expected."""
        return not self._slots.in_use and not self.waiting and self._expected <= 1

    def begin_alone(self) -> Slot:
        """Takes a slot for a registration that starts alone."""
        return self._slots.take(1)

    def add(self, registration: T) -> None:
        """Adds a registration to the next batch."""
        self.waiting.append(registration)

    def next_timer(self) -> float | None:
        """When `take` may have a batch, unless a slot is released earlier."""
        return self._wait_until if self.waiting and self._slots.is_free else None

    def take(self, now: float) -> tuple[Sequence[T], Slot] | None:
        """The registrations to start together: the expected number as soon as they have arrived, otherwise
        those that arrived by the end of the wait. None: not now."""
        waiting = self.waiting
        if not waiting or not self._slots.is_free:
            return None
        early = not self._slots.in_use and len(waiting) >= self._expected
        if not early:
            if self._wait_until is None:
                self._wait_until = now + self._wait_s
            if now < self._wait_until:
                return None
        self._wait_until = None
        taken = waiting[: self._max_together]
        del waiting[: self._max_together]
        # The expected number arrived early: perhaps there are more.
        self._expected = len(taken) * 2 if early else len(taken)
        return taken, self._slots.take(len(taken))


class SliceQueue(Generic[T]):
    """Slices of large registrations of all callers, first come, first served; only a few are in progress at
    once, so that little is signed and held."""

    __slots__ = ("_not_before", "_slots", "waiting")

    def __init__(self, config: OfferConfig) -> None:
        self._slots = RegistrationSlots(config.max_registering)
        self._not_before = 0.0
        self.waiting: deque[tuple[T, int]] = deque()

    def add(self, part: T, size: int) -> None:
        """Queues a slice of `size` registrations."""
        self.waiting.append((part, size))

    def next_timer(self) -> float | None:
        """When `take` may have a slice, unless a slot is released earlier."""
        return self._not_before if self.waiting and self._slots.is_free else None

    def pause(self, now: float) -> None:
        """Delays the next slice a little, at the start of one."""
        self._not_before = now + SLICE_PAUSE_S

    def take(self, now: float) -> tuple[T, Slot] | None:
        """The next slice; None: not now."""
        if not self.waiting or not self._slots.is_free or now < self._not_before:
            return None
        part, size = self.waiting.popleft()
        return part, self._slots.take(size)
