"""Names of contents, and what makes them: paths, profiles, directories, imports; kernels and their twins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from random import Random

from fastmarket.errors import CallerFault
from fastmarket.formats.cid import SHA2_256_PREFIX, Codec
from fastmarket.formats.cid_path import cid_and_path
from fastmarket.formats.unixfs.directory import DirectoryBuilder
from fastmarket.formats.unixfs.importer import cid_of_bytes
from fastmarket.formats.unixfs.leaf import encode_leaf
from fastmarket.formats.unixfs.node import FileNode, SymlinkNode, read_node
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, UNIXFS_V1_2025, CidProfile
from fastmarket.native import cid as native_cid
from fastmarket.native.block_filter import BlockFilter
from tests.fuzz.target import Shape, Target, agree, as_text, round_trips
from tests.fuzz.targets.content import LEAF, LINK, NAMES
from tests.reference import block_filter as twin_filter
from tests.reference import unixfs as twin_unixfs


def cid_path(data: bytes) -> object:
    cid, names = cid_and_path(as_text(data))
    assert cid_and_path(str(cid)) == (cid, ())
    return names


def _paths() -> list[bytes]:
    cid = str(cid_of_bytes(LEAF))
    v1 = str(cid_of_bytes(LEAF, UNIXFS_V1_2025))
    forms = (
        "{}",
        "{}/dir/file",
        "/ipfs/{}/a b/ß",
        "ipfs://{}/a%20b",
        "https://gate.example/ipfs/{}/x?filename=y#z",
        "http://{}.ipfs.localhost:8080/a/../b",
    )
    return [form.format(one).encode() for form in forms for one in (cid, v1)]


def profile(data: bytes) -> object:
    return round_trips(CidProfile.of(as_text(data)), lambda value: CidProfile.of(str(value)))


def directory_names(data: bytes) -> object:
    """Names of one directory, by lines; what is built is read again with the same names."""
    builder, found = DirectoryBuilder(), list[bytes]()
    names = as_text(data).split("\n")
    for name in names:
        builder.add(name, LINK)
    builder.finish(lambda _cid, block: found.append(block))
    node = read_node(Codec.DAG_PB, found[-1])
    assert not isinstance(node, FileNode | SymlinkNode)
    assert sorted(entry.name for entry in node.entries) == sorted(names)
    return len(names)


# -- kernels


def imported(data: bytes) -> object:
    """The CIDs of a file, by the importer and by its twin; leaves by the kernel that reads files, too."""
    chunk, data = 16 + (data[0] if data else 0), data[1:]
    for version, raw in ((0, False), (1, True), (1, False), (0, True)):
        profile = UNIXFS_V0_2015.with_(
            cid_version=version, raw_leaves=raw, chunk_bytes=chunk, links_per_node=3
        )
        expected = twin_unixfs.import_file(data, version=version, raw=raw, chunk=chunk, width=3)
        assert str(cid_of_bytes(data, profile)) == expected
    descriptor = os.memfd_create("leaves")
    try:
        os.write(descriptor, data)
        for raw in (False, True) if data else ():
            leaves = [data[at : at + chunk] for at in range(0, len(data), chunk)]
            blocks = leaves if raw else [encode_leaf(leaf) for leaf in leaves]
            found = native_cid.leaf_digests(descriptor, 0, len(data), chunk, raw)
            assert found == b"".join(sha256(block).digest() for block in blocks), (
                "the kernel hashes otherwise"
            )
    finally:
        os.close(descriptor)
    return len(data)


def block_filter(data: bytes) -> object:
    """What is added is there, and the rest is as with the twin; any bytes may be asked for."""
    capacity, digests, asked = 1 + len(data) // 64, data[: len(data) // 64 * 32], data[len(data) // 64 * 32 :]
    kernel, twin = BlockFilter(capacity), twin_filter.BlockFilter(capacity)
    kernel.add(digests)
    twin.add(digests)
    names = [SHA2_256_PREFIX + digests[at : at + 32] for at in range(0, len(digests), 32)]
    assert all(map(kernel.may_have, names)), "lost"
    for name in (asked, asked[:34], SHA2_256_PREFIX + asked[:32], SHA2_256_PREFIX + asked[:31]):
        agree(lambda name=name: kernel.may_have(name), lambda name=name: twin.may_have(name))
    assert kernel.size == twin.size
    return len(names)


def _fills(*sizes: int) -> Sequence[bytes]:
    return [bytes((7,)) + Random(size).randbytes(size) for size in sizes]


TARGETS: tuple[Target, ...] = (
    Target(
        "cid-path", "fastmarket.formats.cid_path.cid_and_path", _paths, cid_path, (CallerFault,), Shape.TEXT
    ),
    Target(
        "cid-profile",
        "fastmarket.formats.unixfs.profile.CidProfile.of",
        lambda: [
            b"unixfs-v0-2015",
            b"unixfs-v1-2025",
            str(UNIXFS_V0_2015.with_(cid_version=1, chunk_bytes=9000, links_per_node=7)).encode(),
        ],
        profile,
        (CallerFault,),
        Shape.TEXT,
    ),
    Target(
        "directory-names",
        "fastmarket.formats.unixfs.directory.DirectoryBuilder",
        lambda: ["\n".join(NAMES).encode(), b"a\nb\nc"],
        directory_names,
        (CallerFault,),
        Shape.TEXT,
    ),
    Target(
        "import",
        "fastmarket.native.cid.leaf_digests",
        lambda: _fills(0, 1, 8, 9, 100, 1000),
        imported,
        (),
        Shape.BYTES,
        longest=1024,
    ),
    Target(
        "block-filter",
        "fastmarket.native.block_filter.BlockFilter.may_have",
        lambda: _fills(0, 31, 64, 640, 6400),
        block_filter,
        (),
        Shape.BYTES,
    ),
)
