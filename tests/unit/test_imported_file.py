"""imported_file: the tree of a file, handed out while it is hashed, and taken up again."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastmarket import hashing
from fastmarket.errors import CallerFault
from fastmarket.formats.block import split_cid, verify_block
from fastmarket.formats.unixfs.leaf import leaf_frame
from fastmarket.formats.unixfs.node import read_node
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, UNIXFS_V1_2025
from fastmarket.hashed_parts import PART_BYTES
from fastmarket.hashing import cid_of_file
from fastmarket.native.sha256 import sha256

CHUNK_BYTES = UNIXFS_V0_2015.chunk_bytes


def write(path, size):
    row = bytes(i * 7 & 255 for i in range(65521))  # a prime length: no two chunks are alike
    path.write_bytes((row * (size // len(row) + 1))[:size])
    return path


class Tree:
    """What is handed out of a file."""

    def __init__(self):
        self.leaves, self.digests, self.nodes = [], b"", []

    def add_leaves(self, offset, length, digests):
        self.leaves.append((offset, length))
        self.digests += digests

    def add_node(self, cid, block):
        self.nodes.append((cid, block))


@pytest.mark.parametrize("profile", [UNIXFS_V0_2015, UNIXFS_V1_2025.with_(chunk_bytes=5000)])
@pytest.mark.parametrize("size", [0, 10, 100_000, 2 * PART_BYTES + 3])
def test_the_tree_of_a_file_is_handed_out(profile, size, tmp_path):
    path, tree, seen = write(tmp_path / "file", size), Tree(), []
    found = hashing.imported_file(
        path,
        tree.add_leaves,
        tree.add_node,
        profile=profile,
        threads=2,
        progress=lambda *done: seen.append(done),
    )
    assert (found.cid, found.size) == (cid_of_file(path, profile=profile), size)
    ends = [offset + length for offset, length in tree.leaves]
    assert [0, *ends] == [*(offset for offset, _ in tree.leaves), size]
    assert seen == [(end, size) for end in ends]
    blocks = dict(tree.nodes)
    data, chunk = path.read_bytes(), profile.chunk_bytes
    for index, at in enumerate(range(0, size, chunk)):
        before, behind = leaf_frame(min(chunk, size - at), profile.raw_leaves)
        cid = profile.leaf_prefix + tree.digests[32 * index : 32 * index + 32]
        blocks[cid] = before + data[at : at + chunk] + behind
    if not size:
        blocks[profile.leaf_prefix + sha256(b"".join(leaf_frame(0, profile.raw_leaves)))] = b"".join(
            leaf_frame(0, profile.raw_leaves)
        )
    assert all(verify_block(cid, block) for cid, block in blocks.items())
    assert read_back(blocks, found.cid.raw) == data


def read_back(blocks, cid):
    node = read_node(split_cid(cid).codec, blocks[cid])
    return node.inline + b"".join(read_back(blocks, child.cid) for child in node.children)


@pytest.mark.parametrize("kept", [0, 1, 16, 40, 48])
def test_an_import_goes_on_where_it_was(kept, tmp_path):
    size = 3 * PART_BYTES  # 48 leaves
    path, whole, rest = write(tmp_path / "file", size), Tree(), Tree()
    expected = hashing.imported_file(path, whole.add_leaves, whole.add_node)
    digests = whole.digests[: 32 * kept]
    assert hashing.imported_file(path, rest.add_leaves, rest.add_node, kept=digests, threads=2) == expected
    assert digests + rest.digests == whole.digests
    assert rest.nodes == whole.nodes
    assert [at for at, _ in rest.leaves] == list(range(kept * CHUNK_BYTES, size, PART_BYTES))
    for bad in (digests + b"x", bytes(32 * 49)):
        with pytest.raises(CallerFault, match="kept"):
            hashing.imported_file(path, rest.add_leaves, rest.add_node, kept=bad)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc")
def test_a_file_without_a_true_size_is_not_imported():
    tree = Tree()
    with pytest.raises(CallerFault, match="not as long as its size says"):
        hashing.imported_file("/proc/self/maps", tree.add_leaves, tree.add_node)
