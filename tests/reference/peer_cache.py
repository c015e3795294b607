"""Twin of fastmarket.native.peer_cache: the entries sliced out and read one by one, nothing remembered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class PeerInfoCache(Generic[_T]):
    def __init__(self, longest: int, parse: Callable[[bytes], _T | None]) -> None:
        self.longest = longest
        self.get = parse

    def read_all(self, body: bytes, head: bytes, tag: int, limit: int, strict: bool) -> tuple[_T, ...] | None:
        if not body.startswith(head):
            return None
        at, raws = len(head), []
        while at < len(body):
            if body[at] != tag or at + 1 == len(body):
                return None
            size = body[at + 1]
            at += 2
            if size > 0x7F:
                if at == len(body) or not 0 < body[at] < 0x80:
                    return None
                size = (size & 0x7F) | body[at] << 7
                at += 1
            if size > self.longest or at + size > len(body):
                return None
            raws.append(body[at : at + size])
            at += size
        read = [self.get(raw) for raw in raws[:limit]]
        return None if strict and None in read else tuple(one for one in read if one is not None)
