"""CID profiles: all that the CID of a file or directory depends on besides its bytes, under one name.

Source: ipfs/specs, IPIP-0499.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from enum import Enum

from fastmarket.errors import CallerFault
from fastmarket.formats.block import MAX_BLOCK_BYTES
from fastmarket.formats.cid import SHA2_256_PREFIX, Codec

FRAME_BYTES = 256
"""Of a block, kept free for what stands around a chunk in it."""

MAX_CHUNK_BYTES = MAX_BLOCK_BYTES - FRAME_BYTES
"""The longest chunk whose block is one that others take."""

MAX_LINKS_PER_NODE = 16_384
"""Of a file: with the sizes of the largest file, such a node has 1 MiB."""

SHARD_OVER_BYTES = 256 * 1024
"""A directory that is larger, as its profile measures it, is cut into shards."""

FANOUT = 256
"""Slots in a shard, of all profiles."""


class DirectorySize(Enum):
    """How a directory is measured that may have to be cut into shards."""

    LINKS = "links-bytes"  # the names and CIDs alone
    BLOCK = "block-bytes"  # the whole block


@dataclass(frozen=True, slots=True)
class CidProfile:
    """`ipfs add` under a profile gives the same CID. Raw leaves are always CIDv1: a CIDv0 cannot name a raw
    block."""

    name: str
    cid_version: int
    raw_leaves: bool
    chunk_bytes: int
    links_per_node: int
    directory_size: DirectorySize

    def __post_init__(self) -> None:
        if self.cid_version not in (0, 1):
            raise CallerFault("cid_version", f"is 0 or 1, not {self.cid_version}")
        if not 0 < self.chunk_bytes <= MAX_CHUNK_BYTES:
            raise CallerFault("chunk_bytes", f"is 1 to {MAX_CHUNK_BYTES}, not {self.chunk_bytes}")
        if not 1 < self.links_per_node <= MAX_LINKS_PER_NODE:
            raise CallerFault("links_per_node", f"is 2 to {MAX_LINKS_PER_NODE}, not {self.links_per_node}")

    def with_(
        self,
        *,
        cid_version: int | None = None,
        raw_leaves: bool | None = None,
        chunk_bytes: int | None = None,
        links_per_node: int | None = None,
    ) -> CidProfile:
        """The profile with what is given in place of its own. As in `ipfs add`, CIDv1 brings raw leaves
        unless `raw_leaves` says otherwise. Raises CallerFault for values that no file can have."""
        if cid_version == 1 and raw_leaves is None:
            raw_leaves = True
        given = {
            "cid_version": cid_version,
            "raw_leaves": raw_leaves,
            "chunk_bytes": chunk_bytes,
            "links_per_node": links_per_node,
        }
        changed = {name: value for name, value in given.items() if value is not None}
        return replace(self, **changed) if changed else self  # type: ignore[arg-type]

    @classmethod
    def of(cls, text: str) -> CidProfile:
        """The profile of that name, or of the text that `str()` gives. Raises CallerFault("profile", ...)."""
        name, *changes = text.split("+")
        if name not in PROFILES:
            raise CallerFault("profile", f"is one of {', '.join(PROFILES)}; got {name!r}")
        found = PROFILES[name]
        for change in changes:
            field, _, number = change.partition("=")
            if field not in _NUMBERS or not _DIGITS.fullmatch(number):
                raise CallerFault("profile", f"{change!r} is no part of a profile")
            value = bool(int(number)) if field == "raw_leaves" else int(number)
            found = replace(found, **{field: value})  # type: ignore[arg-type]
        return found

    def __str__(self) -> str:
        """The name, and what differs from the profile of that name."""
        usual = PROFILES[self.name]
        changes = [
            f"+{field}={int(getattr(self, field))}"
            for field in _NUMBERS
            if getattr(self, field) != getattr(usual, field)
        ]
        return self.name + "".join(changes)

    @property
    def node_prefix(self) -> bytes:
        """What stands before the digest in the binary CID of a dag-pb block."""
        return SHA2_256_PREFIX if self.cid_version == 0 else _V1_DAG_PB

    @property
    def leaf_prefix(self) -> bytes:
        """What stands before the digest in the binary CID of a leaf."""
        return _V1_RAW if self.raw_leaves else self.node_prefix


_V1_DAG_PB = bytes((1, Codec.DAG_PB)) + SHA2_256_PREFIX
_V1_RAW = bytes((1, Codec.RAW)) + SHA2_256_PREFIX
_DIGITS = re.compile("[0-9]{1,9}")
_NUMBERS = tuple(field.name for field in fields(CidProfile) if field.name not in ("name", "directory_size"))

UNIXFS_V0_2015 = CidProfile("unixfs-v0-2015", 0, False, 256 * 1024, 174, DirectorySize.LINKS)
"""What `ipfs add` does unless told otherwise."""

UNIXFS_V1_2025 = CidProfile("unixfs-v1-2025", 1, True, 1024 * 1024, 1024, DirectorySize.BLOCK)
"""What newer programs do."""

PROFILES = {profile.name: profile for profile in (UNIXFS_V0_2015, UNIXFS_V1_2025)}
