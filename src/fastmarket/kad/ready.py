"""Answers that are asked for again and again, ready-encoded, each until something it was made of changes."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

# What an answer takes in memory beside its bytes, roughly: itself, and its place under each of its sources.
ANSWER_OVERHEAD_BYTES = 400
SOURCE_OVERHEAD_BYTES = 300


@dataclass(frozen=True, slots=True)
class ReadyAnswer:
    """The lasting part of an answer; the closer peers that complete it are looked up each time.

    It holds before `until` (unix seconds), and until one of `sources` (a content, a peer) changes.
    """

    part: bytes
    target: bytes  # the 32-byte key that closer peers are wanted to
    until: float
    sources: tuple[Hashable, ...]

    @property
    def size(self) -> int:
        """In bytes, what it is made of included."""
        return ANSWER_OVERHEAD_BYTES + len(self.part) + SOURCE_OVERHEAD_BYTES * len(self.sources)


class ReadyAnswers:
    """By the whole request; at most `most_bytes` of memory. The oldest give way; those wanted come back."""

    __slots__ = ("_answers", "_by_source", "_bytes", "_most_bytes", "get")

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._answers: dict[bytes, ReadyAnswer] = {}
        self._by_source: dict[Hashable, set[bytes]] = {}
        self._bytes = 0
        self.get = self._answers.get
        """The answer to a request; the caller looks at `until`."""

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def size_bytes(self) -> int:
        """Memory of all, roughly."""
        return self._bytes

    def put(self, request: bytes, answer: ReadyAnswer) -> None:
        """Keep it, in place of an older answer to the same."""
        self._forget(request)
        size = answer.size
        if size > self._most_bytes:
            return
        while self._bytes + size > self._most_bytes:
            self._forget(next(iter(self._answers)))
        self._answers[request] = answer
        self._bytes += size
        for source in answer.sources:
            self._by_source.setdefault(source, set()).add(request)

    def changed(self, source: Hashable) -> None:
        """Answers made of it hold no longer."""
        requests = self._by_source.get(source)
        if requests is not None:
            for request in tuple(requests):
                self._forget(request)

    def _forget(self, request: bytes) -> None:
        answer = self._answers.pop(request, None)
        if answer is None:
            return
        self._bytes -= answer.size
        for source in answer.sources:
            requests = self._by_source.get(source)
            if requests is not None:  # a source may be named twice
                requests.discard(request)
                if not requests:
                    del self._by_source[source]
