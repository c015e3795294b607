"""Twin of fastmarket.native.sha256: the standard library's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def sha256_many(items: Sequence[bytes]) -> list[bytes]:
    return [sha256(item) for item in items]


def sha256_packed(data: bytes, size: int) -> bytes:
    return b"".join(sha256(data[at : at + size]) for at in range(0, len(data), size))
