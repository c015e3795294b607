"""The plain twin of fastmarket.native.block_filter: a Bloom filter in lines of 512 bits."""

from __future__ import annotations

from collections.abc import Iterator

BITS_A_DIGEST = 10
LINE_BITS = 512
PROBES = 6


class BlockFilter:
    """A set of SHA-256 digests that may seem to have more than it has."""

    def __init__(self, capacity: int) -> None:
        self.lines = -(-capacity * BITS_A_DIGEST // LINE_BITS)
        self.capacity = capacity
        self._bits = bytearray(self.lines * LINE_BITS // 8)

    @property
    def size(self) -> int:
        return len(self._bits)

    def add(self, digests: bytes) -> None:
        for at in range(0, len(digests), 32):
            for bit in self._places(digests[at : at + 32]):
                self._bits[bit // 8] |= 1 << bit % 8

    def may_have(self, multihash: bytes) -> bool:
        if len(multihash) != 34 or not multihash.startswith(b"\x12\x20"):
            return False
        return all(self._bits[bit // 8] >> bit % 8 & 1 for bit in self._places(multihash[2:]))

    def _places(self, digest: bytes) -> Iterator[int]:
        first, second = (int.from_bytes(digest[at : at + 8], "little") for at in (0, 8))
        line = (first >> 32) * self.lines >> 32
        for probe in range(PROBES):
            yield line * LINE_BITS + (second >> 9 * probe) % LINE_BITS
