"""Encoded responses to repeated requests, each cached until one of its sources changes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Protocol

from fastmarket.bounded_map import BoundedMap
from fastmarket.formats.identity import PeerId
from fastmarket.formats.kad_key import KadKey

# Approximate memory of a response, in addition to its bytes: the object, its place under each source, and,
# once it is whole, the set of peers it may name.
ANSWER_OVERHEAD_BYTES = 400
SOURCE_OVERHEAD_BYTES = 300
WHOLE_OVERHEAD_BYTES = 2500


class TableVersion(Protocol):
    """The routing table, from which the closer peers of responses come."""

    version: int
    """Changes whenever the closer peers of any target may have changed."""

    def near(self, target: KadKey) -> frozenset[KadKey]:
        """The keys of all peers that may be named as closest to `target`; each of them is omitted for itself
        only."""


class CachedResponse:
    """The lasting part of a response. Valid until `until` (unix seconds), and until one of `sources` (a
    content, a peer) changes.

    `whole` is the response with the closer peers of the table's `version`, for all requesters except those in
    `near`, which are not told of themselves. None until the second request for that version.
    """

    __slots__ = ("near", "part", "sources", "target", "until", "version", "whole")

    def __init__(self, part: bytes, target: KadKey, until: float, sources: tuple[Hashable, ...]) -> None:
        self.part = part
        self.target = target  # the 32-byte key that closer peers are wanted for
        self.until = float(until)  # compared with each request: an int would be converted each time
        self.sources = sources
        self.version = -1
        self.whole: bytes | None = None
        self.near: frozenset[KadKey] = frozenset()

    @property
    def size(self) -> int:
        """Memory in bytes, with its sources."""
        size = ANSWER_OVERHEAD_BYTES + len(self.part) + SOURCE_OVERHEAD_BYTES * len(self.sources)
        return size if self.whole is None else size + WHOLE_OVERHEAD_BYTES + len(self.whole)


Complete = Callable[[CachedResponse, PeerId | None], bytes | None]
"""`complete(response, requester)`: the response with the peers closest now; None if it is too long."""


class ResponseCaches:
    """The caches of a node whose responses have the same sources."""

    __slots__ = ("_caches",)

    def __init__(self) -> None:
        self._caches: list[ResponseCache] = []

    def add(self, cache: ResponseCache) -> None:
        """Adds a cache, which learns of changes from now on."""
        self._caches.append(cache)

    def invalidate(self, source: Hashable) -> None:
        """Drops cached responses made from `source` (a content, a peer)."""
        for cache in self._caches:
            if cache.by_source and source in cache.by_source:
                cache.invalidate(source)


class ResponseCache:
    """By the whole request; at most `most_bytes` of memory. The oldest are evicted."""

    __slots__ = ("_answers", "_complete", "_most_bytes", "_nearby", "by_source", "get")

    def __init__(self, most_bytes: int, nearby: TableVersion, complete: Complete) -> None:
        self._most_bytes = most_bytes
        self._nearby = nearby
        self._complete = complete
        self._answers: BoundedMap[bytes, CachedResponse] = BoundedMap(max_weight=most_bytes)
        self.by_source: dict[Hashable, set[bytes]] = {}
        """Requests by what their responses are made from."""
        self.get = self._answers.peek
        """The cached response to a request; the caller checks `until`."""

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def size_bytes(self) -> int:
        """Approximate memory of all."""
        return self._answers.weight

    def answer(self, request: bytes, asker: PeerId, now: float) -> bytes | None:
        """The whole response; None if it is not cached, or is too long for this requester."""
        ready = self._answers.peek(request)
        if ready is None or now >= ready.until:
            return None
        whole = ready.whole
        if whole is not None and ready.version == self._nearby.version and asker.key not in ready.near:
            return whole
        return self._completed(request, ready, asker)

    def _completed(self, request: bytes, ready: CachedResponse, asker: PeerId) -> bytes | None:
        version = self._nearby.version
        if ready.version != version:
            # Cached at the second request: the table may change more often than that.
            ready.version = version
            self._keep_whole(request, ready, None)
        elif ready.whole is None:
            self._keep_whole(request, ready, self._complete(ready, None))
        return self._complete(ready, asker)

    def _keep_whole(self, request: bytes, ready: CachedResponse, whole: bytes | None) -> None:
        ready.whole = whole
        if whole is not None and ready.size > self._most_bytes:
            ready.whole = None
        ready.near = self._nearby.near(ready.target) if ready.whole is not None else frozenset()
        self._unlink(self._answers.reweigh(request, ready.size))

    def put(self, request: bytes, answer: CachedResponse) -> None:
        """Caches a response, in place of an earlier one for the same request."""
        self._forget(request)
        for source in answer.sources:
            self.by_source.setdefault(source, set()).add(request)
        self._unlink(self._answers.put(request, answer, answer.size))

    def invalidate(self, source: Hashable) -> None:
        """Drops the responses made from `source`."""
        for request in tuple(self.by_source.get(source, ())):
            self._forget(request)

    def _forget(self, request: bytes) -> None:
        answer = self._answers.pop(request)
        if answer is not None:
            self._unlink(((request, answer),))

    def _unlink(self, removed: Iterable[tuple[bytes, CachedResponse]]) -> None:
        for request, answer in removed:
            for source in answer.sources:
                requests = self.by_source.get(source)
                if requests is not None:  # a source may occur twice
                    requests.discard(request)
                    if not requests:
                        del self.by_source[source]
