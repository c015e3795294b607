"""Encoded answers, given again as they are while what they were made of holds."""

from __future__ import annotations

from collections.abc import Callable

from fastmarket.bounded_map import BoundedMap
from fastmarket.offers.lookup.local_answers import LocalAnswer

ENTRY_BYTES = 256  # what keeping one takes beside its bytes


class AnswerCache:
    """By the bytes of the request. At most `max_bytes` of requests and answers; the oldest ones go."""

    __slots__ = ("_kept", "_max_bytes", "_now")

    def __init__(self, now: Callable[[], float], max_bytes: int) -> None:
        """`now`: unix seconds."""
        self._now = now
        self._max_bytes = max_bytes
        self._kept: BoundedMap[bytes, tuple[LocalAnswer, bytes]] = BoundedMap(max_weight=max_bytes)

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, request: bytes) -> bytes | None:
        """None: there is none, or none that still holds."""
        kept = self._kept.peek(request)
        if kept is None:
            return None
        known, answer = kept
        if known.is_current(self._now()):
            return answer
        self._kept.pop(request)
        return None

    def put(self, request: bytes, known: LocalAnswer, answer: bytes) -> None:
        """The answer to `request`, made of what is `known`; a very long one is not kept."""
        size = len(request) + len(answer) + ENTRY_BYTES
        if size <= self._max_bytes // 8:
            self._kept.put(request, (known, answer), size)
