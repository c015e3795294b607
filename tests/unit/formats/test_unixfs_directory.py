"""unixfs.directory and .hamt: the CIDs that others publish, agreement with plain twins, and names found."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.block import verify_block
from fastmarket.formats.cid import Cid
from fastmarket.formats.unixfs import hamt
from fastmarket.formats.unixfs.directory import DirectoryBuilder, symlink
from fastmarket.formats.unixfs.hamt import ShardSearch, name_hash
from fastmarket.formats.unixfs.importer import DagLink, UnixfsImporter
from fastmarket.formats.unixfs.node import (
    MAX_NAME_BYTES,
    MAX_TARGET_BYTES,
    DirectoryNode,
    HamtLink,
    HamtNode,
    SymlinkNode,
    read_node,
)
from fastmarket.formats.unixfs.profile import (
    SHARD_OVER_BYTES,
    UNIXFS_V0_2015,
    UNIXFS_V1_2025,
    CidProfile,
    DirectorySize,
)
from tests.reference import unixfs as file_twin
from tests.reference import unixfs_directory as twin

DAG_PB = 0x70
ALPHABET = b"abcdefghijklmnopqrstuvwxyz01234567890-_"  # of kubo's tests; zero is in it twice


def file_link(data: bytes, profile: CidProfile) -> DagLink:
    importer = UnixfsImporter(profile)
    importer.feed(data)
    return importer.finish_link()


def names_of_kubo(seed: str, count: int, size: int, last_size: int) -> list[str]:
    """The names that kubo's cid_profiles_test.go gives to its files, each of which contains an x."""
    key = hashlib.sha256(seed.encode()).digest()
    stream = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    sizes = [size] * (count - 1) + [last_size]
    return [bytes(ALPHABET[b % len(ALPHABET)] for b in stream.update(bytes(n))).decode() for n in sizes]


# IPIP-0499, "Test fixtures": directories as large as one block may be, and one byte larger.
PUBLISHED = [
    (UNIXFS_V0_2015, 4096, 30, 30, DirectoryNode, "QmX5GtRk3TSSEHtdrykgqm4eqMEn3n2XhfkFAis5fjyZmN"),
    (UNIXFS_V0_2015, 4033, 31, 31, HamtNode, "QmeMiJzmhpJAUgynAcxTQYek5PPKgdv3qEvFsdV3XpVnvP"),
    (
        UNIXFS_V1_2025,
        4766,
        11,
        21,
        DirectoryNode,
        "bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4",
    ),
    (
        UNIXFS_V1_2025,
        4766,
        11,
        22,
        HamtNode,
        "bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu",
    ),
]


@pytest.mark.parametrize(("profile", "count", "size", "last_size", "kind", "expected"), PUBLISHED)
def test_published_directories(
    profile: CidProfile, count: int, size: int, last_size: int, kind: type, expected: str
) -> None:
    builder, blocks = DirectoryBuilder(profile), {}
    for name in names_of_kubo(f"hamt-{profile.name}", count, size, last_size):
        builder.add(name, file_link(b"x", profile))
    root = builder.finish(blocks.__setitem__)
    assert str(Cid.from_bytes(root.cid)) == expected
    assert isinstance(read_node(DAG_PB, blocks[root.cid]), kind)
    if kind is DirectoryNode and profile.directory_size is DirectorySize.BLOCK:
        assert len(blocks[root.cid]) == SHARD_OVER_BYTES


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (UNIXFS_V0_2015, "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"),
        (UNIXFS_V1_2025, "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"),
    ],
)
def test_the_empty_directory(profile: CidProfile, expected: str) -> None:
    root = DirectoryBuilder(profile).finish()
    assert (str(Cid.from_bytes(root.cid)), root.file_bytes, root.tree_bytes) == (expected, 0, 4)


# Of files of one byte, with names of 100 bytes; seen with kubo 0.43.1.
@pytest.mark.parametrize(("profile", "most"), [(UNIXFS_V0_2015, 1956), (UNIXFS_V1_2025, 1807)])
def test_how_many_entries_stay_in_one_block(profile: CidProfile, most: int) -> None:
    builder, link = DirectoryBuilder(profile), file_link(b"x", profile)
    blocks: dict[bytes, bytes] = {}
    for number in range(most):
        builder.add(f"{number:0100}", link)
    builder.finish(blocks.__setitem__)
    assert len(blocks) == 1
    builder.add(f"{most:0100}", link)
    builder.finish(blocks.__setitem__)
    assert len(blocks) > 100


# By boxo 0.43.0, of 40 files, in shards of each fanout; the second with CIDv1 and raw leaves.
FANOUTS = {
    8: (
        "QmYQNxMxmS1HL3eSymfVQcbm6Y99KP1oErjDDY6zamDDrE",
        "bafybeia6xb4oclekeczuhpzhbgedxlmphuwspqaaigvrfuijohrhdp2wbm",
    ),
    64: (
        "QmPgwDh4PN8gkEnvu4dzq2PKjwk5KXqs4GHo8qtpyE5Yyp",
        "bafybeigeem3j3yblpblq7sjajlg5m7xghqdbmjgfghz4kb7g5sba66x2hu",
    ),
    256: (
        "QmcKFRP5qgpaTg99xohnZ9v7Do4rehxWsJ4C93rrhfJ7eV",
        "bafybeiajeglvfvj3kfathkj3yjjrpmbwkr33nol6vjqzoczzpfromdfhyy",
    ),
    1024: (
        "QmNqaVK6WQFzzXzcvaqvzaEWZmLRk8EmnJTwp4ynWjsNDt",
        "bafybeie5rdad5ojzbjdcckdkvnkpeh3zicvpo2zzaol7h3gdrzzhkdxokq",
    ),
}


@pytest.mark.parametrize("fanout", FANOUTS)
@pytest.mark.parametrize("version", [0, 1])
def test_names_are_found_in_shards_of_every_fanout(fanout: int, version: int) -> None:
    entries = [(b"file %d" % n, file_twin.leaf(b"%d" % n, version, bool(version))) for n in range(40)]
    blocks: dict[bytes, bytes] = {}
    root = twin.sharded(entries, version, blocks, fanout)
    assert str(Cid.from_bytes(root.cid)) == FANOUTS[fanout][version]
    for name, node in entries:
        found = find(blocks, root.cid, name.decode())
        assert found is not None
        assert (found.cid, found.tree_bytes) == (node.cid, node.tree_bytes)
    assert find(blocks, root.cid, "file 40") is None
    assert {name.encode() for name, _ in listed(blocks, root.cid)} == {name for name, _ in entries}


def find(blocks: dict[bytes, bytes], cid: bytes, name: str) -> HamtLink | None:
    search = ShardSearch(name)
    while True:
        assert verify_block(cid, blocks[cid])
        shard = read_node(DAG_PB, blocks[cid])
        assert isinstance(shard, HamtNode)
        link = search.look(shard)
        if link is None or link.name is not None:
            return link
        cid = link.cid


def listed(blocks: dict[bytes, bytes], cid: bytes) -> list[tuple[str, bytes]]:
    node = read_node(DAG_PB, blocks[cid])
    assert isinstance(node, (DirectoryNode, HamtNode))
    below = [entry for link in getattr(node, "shards", ()) for entry in listed(blocks, link.cid)]
    return [(entry.name, entry.cid) for entry in node.entries] + below


names = st.text(min_size=1, max_size=12, alphabet=st.characters(codec="utf-8", exclude_characters="/\0."))


@settings(deadline=None, max_examples=50)
@given(st.sets(names, max_size=60), st.booleans(), st.integers(0, 1))
def test_what_is_built_is_read_back(found: set[str], shards: bool, version: int) -> None:
    profile = UNIXFS_V0_2015.with_(cid_version=version, raw_leaves=False)
    builder, blocks = DirectoryBuilder(profile), {}
    plain: dict[bytes, bytes] = {}
    entries = []
    for number, name in enumerate(found):
        data = b"%d" % number
        builder.add(name, file_link(data, profile))
        entries.append((name.encode(), file_twin.leaf(data, version, False)))
    with pytest.MonkeyPatch.context() as patch:
        if shards:
            patch.setattr("fastmarket.formats.unixfs.directory.SHARD_OVER_BYTES", 0)
        root = builder.finish(blocks.__setitem__)
    cut = shards and bool(found)
    expected = (twin.sharded if cut else twin.flat)(entries, version, plain)
    assert (root.cid, root.tree_bytes) == (expected.cid, expected.tree_bytes)
    assert blocks == plain
    assert root.file_bytes == sum(len(str(number)) for number in range(len(found)))
    assert dict(listed(blocks, root.cid)) == {name.decode(): node.cid for name, node in entries}
    if cut:
        for name in found:
            link = find(blocks, root.cid, name)
            assert link is not None
            assert link.name == name


def test_links_are_in_order_of_their_bytes() -> None:
    builder, blocks = DirectoryBuilder(), {}
    for name in ("b", "B", "ä", "a", "10", "9"):
        builder.add(name, file_link(b"", UNIXFS_V0_2015))
    node = read_node(DAG_PB, blocks[builder.finish(blocks.__setitem__).cid])
    assert isinstance(node, DirectoryNode)
    assert [entry.name for entry in node.entries] == ["10", "9", "B", "a", "b", "ä"]


# By boxo 0.43.0.
@pytest.mark.parametrize(
    ("target", "profile", "expected"),
    [
        ("../x", UNIXFS_V0_2015, "QmfBvfDsY4EnSiWxT72R8QcfzB8YjpZcyx2zHf1VSkmzh5"),
        ("../x", UNIXFS_V1_2025, "bafybeih2lj6etznrpm3z6suw7a4czbmlyzar5kytsro2lq7qqeejcrwuja"),
    ],
)
def test_a_symlink(target: str, profile: CidProfile, expected: str) -> None:
    blocks: dict[bytes, bytes] = {}
    link = symlink(target, profile, blocks.__setitem__)
    assert str(Cid.from_bytes(link.cid)) == expected
    assert (link.file_bytes, link.tree_bytes) == (0, len(blocks[link.cid]))
    assert read_node(DAG_PB, blocks[link.cid]) == SymlinkNode(target)


def test_callers_faults() -> None:
    builder, link = DirectoryBuilder(), file_link(b"", UNIXFS_V0_2015)
    builder.add("a", link)
    for name in ("a", "", ".", "..", "a/b", "\udcff", "x" * (MAX_NAME_BYTES + 1)):
        with pytest.raises(CallerFault, match="name"):
            builder.add(name, link)
    assert len(builder) == 1
    for target in ("\udcff", "x" * (MAX_TARGET_BYTES + 1)):
        with pytest.raises(CallerFault, match="target"):
            symlink(target)


def test_names_of_one_hash_end_in_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastmarket.formats.unixfs.directory.SHARD_OVER_BYTES", 0)
    monkeypatch.setattr("fastmarket.formats.unixfs.directory.name_hash", lambda name: 7)
    builder = DirectoryBuilder()
    for name in ("a", "b"):
        builder.add(name, file_link(b"", UNIXFS_V0_2015))
    with pytest.raises(CallerFault, match="one hash"):
        builder.finish()


def test_a_search_ends_where_the_hash_does() -> None:
    name = "name"
    search = ShardSearch(name)
    for depth in range(8):
        slot = name_hash(name.encode()) >> (56 - 8 * depth) & 255
        link = HamtLink(slot, None, b"below", 0)
        assert search.look(HamtNode(256, (link,))) is link
    with pytest.raises(PeerFault, match="too deep"):
        search.look(HamtNode(256, ()))


@given(st.binary(max_size=80))
def test_the_hash_agrees_with_its_twin(name: bytes) -> None:
    assert name_hash(name) == twin.murmur3(name)
    assert hamt.slot_of(name_hash(name), 8, 8) == name_hash(name).to_bytes(8, "big")[1]
