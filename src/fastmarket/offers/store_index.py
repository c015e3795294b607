"""Stored contents by where their keys lie."""

from __future__ import annotations

from fastmarket._sha256 import sha256

# Of a key: with 400,000 contents some 100 share a prefix, and a network of 100,000 nodes has its k closest in
# fewer of them than one.
PREFIX_BITS = 12
_PREFIX_BYTES = 2


class StoreIndex:
    """Contents by the first bits of the SHA-256 of their multihash."""

    __slots__ = ("_contents",)

    def __init__(self) -> None:
        self._contents: dict[int, set[bytes]] = {}

    def add(self, content: bytes) -> None:
        """It is held from now on."""
        self._contents.setdefault(_prefix(content), set()).add(content)

    def discard(self, content: bytes) -> None:
        """It is held no longer."""
        prefix = _prefix(content)
        held = self._contents.get(prefix)
        if held is not None:
            held.discard(content)
            if not held:
                del self._contents[prefix]

    def under(self, prefix: int) -> list[bytes]:
        """Those whose keys begin with these `PREFIX_BITS` bits, in order."""
        return sorted(self._contents.get(prefix, ()))


def _prefix(content: bytes) -> int:
    return int.from_bytes(sha256(content)[:_PREFIX_BYTES], "big") >> (8 * _PREFIX_BYTES - PREFIX_BITS)
