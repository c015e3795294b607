"""Answers kept ready: bounded, and gone with what they were made of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastmarket.formats.identity import PeerId
from fastmarket.kad.wire.response_cache import WHOLE_OVERHEAD_BYTES, CachedResponse, ResponseCache

TARGET = bytes(32)
NEAR, FAR = (PeerId(b"\x12\x20" + bytes([number]) * 32) for number in range(2))


class Table:
    """Of which only one peer is known, as one more byte of an answer."""

    def __init__(self) -> None:
        self.version = 0
        self.looked_up = 0

    def near(self, target: bytes) -> frozenset[bytes]:
        assert target == TARGET
        return frozenset([NEAR.key])

    def complete(self, answer: CachedResponse, asker: PeerId | None) -> bytes | None:
        self.looked_up += 1
        whole = answer.part + bytes([self.version] if asker != NEAR else [])
        return whole if len(whole) < 5000 else None


def kept(most_bytes: int) -> ResponseCache:
    table = Table()
    return ResponseCache(most_bytes, table, table.complete)


def answer(size: int, *sources: str) -> CachedResponse:
    return CachedResponse(bytes(size), TARGET, 1.0, sources)


def test_a_change_takes_every_answer_made_of_it_and_no_other() -> None:
    ready = kept(100_000)
    ready.put(b"one", answer(10, "a", "b"))
    ready.put(b"two", answer(10, "b", "c", "c"))
    ready.put(b"three", answer(10, "c"))
    ready.invalidate("a")
    assert [ready.get(request) is None for request in (b"one", b"two", b"three")] == [True, False, False]
    ready.invalidate("c")
    ready.invalidate("never heard of")
    assert (len(ready), ready.size_bytes, ready.by_source) == (0, 0, {})


def test_the_oldest_gives_way_and_one_that_is_too_large_is_not_kept() -> None:
    ready = kept(2 * answer(100, "a").size)
    for number in range(3):
        ready.put(b"%d" % number, answer(100, "a"))
    assert [ready.get(b"%d" % number) is None for number in range(3)] == [True, False, False]
    ready.put(b"huge", answer(10_000, "a"))
    assert ready.get(b"huge") is None
    assert len(ready) == 2


def test_an_answer_that_is_asked_for_again_is_kept_whole() -> None:
    table = Table()
    ready = ResponseCache(100_000, table, table.complete)
    ready.put(b"one", answer(10, "a"))
    for version in range(1, 4):
        table.version, table.looked_up = version, 0
        assert [ready.answer(b"one", FAR, 0.5) for _ in range(9)] == [bytes(10) + bytes([version])] * 9
        assert table.looked_up == 3  # for the first; for the second, and to keep it
        assert ready.answer(b"one", NEAR, 0.5) == bytes(10)  # is not told of itself
        assert table.looked_up == 4
        assert ready.size_bytes == answer(10, "a").size + WHOLE_OVERHEAD_BYTES + 11
    assert ready.answer(b"one", FAR, 1.0) is None  # its time is over
    assert ready.answer(b"two", FAR, 0.5) is None
    ready.invalidate("a")
    assert ready.answer(b"one", FAR, 0.5) is None
    assert (len(ready), ready.size_bytes) == (0, 0)


def test_where_there_is_no_room_for_it_whole_it_is_completed_each_time() -> None:
    ready = kept(answer(10, "a").size + 1000)
    ready.put(b"one", answer(10, "a"))
    assert [ready.answer(b"one", FAR, 0.5) for _ in range(4)] == [bytes(11)] * 4
    assert ready.size_bytes == answer(10, "a").size
    ready = kept(100_000)
    ready.put(b"too long", answer(5000, "a"))
    assert [ready.answer(b"too long", FAR, 0.5) for _ in range(4)] == [None] * 4


def test_an_answer_kept_whole_may_cost_the_oldest_their_place() -> None:
    size = answer(10, "a").size
    ready = kept(3 * size + WHOLE_OVERHEAD_BYTES)
    for name in (b"one", b"two", b"three"):
        ready.put(name, answer(10, "a"))
    for _ in range(2):
        assert ready.answer(b"three", FAR, 0.5) == bytes(11)
    assert [ready.get(name) is None for name in (b"one", b"two", b"three")] == [True, False, False]
    assert ready.size_bytes == 2 * size + WHOLE_OVERHEAD_BYTES + 11


REQUESTS = st.sampled_from([b"1", b"2", b"3", b"4"])
SOURCES = st.sampled_from("abc")
PUTS = st.tuples(REQUESTS, st.integers(0, 2000), st.lists(SOURCES, min_size=1, max_size=3))


@given(st.lists(PUTS | SOURCES, max_size=40))
def test_whatever_happens_the_books_agree(steps: list[object]) -> None:
    ready = kept(5000)
    held: dict[bytes, CachedResponse] = {}
    for step in steps:
        if isinstance(step, str):
            ready.invalidate(step)
            held = {request: one for request, one in held.items() if step not in one.sources}
        else:
            request, size, sources = step  # type: ignore[misc]
            held.pop(request, None)
            one = held[request] = answer(size, *sources)
            ready.put(request, one)
            while sum(other.size for other in held.values()) > 5000:
                del held[next(iter(held))]
        assert {request: ready.get(request) for request in (b"1", b"2", b"3", b"4")} == {
            request: held.get(request) for request in (b"1", b"2", b"3", b"4")
        }
        assert ready.size_bytes == sum(one.size for one in held.values()) <= 5000
        named = {source: {r for r, one in held.items() if source in one.sources} for source in "abc"}
        assert ready.by_source == {source: requests for source, requests in named.items() if requests}
