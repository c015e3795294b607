"""When held offers expire."""

from __future__ import annotations

from heapq import heappop, heappush

from fastmarket.offers.model.offer import OfferKey


class ExpirySchedule:
    """Offers by the step of time in which they expire, and a heap of those steps.

    One heap entry for each version could be made to grow by replacing an offer again and again; this cannot.
    Offers of a batch that was put in as a whole are not listed here: the batch is (`HeldBatches`).
    """

    __slots__ = ("_held_until", "_keys", "_step_s", "steps")

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._keys: dict[int, set[OfferKey]] = {}
        self.steps: list[int] = []
        """A heap; empty: nothing expires."""
        # Of an offer that was shortened, the end of what it replaced, which must not come back from a stale
        # copy. Others are held until their own end.
        self._held_until: dict[OfferKey, int] = {}

    def step_of(self, when: float) -> int:
        """The step that holds a time (unix seconds)."""
        return int(when // self._step_s)

    def open(self, step: int) -> set[OfferKey]:
        """The keys of a step, which comes up from now on."""
        keys = self._keys.get(step)
        if keys is None:
            keys = self._keys[step] = set()
            heappush(self.steps, step)
        return keys

    def add(self, key: OfferKey, not_after: int, held_until: int) -> None:
        """An offer that expires at `not_after` is held until then, or longer."""
        if held_until != not_after:
            self._held_until[key] = held_until
        self.open(int(held_until // self._step_s)).add(key)

    def discard(self, key: OfferKey, not_after: int) -> None:
        """The offer is held no longer."""
        keys = self._keys.get(int(self._held_until.pop(key, not_after) // self._step_s))
        if keys is not None:
            keys.discard(key)

    def held_until(self, key: OfferKey, not_after: int) -> int:
        """How long an offer that expires at `not_after` is held."""
        return self._held_until.get(key, not_after)

    def is_extended(self, key: OfferKey) -> bool:
        """Whether an offer is held beyond its own end."""
        return key in self._held_until

    def next_timer(self) -> float | None:
        """When the first step expires."""
        return (self.steps[0] + 1) * self._step_s if self.steps else None

    def take_due(self, now: float) -> tuple[int, set[OfferKey]] | None:
        """An expired step, with its keys; None if no step has expired."""
        due = self.next_timer()
        if due is None or due > now:
            return None
        step = heappop(self.steps)
        return step, self._keys.pop(step)
