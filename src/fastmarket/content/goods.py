"""What is sold: orders, as callers give them, and the goods that come of them, one for each content."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache

from fastmarket.formats.cid import Cid
from fastmarket.formats.unixfs.profile import CidProfile


class GoodState(IntEnum):
    """Numbers as in proto/fastmarket/v1/market.proto."""

    IMPORTING = 1  # its bytes are being read, for the first time or because its times changed; not served
    SELLING = 2  # served
    CHANGED = 3  # a file is not the one that was imported: its offer is withdrawn, it is not served
    GONE = 4  # a file is gone; likewise


@dataclass(frozen=True, slots=True)
class SellOrder:
    """What a caller wants sold. `path`: real and absolute, of a file or a directory (`content.allowed`).

    A second order for the same path and profile takes the place of the first.
    """

    path: str
    price_per_mb: int
    user_id: bytes
    user_name: str
    profile: CidProfile
    each_file: bool = False  # each file below a directory is a good of its own, instead of the directory
    watched: bool = False  # changes below the path are followed for as long as it is sold


@dataclass(frozen=True, slots=True)
class Good:
    """One content that is sold, or was."""

    id: int  # of this node's catalogue: no other good ever has it
    cid: Cid | None  # None: not known yet
    name: str  # the last part of the path, for people
    path: str  # absolute, of the file or directory
    size: int  # bytes of the file, or of all files of the directory
    blocks: int
    price_per_mb: int
    user_id: bytes
    user_name: str
    state: GoodState
    profile: CidProfile
    watched: bool
    is_directory: bool

    def being_read(self) -> Good:
        """The same, while it is read again and not served."""
        return replace(self, state=GoodState.IMPORTING) if self.state is GoodState.SELLING else self


GOOD_COLUMNS = """
goods.id, goods.path, goods.directory, goods.prefix, goods.digest, goods.size, goods.blocks, goods.state,
orders.price, orders.user_id, orders.user_name, orders.profile, orders.watched
FROM goods JOIN orders ON goods.ordered = orders.id
"""
ORDER_COLUMNS = "path, price, user_id, user_name, profile, each_file, watched FROM orders"


def good_of(row: sqlite3.Row | tuple[object, ...]) -> Good:
    """From a row of GOOD_COLUMNS."""
    number, path, directory, prefix, digest, size, blocks, state, price, user, name, profile, watched = row
    text = os.fsdecode(_bytes(path))
    return Good(
        _int(number),
        Cid.from_bytes(_bytes(prefix) + _bytes(digest)) if digest else None,
        os.path.basename(text),
        text,
        _int(size),
        _int(blocks),
        _int(price),
        _bytes(user),
        str(name),
        GoodState(_int(state)),
        profile_of(str(profile)),
        bool(watched),
        bool(directory),
    )


def order_of(row: sqlite3.Row | tuple[object, ...]) -> SellOrder:
    """From a row of ORDER_COLUMNS."""
    path, price, user, name, profile, each_file, watched = row
    return SellOrder(
        os.fsdecode(_bytes(path)),
        _int(price),
        _bytes(user),
        str(name),
        profile_of(str(profile)),
        bool(each_file),
        bool(watched),
    )


@lru_cache(16)
def profile_of(text: str) -> CidProfile:
    """The profile of a text that the catalogue keeps."""
    return CidProfile.of(text)


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value
