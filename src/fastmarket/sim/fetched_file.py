"""The files of simulated fetches, scaled down: a block takes little to hash."""

from __future__ import annotations

from dataclasses import replace

from fastmarket.config import FetchConfig
from fastmarket.formats.block import RAW_HEAD
from fastmarket.formats.cid import SHA2_256_PREFIX
from fastmarket.formats.unixfs.importer import UnixfsImporter
from fastmarket.formats.unixfs.profile import UNIXFS_V1_2025
from fastmarket.native.sha256 import sha256

SCALE = 16
"""Bytes of a real network for one here."""

BLOCK_BYTES = 256 * 1024 // SCALE
LINKS = 174


def scaled(config: FetchConfig) -> FetchConfig:
    """The configuration for a network of that scale."""
    return replace(
        config,
        max_ahead_bytes=config.max_ahead_bytes // SCALE,
        max_ordered_bytes=config.max_ordered_bytes // SCALE,
        max_recent_bytes=config.max_recent_bytes // SCALE,
        first_rate_bytes=config.first_rate_bytes // SCALE,
        min_rate_bytes=config.min_rate_bytes // SCALE,
    )


class FetchedFile:
    """One file and its blocks by binary CID."""

    __slots__ = ("blocks", "root", "size", "sizes")

    def __init__(self, blocks: int, seed: int) -> None:
        profile = UNIXFS_V1_2025.with_(chunk_bytes=BLOCK_BYTES, links_per_node=LINKS)
        self.blocks: dict[bytes, bytes] = {}
        importer = UnixfsImporter(profile, self.blocks.__setitem__)
        for number in range(blocks):
            chunk = sha256(b"%d %d" % (seed, number)) * (BLOCK_BYTES // 32)
            self.blocks[RAW_HEAD + SHA2_256_PREFIX + sha256(chunk)] = chunk
            importer.feed(chunk)
        self.root = importer.finish()
        # What each takes of a line: the leaves are scaled, inner nodes as large as they are.
        self.sizes = {
            cid: len(block) if cid.startswith(RAW_HEAD) else len(block) / SCALE
            for cid, block in self.blocks.items()
        }
        self.size = blocks * BLOCK_BYTES
