"""unixfs.importer: the CIDs kubo publishes, and agreement with a naive importer on every shape of tree."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.errors import CallerFault
from fastmarket.formats.unixfs.importer import CHUNK_BYTES, LINKS_PER_NODE, UnixfsImporter, cid_of_bytes
from fastmarket.formats.unixfs.leaf import encode_leaf, leaf_tree_bytes
from tests.reference import unixfs as twin

HELLO = b"hello world"

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
    assert str(cid_of_bytes(data, **options)) == expected


def keystream(size: int, seed: str) -> bytes:
    """The pseudo-random file of kubo's tests: ChaCha20 under the hash of the seed, nonce zero."""
    key = hashlib.sha256(seed.encode()).digest()
    return Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(size))


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        (174, "QmUbBALi174SnogsUzLpYbD4xPiBSFANF4iztWCsHbMKh2"),  # one full node
        (175, "QmepeWtdmS1hHXx1oZXsPUv6bMrfRRKfZcoPPU4eEfjnbf"),  # a second layer
    ],
)
def test_published_large_files(chunks, expected):
    """kubo tests/cli/add_test.go, profile legacy-cid-v0, below and above 174 links."""
    assert str(cid_of_bytes(keystream(chunks * CHUNK_BYTES, "v0-seed"))) == expected


VARIANTS = [(0, False), (0, True), (1, False), (1, True)]


@pytest.mark.parametrize(("version", "raw"), VARIANTS)
@pytest.mark.parametrize(
    "size", [1, 100, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES + 77]
)
def test_agrees_with_the_naive_importer(version, raw, size):
    data = keystream(size, "sizes")
    expected = twin.import_file(data, version=version, raw=raw)
    assert str(cid_of_bytes(data, cid_version=version, raw_leaves=raw)) == expected


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
    importer = UnixfsImporter(cid_version=version, raw_leaves=raw)
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
        assert leaf_tree_bytes(size) == len(encode_leaf(bytes(size)))


def test_finish_is_the_end():
    importer = UnixfsImporter()
    cid = importer.finish()
    assert importer.finish() == cid
    for call in (lambda: importer.feed(b""), lambda: importer.add_leaves(b"", 0)):
        with pytest.raises(CallerFault, match="finished"):
            call()


def test_callers_faults():
    with pytest.raises(CallerFault, match="cid_version"):
        UnixfsImporter(cid_version=2)
    importer = UnixfsImporter()
    with pytest.raises(CallerFault, match="digests"):
        importer.add_leaves(bytes(32), CHUNK_BYTES + 1)
    importer.feed(b"x")
    with pytest.raises(CallerFault, match="digests"):
        importer.add_leaves(bytes(32), CHUNK_BYTES)
