"""Answers kept ready: bounded, and gone with what they were made of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastmarket.kad.ready import ReadyAnswer, ReadyAnswers

TARGET = bytes(32)


def answer(size: int, *sources: str) -> ReadyAnswer:
    return ReadyAnswer(bytes(size), TARGET, 1.0, sources)


def test_a_change_takes_every_answer_made_of_it_and_no_other() -> None:
    ready = ReadyAnswers(100_000)
    ready.put(b"one", answer(10, "a", "b"))
    ready.put(b"two", answer(10, "b", "c", "c"))
    ready.put(b"three", answer(10, "c"))
    ready.changed("a")
    assert [ready.get(request) is None for request in (b"one", b"two", b"three")] == [True, False, False]
    ready.changed("c")
    ready.changed("never heard of")
    assert (len(ready), ready.size_bytes, ready._by_source) == (0, 0, {})


def test_the_oldest_gives_way_and_one_that_is_too_large_is_not_kept() -> None:
    ready = ReadyAnswers(2 * answer(100, "a").size)
    for number in range(3):
        ready.put(b"%d" % number, answer(100, "a"))
    assert [ready.get(b"%d" % number) is None for number in range(3)] == [True, False, False]
    ready.put(b"huge", answer(10_000, "a"))
    assert ready.get(b"huge") is None
    assert len(ready) == 2


REQUESTS = st.sampled_from([b"1", b"2", b"3", b"4"])
SOURCES = st.sampled_from("abc")
PUTS = st.tuples(REQUESTS, st.integers(0, 2000), st.lists(SOURCES, min_size=1, max_size=3))


@given(st.lists(PUTS | SOURCES, max_size=40))
def test_whatever_happens_the_books_agree(steps: list[object]) -> None:
    ready = ReadyAnswers(5000)
    held: dict[bytes, ReadyAnswer] = {}
    for step in steps:
        if isinstance(step, str):
            ready.changed(step)
            held = {request: kept for request, kept in held.items() if step not in kept.sources}
        else:
            request, size, sources = step  # type: ignore[misc]
            held.pop(request, None)
            kept = held[request] = answer(size, *sources)
            ready.put(request, kept)
            while sum(other.size for other in held.values()) > 5000:
                del held[next(iter(held))]
        assert {request: ready.get(request) for request in (b"1", b"2", b"3", b"4")} == {
            request: held.get(request) for request in (b"1", b"2", b"3", b"4")
        }
        assert ready.size_bytes == sum(kept.size for kept in held.values()) <= 5000
        named = {source: {r for r, kept in held.items() if source in kept.sources} for source in "abc"}
        assert ready._by_source == {source: requests for source, requests in named.items() if requests}
