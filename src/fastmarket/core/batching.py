"""Which registrations go together, and when: group commit for `Register`, slices for `RegisterMany`.

A registration by itself costs a signature, a lookup and a message to each storer; a hundred together cost
little more. One that comes alone waits for nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

from fastmarket.config import OfferConfig

T = TypeVar("T")

# Between the beginnings of two slices: signing one takes long, and others have their turn in between, where
# nothing else keeps slices apart. A node alone is done with one as soon as it is signed.
SLICE_PAUSE_S = 0.001


class RegistrationSlots:
    """A number of places for what may be under way at once."""

    __slots__ = ("_count", "in_use")

    def __init__(self, count: int) -> None:
        self._count = count
        self.in_use = 0

    @property
    def is_free(self) -> bool:
        """One more may begin."""
        return self.in_use < self._count

    def take(self, size: int) -> Slot:
        """The slot of a batch of `size` registrations."""
        self.in_use += 1
        return Slot(self, size)


class Slot:
    """A place, released once each registration of its batch was reported on, or all have ended: what is
    retried for long, at storers that refuse or hang, keeps no others waiting."""

    __slots__ = ("_slots", "_unreported")

    def __init__(self, slots: RegistrationSlots, size: int) -> None:
        self._slots: RegistrationSlots | None = slots
        self._unreported = set(range(size))

    def report(self, index: int) -> None:
        """How one registration turned out, or how it stands."""
        self._unreported.discard(index)
        if not self._unreported:
            self.release()

    def release(self) -> None:
        """The place is free; later calls are ignored."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.in_use -= 1


class RegistrationBatcher(Generic[T]):
    """Gathers registrations while others are under way, and says which to begin together.

    Many at once are followed by about as many, by callers that have waited for their answer: those are
    expected for `gather_s` seconds.
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
        """Nothing is under way or waits, and no company is expected: one may begin by itself."""
        return not self._slots.in_use and not self.waiting and self._expected <= 1

    def begin_alone(self) -> Slot:
        """One that did not have to wait is under way."""
        return self._slots.take(1)

    def add(self, registration: T) -> None:
        """It waits for its batch."""
        self.waiting.append(registration)

    def next_timer(self) -> float | None:
        """When `take` may have what it did not have before, unless a slot is released earlier."""
        return self._wait_until if self.waiting and self._slots.is_free else None

    def take(self, now: float) -> tuple[Sequence[T], Slot] | None:
        """The registrations to begin together: as many as are expected at once, else what has come by the
        end of the wait. None: not now."""
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
        # As many as expected came before their time: perhaps there are more.
        self._expected = len(taken) * 2 if early else len(taken)
        return taken, self._slots.take(len(taken))


class SliceQueue(Generic[T]):
    """Slices of large registrations: a few under way at once, of all callers together, first come first
    served. So little is signed and held at once."""

    __slots__ = ("_not_before", "_slots", "waiting")

    def __init__(self, config: OfferConfig) -> None:
        self._slots = RegistrationSlots(config.max_registering)
        self._not_before = 0.0
        self.waiting: deque[tuple[T, int]] = deque()

    def add(self, part: T, size: int) -> None:
        """A slice of `size` registrations waits for its turn."""
        self.waiting.append((part, size))

    def next_timer(self) -> float | None:
        """When `take` may have what it did not have before, unless a slot is released earlier."""
        return self._not_before if self.waiting and self._slots.is_free else None

    def pause(self, now: float) -> None:
        """A slice begins: the next one a little later."""
        self._not_before = now + SLICE_PAUSE_S

    def take(self, now: float) -> tuple[T, Slot] | None:
        """The next slice; None: not now."""
        if not self.waiting or not self._slots.is_free or now < self._not_before:
            return None
        part, size = self.waiting.popleft()
        return part, self._slots.take(size)
