"""Encoded answers, given again as they are while what they were made of holds."""

from __future__ import annotations

from collections.abc import Callable

from fastmarket.offers.lookup.local_answers import LocalAnswer

ENTRY_BYTES = 256  # what keeping one takes beside its bytes


class AnswerCache:
    """By the bytes of the request. At most `max_bytes` of requests and answers; the oldest ones go."""

    __slots__ = ("_bytes", "_kept", "_max_bytes", "_now")

    def __init__(self, now: Callable[[], float], max_bytes: int) -> None:
        """`now`: unix seconds."""
        self._now = now
        self._max_bytes = max_bytes
        self._kept: dict[bytes, tuple[LocalAnswer, bytes]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, request: bytes) -> bytes | None:
        """None: there is none, or none that still holds."""
        kept = self._kept.get(request)
        if kept is None:
            return None
        known, answer = kept
        if known.holds(self._now()):
            return answer
        self._drop(request)
        return None

    def put(self, request: bytes, known: LocalAnswer, answer: bytes) -> None:
        """The answer to `request`, made of what is `known`; a very long one is not kept."""
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
