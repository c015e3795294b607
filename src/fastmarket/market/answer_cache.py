"""A cache of encoded answers, served as long as what they were made from is valid."""

from __future__ import annotations

from collections.abc import Callable

from fastmarket.offers.lookup.local_answers import LocalAnswer

ENTRY_BYTES = 256  # memory overhead of an entry


class AnswerCache:
    """Answers by request bytes. At most `max_bytes` of requests and answers; the oldest are evicted."""

    __slots__ = ("_bytes", "_kept", "_max_bytes", "_now")

    def __init__(self, now: Callable[[], float], max_bytes: int) -> None:
        """`now` returns Unix seconds."""
        self._now = now
        self._max_bytes = max_bytes
        self._kept: dict[bytes, tuple[LocalAnswer, bytes]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, request: bytes) -> bytes | None:
        """The cached answer, or None if there is none that is still valid."""
        kept = self._kept.get(request)
        if kept is None:
            return None
        known, answer = kept
        if known.holds(self._now()):
            return answer
        self._drop(request)
        return None

    def put(self, request: bytes, known: LocalAnswer, answer: bytes) -> None:
        """Caches the answer to `request`, made from `known`; a very long one is not cached."""
        size = _size(request, answer)
        if size > self._max_bytes // 8:
            return
        if request in self._kept:
            self._drop(request)
        self._kept[request] = (known, answer)
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, request: bytes) -> None:
        _, answer = self._kept.pop(request)
        self._bytes -= _size(request, answer)


def _size(request: bytes, answer: bytes) -> int:
    return len(request) + len(answer) + ENTRY_BYTES
