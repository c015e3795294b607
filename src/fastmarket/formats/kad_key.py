"""A key of the DHT as it travels, and its place in the key space: both are bytes, and not the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NewType, cast

from fastmarket.native.sha256 import sha256

# What a message carries: a peer id, a multihash, /namespace/...; of any length.
RawKey = NewType("RawKey", bytes)
# Its SHA-256, 32 bytes: a place in the 256-bit key space, between which distances are measured by XOR.
KadKey = NewType("KadKey", bytes)


# The kernel itself: each request asks for a place.
kad_key: Final = cast("Callable[[bytes], KadKey]", sha256)
"""The place of a raw key."""
