"""unixfs.importer: the CIDs kubo publishes, and agreement with a naive importer on every shape of tree."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.errors import CallerFault
from fastmarket.formats.block import split_cid, verify_block
from fastmarket.formats.unixfs.importer import UnixfsImporter, cid_of_bytes
from fastmarket.formats.unixfs.leaf import encode_leaf, leaf_tree_bytes
from fastmarket.formats.unixfs.node import read_node
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, UNIXFS_V1_2025
from fastmarket.native.sha256 import sha256
from tests.reference import unixfs as twin

HELLO = b"hello world"
CHUNK_BYTES, LINKS_PER_NODE = UNIXFS_V0_2015.chunk_bytes, UNIXFS_V0_2015.links_per_node

# By kubo: the empty file, its tests/cli/add_test.go, its sharness t0114 data set.
PUBLISHED = [
    (b"", {}, "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"),
    (b"", {"cid_version": 1}, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
    (b"hello world\n", {}, "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"),
    (b"hello\n", {}, "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN"),
    (b"hello\n", {"cid_version": 1}, "bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am"),
    (HELLO, {}, "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD"),
    (HELLO, {"cid_version": 1}, "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"),
    (HELLO, {"raw_leaves": True}, "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"),
    (
        HELLO,
        {"cid_version": 1, "raw_leaves": False},
        "bafybeihykld7uyxzogax6vgyvag42y7464eywpf55gxi5qpoisibh3c5wa",
    ),
]


@pytest.mark.parametrize(("data", "options", "expected"), PUBLISHED)
def test_published_small_files(data, options, expected):
    assert str(cid_of_bytes(data, UNIXFS_V0_2015.with_(**options))) == expected


def keystream_of(seed: str) -> CipherContext:
    """The pseudo-random file of kubo's tests: ChaCha20 under the hash of the seed, nonce zero."""
    key = hashlib.sha256(seed.encode()).digest()
    return Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()


def keystream(size: int, seed: str) -> bytes:
    return keystream_of(seed).update(bytes(size))


# IPIP-0499, "Test fixtures", of the files that kubo's cid_profiles_test.go makes: chunk size, one more byte;
# as many chunks as a node has links, one more byte.
CHUNKS = [
    (UNIXFS_V0_2015, "chunk-v0-seed", 0, "QmWmRj3dFDZdb6ABvbmKhEL6TmPbAfBZ1t5BxsEyJrcZhE"),
    (UNIXFS_V0_2015, "chunk-v0-seed", 1, "QmYyLxtzZyW22zpoVAtKANLRHpDjZtNeDjQdJrcQNWoRkJ"),
    (UNIXFS_V1_2025, "chunk-v1-seed", 0, "bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta"),
    (UNIXFS_V1_2025, "chunk-v1-seed", 1, "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64"),
]
NODES = [
    (
        UNIXFS_V0_2015,
        "v0-seed",
        "QmUbBALi174SnogsUzLpYbD4xPiBSFANF4iztWCsHbMKh2",
        "QmV81WL765sC8DXsRhE5fJv2rwhS4icHRaf3J9Zk5FdRnW",
    ),
    (
        UNIXFS_V1_2025,
        "v1-2025-seed",
        "bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm",
        "bafybeibdsi225ugbkmpbdohnxioyab6jsqrmkts3twhpvfnzp77xtzpyhe",
    ),
]


@pytest.mark.parametrize(("profile", "seed", "more", "expected"), CHUNKS)
def test_profiles_around_a_chunk(profile, seed, more, expected):
    assert str(cid_of_bytes(keystream(profile.chunk_bytes + more, seed), profile)) == expected


@pytest.mark.parametrize(("profile", "seed", "full", "over"), NODES)
def test_profiles_around_a_node(profile, seed, full, over):
    importers = [UnixfsImporter(profile), UnixfsImporter(profile)]
    stream, chunk = keystream_of(seed), profile.chunk_bytes
    for _ in range(profile.links_per_node):
        data = stream.update(bytes(chunk))
        digest = sha256(data if profile.raw_leaves else encode_leaf(data))
        for importer in importers:
            importer.add_leaves(digest, chunk)
    importers[1].feed(stream.update(bytes(1)))
    assert [str(importer.finish()) for importer in importers] == [full, over]


VARIANTS = [(0, False), (0, True), (1, False), (1, True)]


@pytest.mark.parametrize(("version", "raw"), VARIANTS)
@pytest.mark.parametrize(
    "size", [1, 100, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES + 77]
)
def test_agrees_with_the_naive_importer(version, raw, size):
    data = keystream(size, "sizes")
    expected = twin.import_file(data, version=version, raw=raw)
    assert str(cid_of_bytes(data, UNIXFS_V0_2015.with_(cid_version=version, raw_leaves=raw))) == expected


@pytest.mark.parametrize(("version", "raw"), VARIANTS)
@pytest.mark.parametrize("chunks", [2, 173, 174, 175, 348, 349, 174 * 174, 174 * 174 + 1])
def test_every_shape_of_tree(version, raw, chunks):
    """Leaves alike, hashed once: only the tree above them is the matter."""
    last = b"short last"
    leaf = twin.leaf(bytes(CHUNK_BYTES), version, raw)
    level = [leaf] * (chunks - 1) + [twin.leaf(last, version, raw)]
    while len(level) > 1:
        level = [
            twin.parent(level[at : at + LINKS_PER_NODE], version)
            for at in range(0, len(level), LINKS_PER_NODE)
        ]
    importer = UnixfsImporter(UNIXFS_V0_2015.with_(cid_version=version, raw_leaves=raw))
    importer.add_leaves(leaf.cid[-32:] * (chunks - 1), (chunks - 1) * CHUNK_BYTES)
    importer.feed(last)
    assert importer.finish().raw == level[0].cid


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3 * CHUNK_BYTES), max_size=6))
def test_pieces_do_not_matter(sizes):
    data = keystream(sum(sizes), "pieces")
    importer, at = UnixfsImporter(), 0
    for size in sizes:
        importer.feed(data[at : at + size])
        at += size
    assert importer.finish() == cid_of_bytes(data)


def test_memory_is_a_chunk_and_a_node_for_each_level():
    importer = UnixfsImporter()
    for _ in range(400):
        importer.feed(bytes(CHUNK_BYTES + 1))
        assert len(importer._pending) < CHUNK_BYTES
        assert all(len(level) <= LINKS_PER_NODE for level in importer._levels)
    assert len(importer._levels) == 2


def test_lengths_told_are_lengths_encoded():
    for size in (0, 1, 127, 128, 200, CHUNK_BYTES):
        assert leaf_tree_bytes(size, False) == len(encode_leaf(bytes(size)))
        assert leaf_tree_bytes(size, True) == size


def test_finish_is_the_end():
    importer = UnixfsImporter()
    cid = importer.finish()
    assert importer.finish() == cid
    for call in (lambda: importer.feed(b""), lambda: importer.add_leaves(b"", 0)):
        with pytest.raises(CallerFault, match="finished"):
            call()


def test_callers_faults():
    importer = UnixfsImporter()
    with pytest.raises(CallerFault, match="digests"):
        importer.add_leaves(bytes(32), CHUNK_BYTES + 1)
    importer.feed(b"x")
    with pytest.raises(CallerFault, match="digests"):
        importer.add_leaves(bytes(32), CHUNK_BYTES)


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=300),
    st.integers(1, 20),
    st.integers(2, 5),
    st.booleans(),
    st.integers(0, 1),
)
def test_what_is_built_is_read_back(data, chunk, links, raw, version):
    profile = UNIXFS_V0_2015.with_(
        cid_version=version, raw_leaves=raw, chunk_bytes=chunk, links_per_node=links
    )
    nodes = []
    importer = UnixfsImporter(profile, lambda cid, block: nodes.append((cid, block)))
    importer.feed(data)
    root = importer.finish_link()
    text = twin.import_file(data, version=version, raw=raw, chunk=chunk, width=links)
    assert str(importer.finish()) == text
    blocks = dict(nodes)
    for at in range(0, len(data) or 1, chunk):
        part = data[at : at + chunk]
        block = part if raw else encode_leaf(part)
        blocks[profile.leaf_prefix + sha256(block)] = block
    if len(data) > chunk:
        assert nodes[-1][0] == root.cid  # the root comes last
    seen = set()
    for cid, block in nodes:  # children come before their parents
        seen.add(cid)
        node = read_node(0x70, block)
        assert all(child.cid in seen or child.cid not in dict(nodes) for child in node.children)
    assert read_back(blocks, root.cid, len(data)) == data
    assert root.tree_bytes == tree_bytes(blocks, root.cid)


def read_back(blocks, cid, promised):
    assert verify_block(cid, blocks[cid])
    node = read_node(split_cid(cid).codec, blocks[cid])
    assert node.file_bytes == promised
    return node.inline + b"".join(read_back(blocks, *child) for child in node.children)


def tree_bytes(blocks, cid):
    node = read_node(split_cid(cid).codec, blocks[cid])
    return len(blocks[cid]) + sum(tree_bytes(blocks, child.cid) for child in node.children)
