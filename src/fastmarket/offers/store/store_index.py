"""Stored contents by the prefix of their keys."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

from fastmarket.native.sha256 import sha256, sha256_many

# Of 400,000 contents some 100 share a prefix, and in a network of 100,000 nodes the k closest share one.
PREFIX_BITS = 12


_HEAD = Struct(">H30x")  # the first 16 bits of a key
_SPARE_BITS = 16 - PREFIX_BITS

# Contents that wait to be filed. Hashing them by the thousand is faster; more would delay `with_prefix`.
_MAX_UNFILED = 4096


class StoreIndex:
    """Contents by the first bits of the SHA-256 of their multihash."""

    __slots__ = ("_contents", "_unfiled")

    def __init__(self) -> None:
        self._contents: dict[int, set[bytes]] = {}
        self._unfiled: set[bytes] = set()

    def add(self, content: bytes) -> None:
        """Adds a content."""
        self._unfiled.add(content)
        if len(self._unfiled) >= _MAX_UNFILED:
            self._file()

    def add_many(self, contents: Iterable[bytes]) -> None:
        """Adds contents."""
        self._unfiled.update(contents)
        if len(self._unfiled) >= _MAX_UNFILED:
            self._file()

    def discard(self, content: bytes) -> None:
        """Removes a content."""
        if content in self._unfiled:
            self._unfiled.discard(content)
            return
        prefix = _prefix(sha256(content))
        held = self._contents.get(prefix)
        if held is not None:
            held.discard(content)
            if not held:
                del self._contents[prefix]

    def with_prefix(self, prefix: int) -> list[bytes]:
        """Contents whose keys begin with these `PREFIX_BITS` bits, in order."""
        if self._unfiled:
            self._file()
        held = self._contents.get(prefix)
        return sorted(held) if held else []

    def prefixes(self, among: range) -> list[int]:
        """Those of some prefixes that have contents, in order."""
        if self._unfiled:
            self._file()
        if len(among) < len(self._contents):
            return [prefix for prefix in among if prefix in self._contents]
        return sorted(prefix for prefix in self._contents if prefix in among)

    def _file(self) -> None:
        unfiled, contents = list(self._unfiled), self._contents
        self._unfiled.clear()
        heads = _HEAD.iter_unpack(b"".join(sha256_many(unfiled)))
        for content, (head,) in zip(unfiled, heads, strict=True):
            prefix = head >> _SPARE_BITS
            held = contents.get(prefix)
            if held is None:
                contents[prefix] = {content}
            else:
                held.add(content)


def _prefix(key: bytes) -> int:
    return int(_HEAD.unpack(key)[0]) >> _SPARE_BITS
