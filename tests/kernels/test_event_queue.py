"""fastmarket.native.event_queue: against its twin, with events that make events."""

from __future__ import annotations

from random import Random

import pytest

from fastmarket.native.event_queue import EventQueue
from tests.reference.event_queue import EventQueue as Twin

START = 1000.0


def story(queue: EventQueue | Twin, seed: int) -> list[tuple[float, int]]:
    """What happens when, of events that make others at random, some at the same moment, some in the past."""
    random, told = Random(seed), list[tuple[float, int]]()
    made = 0

    def happen(number: int, *more: object) -> None:
        nonlocal made
        told.append((queue.now, number))
        for _ in range(random.choice((0, 0, 1, 3))):
            if made < 3000:
                made += 1
                delay = random.choice((0.0, 1.0, 1.0, random.random() * 9, -5.0))
                if random.random() < 0.5:
                    queue.after(delay, happen, made)
                else:
                    queue.at(queue.now + delay, happen, made, "more", 2)

    for _ in range(50):
        made += 1
        queue.at(START + random.random() * 20, happen, made)
    queue.rest(3.0)
    told.append((queue.now, -1))
    assert queue.run(lambda: len(told) > 40, 1e6)
    queue.rest(1e6)
    told.append((queue.now, queue.events))
    return told


@pytest.mark.parametrize("seed", range(20))
def test_it_does_what_its_twin_does(seed: int) -> None:
    assert story(EventQueue(START), seed) == story(Twin(START), seed)


def test_run_ends_where_nothing_comes_in_time() -> None:
    queue, heard = EventQueue(START), list[int]()
    queue.at(START + 5, heard.append, 1)
    assert not queue.run(lambda: bool(heard), 4.0)
    assert queue.run(lambda: bool(heard), 5.0)
    assert queue.now == START + 5


def test_what_was_to_happen_is_forgotten() -> None:
    queue, heard = EventQueue(START), list[int]()
    for number in range(2000):
        queue.after(number, heard.append, number)
    assert len(queue) == 2000
    queue.clear()
    assert len(queue) == 0
    queue.after(1, heard.append, -1)
    queue.rest(10)
    assert heard == [-1]


def test_an_error_ends_the_run_and_the_queue_is_whole() -> None:
    queue, heard = EventQueue(START), list[int]()
    queue.after(1, int, "no number")
    queue.after(2, heard.append, 2)
    with pytest.raises(ValueError, match="no number"):
        queue.rest(5)
    queue.rest(5)
    assert heard == [2]
