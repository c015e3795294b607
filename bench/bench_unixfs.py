"""The tree of a file and of a directory: `pytest bench/bench_unixfs.py`.

Hashing a leaf of 256 KiB takes some 60 us of a processor; its place in the tree may cost a tenth.
"""

from __future__ import annotations

import os

import pytest

from fastmarket.formats.unixfs.directory import DirectoryBuilder
from fastmarket.formats.unixfs.importer import UnixfsImporter
from fastmarket.formats.unixfs.node import read_node
from fastmarket.formats.unixfs.profile import PROFILES, UNIXFS_V0_2015, UNIXFS_V1_2025, CidProfile

LEAVES = 64 * 1024
ENTRIES = 100_000
DIGESTS = os.urandom(32 * 1024)


def built(profile: CidProfile) -> list[tuple[bytes, bytes]]:
    """The nodes of a file of LEAVES leaves, each of them hashed already."""
    nodes: list[tuple[bytes, bytes]] = []
    importer = UnixfsImporter(profile, lambda cid, block: nodes.append((cid, block)))
    for _ in range(LEAVES // 1024):
        importer.add_leaves(DIGESTS, 1024 * profile.chunk_bytes)
    importer.finish()
    return nodes


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_nodes_of_a_file(benchmark, profile):
    benchmark.extra_info["leaves"] = LEAVES
    nodes = benchmark(built, profile)
    assert len(nodes) == (LEAVES // 1024 + 1 if profile is UNIXFS_V1_2025 else 377 + 3 + 1)
    us = benchmark.stats.stats.min / LEAVES * 1e6
    print(f"\n{us:.1f} us a leaf")


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_reading_nodes(benchmark, profile):
    block = built(profile)[0][1]
    found = benchmark(read_node, 0x70, block)
    assert len(found.children) == profile.links_per_node
    us = benchmark.stats.stats.min / profile.links_per_node * 1e6
    print(f"\n{us:.1f} us a link")


def test_a_directory_in_shards(benchmark):
    importer = UnixfsImporter()
    importer.feed(b"x")
    link = importer.finish_link()

    def build() -> int:
        builder, blocks = DirectoryBuilder(UNIXFS_V0_2015), {}
        for number in range(ENTRIES):
            builder.add(f"file number {number}", link)
        builder.finish(blocks.__setitem__)
        return len(blocks)

    assert benchmark.pedantic(build, rounds=3) > 1000
    print(f"\n{benchmark.stats.stats.min / ENTRIES * 1e6:.1f} us an entry")
