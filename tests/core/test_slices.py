"""Slices of large registrations: in order, small while other work waits, large again afterwards."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

from fastmarket.config import OfferConfig
from fastmarket.core.batching import LATE_S, LEAST_SLICE_SHARE, SLICE_PAUSE_S, SliceQueue

START = 1000.0
LARGEST = 64
CONFIG = replace(OfferConfig(), register_slice=LARGEST, max_registering=1)


class Numbers:
    """Registrations, by number."""

    def __init__(self, numbers: range) -> None:
        self.left = numbers

    def __len__(self) -> int:
        return len(self.left)

    def cut(self, size: int) -> Self:
        taken = type(self)(self.left[:size])
        self.left = self.left[size:]
        return taken


def sizes_of(queue: SliceQueue[Numbers], late_s: float, count: int) -> list[int]:
    """The sizes of the next slices, of which each starts so late."""
    now, sizes = START, []
    for _ in range(count):
        assert queue.take(now) is None
        now = (queue.next_timer() or now) + late_s
        taken = queue.take(now)
        assert taken is not None
        part, slot = taken
        queue.pause(now)
        slot.release()
        sizes.append(len(part))
    return sizes


def begun() -> SliceQueue[Numbers]:
    """With plenty to do, and a slice begun at the start."""
    queue = SliceQueue[Numbers](CONFIG)
    queue.add(Numbers(range(100 * LARGEST)))
    taken = queue.take(START)
    assert taken is not None
    assert len(taken[0]) == LARGEST
    taken[1].release()
    queue.pause(START)
    return queue


def test_slices_that_start_late_are_followed_by_smaller_ones_and_grow_again() -> None:
    queue, least = begun(), int(LARGEST * LEAST_SLICE_SHARE)
    assert sizes_of(queue, 0.0, 3) == [LARGEST] * 3
    assert sizes_of(queue, 2 * LATE_S, 5) == [32, least, least, least, least]
    grown = sizes_of(queue, LATE_S / 2, 6)
    assert grown == sorted(set(grown))
    assert grown[-1] == LARGEST


def test_a_slice_that_waited_for_a_slot_is_not_late() -> None:
    queue = SliceQueue[Numbers](CONFIG)
    queue.add(Numbers(range(10 * LARGEST)))
    now = START
    for _ in range(4):
        taken = queue.take(now)
        assert taken is not None
        assert len(taken[0]) == LARGEST
        queue.pause(now)
        assert queue.take(now) is None
        assert queue.next_timer() is None
        now += SLICE_PAUSE_S + 100 * LATE_S
        taken[1].release()


def test_all_are_taken_once_in_order_and_nothing_is_no_slice() -> None:
    queue = SliceQueue[Numbers](CONFIG)
    queue.add(Numbers(range(0)))
    assert queue.take(START) is None
    queue.add(Numbers(range(100)))
    queue.add(Numbers(range(100, 110)))
    got: list[int] = []
    now = START
    while (taken := queue.take(now)) is not None:
        got += taken[0].left
        taken[1].release()
        now += 1.0
    assert got == list(range(110))
    assert not queue.waiting
