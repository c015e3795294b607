"""Batching of registrations: group commit for `Register`, slices for `RegisterMany`.

A single registration costs a signature, a lookup and a message to each storer; a hundred together cost little
more. A registration that comes alone does not wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Generic, Protocol, Self, TypeVar

from fastmarket.config import OfferConfig

T = TypeVar("T")
P = TypeVar("P", bound="Divisible")

# Seconds between the starts of two slices. Signing a slice takes long, and other work gets its turn in
# between even on a lone node, where a slice is finished as soon as it is signed.
SLICE_PAUSE_S = 0.002
# A slice that starts so much later than it might has waited for other work: the next is half as large, down
# to this share; else it grows by an eighth of the largest (AIMD).
LATE_S = 0.002
LEAST_SLICE_SHARE = 1 / 4


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


class Divisible(Protocol):
    """Registrations of one caller."""

    def __len__(self) -> int:
        """How many."""

    def cut(self, size: int) -> Self:
        """Removes up to that many from the front, and returns them."""


class SliceQueue(Generic[P]):
    """Large registrations of all callers, first come, first served, slice by slice; only a few slices are in
    progress at once, so that little is signed and held. They are small while other work waits for them: what
    is signed in one piece costs a tenth less in large ones.
    """

    __slots__ = ("_is_held_back", "_largest", "_not_before", "_size", "_slots", "waiting")

    def __init__(self, config: OfferConfig) -> None:
        self._slots = RegistrationSlots(config.max_registering)
        self._size = self._largest = config.register_slice
        self._not_before = 0.0
        self._is_held_back = False  # a slice waits for the pause to end, and for nothing else
        self.waiting: deque[P] = deque()

    def add(self, registrations: P) -> None:
        """Queues them."""
        if len(registrations):
            self.waiting.append(registrations)

    def next_timer(self) -> float | None:
        """When `take` may have a slice, unless a slot is released earlier."""
        return self._not_before if self.waiting and self._slots.is_free else None

    def pause(self, now: float) -> None:
        """Delays the next slice a little, at the start of one."""
        self._not_before = now + SLICE_PAUSE_S

    def take(self, now: float) -> tuple[P, Slot] | None:
        """The next slice; None: not now."""
        if not self.waiting or not self._slots.is_free:
            return None
        if now < self._not_before:
            self._is_held_back = True
            return None
        if self._is_held_back:
            self._is_held_back = False
            self._adapt(now - self._not_before)
        part = self.waiting[0].cut(self._size)
        if not len(self.waiting[0]):
            self.waiting.popleft()
        return part, self._slots.take(len(part))

    def _adapt(self, late_s: float) -> None:
        largest = self._largest
        if late_s > LATE_S:
            self._size = max(self._size // 2, int(largest * LEAST_SLICE_SHARE), 1)
        else:
            self._size = min(self._size + max(largest // 8, 1), largest)
