"""unixfs.node: what a block of a stranger says, and each rule that it may break."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.errors import CallerFault, LimitExceeded, PeerFault
from fastmarket.formats.block import MAX_BLOCK_BYTES
from fastmarket.formats.dag_pb import MAX_LINKS, PbLink, encode_pb_node
from fastmarket.formats.unixfs.message import (
    MAX_SPARE_FIELDS,
    NodeKind,
    UnixfsMessage,
    decode_message,
    encode_message,
)
from fastmarket.formats.unixfs.node import (
    MAX_FILE_BYTES,
    Child,
    DirectoryEntry,
    DirectoryNode,
    FileNode,
    HamtLink,
    HamtNode,
    SymlinkNode,
    check_name,
    read_node,
)
from tests.reference.unixfs import field, varint

RAW, DAG_PB = 0x55, 0x70
V0 = b"\x12\x20" + bytes(32)
V1 = b"\x01\x55" + V0
CBOR = b"\x01\x71" + V0
SHA1 = b"\x01\x55\x11\x14" + bytes(20)


def identity(data: bytes, codec: int = RAW) -> bytes:
    return b"\x01" + varint(codec) + b"\x00" + varint(len(data)) + data


def block(data: bytes, *links: PbLink) -> bytes:
    return encode_pb_node(links, data)


def file_block(sizes: list[int], cids: list[bytes], *, total: int | None = None, name: bytes = b"") -> bytes:
    message = UnixfsMessage(NodeKind.FILE, b"", sum(sizes) if total is None else total, tuple(sizes))
    return block(encode_message(message), *(PbLink(cid, name, 9) for cid in cids))


def test_a_raw_block_is_a_file_of_its_bytes() -> None:
    assert read_node(RAW, b"abc") == FileNode(b"abc", (), 3)
    with pytest.raises(LimitExceeded):
        read_node(RAW, bytes(MAX_BLOCK_BYTES + 1))


def test_a_file() -> None:
    assert read_node(DAG_PB, block(bytes.fromhex("0802120568656c6c6f1805"))) == FileNode(b"hello", (), 5)
    assert read_node(DAG_PB, bytes.fromhex("0a0408021800")) == FileNode(b"", (), 0)
    children = (Child(V0, 5), Child(V1, 6), Child(identity(b"xy"), 2))
    found = read_node(DAG_PB, file_block([5, 6, 2], [V0, V1, identity(b"xy")]))
    assert found == FileNode(b"", children, 13)


def test_bytes_of_a_node_come_before_its_children() -> None:
    message = UnixfsMessage(NodeKind.FILE, b"abc", 8, (5,))
    assert read_node(DAG_PB, block(encode_message(message), PbLink(V0, None, None))) == FileNode(
        b"abc", (Child(V0, 5),), 8
    )


def test_the_old_kind_of_leaf() -> None:
    assert read_node(DAG_PB, block(b"\x08\x00\x12\x01x\x18\x01")) == FileNode(b"x", (), 1)


def test_sizes_may_be_packed_and_fields_in_any_order() -> None:
    packed = field(4, bytes((5, 6))) + field(3, 18) + field(4, 7) + field(1, 2)
    found = read_node(DAG_PB, block(packed, *(PbLink(V0, b"", 1),) * 3))
    assert isinstance(found, FileNode)
    assert [child.file_bytes for child in found.children] == [5, 6, 7]


def test_mode_and_mtime_and_what_may_come_later_are_skipped() -> None:
    data = (
        bytes.fromhex("0802120178 1801 38a403") + field(8, b"\x08\x01") + field(99, b"later") + field(98, 1)
    )
    assert read_node(DAG_PB, block(data)) == FileNode(b"x", (), 1)
    fixed = varint(97 << 3 | 5) + bytes(4) + varint(96 << 3 | 1) + bytes(8)
    assert read_node(DAG_PB, block(bytes.fromhex("08021800") + fixed)) == FileNode(b"", (), 0)


REFUSED_FILES = {
    "more links than sizes": file_block([5], [V0, V0]),
    "fewer links than sizes": file_block([5, 5], [V0]),
    "another total": file_block([5], [V0], total=6),
    "no total, and bytes": block(field(1, 2) + field(4, 5), PbLink(V0, b"", 5)),
    "a name inside": file_block([5], [V0], name=b"0"),
    "a codec of no file": file_block([5], [CBOR]),
    "a hash that is not allowed": file_block([5], [SHA1]),
    "an identity of another size": file_block([5], [identity(b"abc")]),
    "a long identity": file_block([129], [identity(bytes(129))]),
    "a CID that is none": file_block([5], [b"\x12\x20short"]),
    "more bytes than a file has": block(
        b"\x08\x02\x12\x01x\x18" + varint(1 << 63) + b"\x20" + varint(MAX_FILE_BYTES), PbLink(V0, b"", 5)
    ),
    "more than 64 bits": block(field(1, 2) + field(3, 5) + b"\x20" + b"\xff" * 10, PbLink(V0, b"", 5)),
    "no data": block(b"")[:0],
    "no type": block(field(3, 0)),
    "an unknown type": block(field(1, 6)),
    "metadata": block(field(1, 3)),
    "data as a number": block(field(1, 2) + field(2, 5)),
    "type twice": block(field(1, 2) + field(1, 2)),
    "total twice": block(field(1, 2) + field(3, 0) + field(3, 0)),
    "a group": block(field(1, 2) + bytes((99 & 15) << 3 | 3 for _ in range(2))),
}


@pytest.mark.parametrize("refused", REFUSED_FILES.values(), ids=REFUSED_FILES)
def test_refused_files(refused: bytes) -> None:
    with pytest.raises(PeerFault):
        read_node(DAG_PB, refused)


def test_fields_that_only_cost_time_are_bounded() -> None:
    for spare in (field(99, 0), field(98, b""), field(4, b""), b"\xa0\x00\x00"):
        found = read_node(DAG_PB, block(field(1, 2) + field(3, 0) + MAX_SPARE_FIELDS * spare))
        assert found == FileNode(b"", (), 0)
        with pytest.raises(LimitExceeded, match="spare"):
            read_node(DAG_PB, block(field(1, 2) + field(3, 0) + (MAX_SPARE_FIELDS + 1) * spare))
    many = b"\x20\x01" * (MAX_LINKS + 1)
    for sizes in (many, field(4, many[::2])):
        with pytest.raises(LimitExceeded, match="block sizes"):
            read_node(DAG_PB, block(field(1, 2) + sizes))


def test_codecs_that_are_not_unixfs() -> None:
    with pytest.raises(PeerFault, match="0x71"):
        read_node(0x71, b"\xa0")


def test_the_largest_file() -> None:
    found = read_node(DAG_PB, file_block([MAX_FILE_BYTES], [V0]))
    assert found == FileNode(b"", (Child(V0, MAX_FILE_BYTES),), MAX_FILE_BYTES)


def directory(*names: bytes | None, cid: bytes = V0) -> bytes:
    return block(b"\x08\x01", *(PbLink(cid, name, 9) for name in names))


def test_a_directory_keeps_the_first_of_one_name() -> None:
    twice = (PbLink(V1, b"b", 1), PbLink(V0, b"a", None), PbLink(CBOR, b"b", 3))
    found = read_node(DAG_PB, block(b"\x08\x01", *twice))
    assert found == DirectoryNode((DirectoryEntry("b", V1, 1), DirectoryEntry("a", V0, 0)))
    assert found.find("a") == DirectoryEntry("a", V0, 0)
    assert found.find("c") is None
    assert read_node(DAG_PB, block(b"\x08\x01")) == DirectoryNode(())


BAD_NAMES = [b"", None, b".", b"..", b"a/b", b"/", b"a\0", b"\xff", b"x" * 256]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_no_file_can_have(name: bytes | None) -> None:
    with pytest.raises(PeerFault, match="name"):
        read_node(DAG_PB, directory(b"good", name))
    with pytest.raises(CallerFault, match="name"):
        check_name(name or b"")


def test_names_that_files_have() -> None:
    for name in ("x" * 255, "…", "...", ".hidden", "a\\b", " ", "ü" * 127):
        found = read_node(DAG_PB, directory(name.encode()))
        assert isinstance(found, DirectoryNode)
        assert [entry.name for entry in found.entries] == [name == check_name(name) and name]


def test_a_directory_with_a_cid_that_is_none() -> None:
    with pytest.raises(PeerFault):
        read_node(DAG_PB, directory(b"a", cid=b"\x00"))


def test_a_symlink() -> None:
    assert read_node(DAG_PB, block(b"\x08\x04" + field(2, b"../up"))) == SymlinkNode("../up")
    for data, links in ((b"../up", (PbLink(V0, b"", 0),)), (b"\xff", ()), (b"x" * 4097, ())):
        with pytest.raises(PeerFault):
            read_node(DAG_PB, block(b"\x08\x04" + field(2, data), *links))


def shard(
    names: list[bytes], bits: bytes, *, fanout: int | None = 256, hash_type: int | None = 0x22
) -> bytes:
    message = UnixfsMessage(NodeKind.HAMT, bits, None, (), hash_type, fanout)
    return block(encode_message(message), *(PbLink(V0, name, 9) for name in names))


def test_a_shard() -> None:
    found = read_node(DAG_PB, shard([b"0Aname", b"01"], b"\x04\x02"))
    assert found == HamtNode(256, (HamtLink(1, None, V0, 9), HamtLink(10, "name", V0, 9)))
    assert found.entries == (DirectoryEntry("name", V0, 9),)
    assert found.shards == (HamtLink(1, None, V0, 9),)
    assert (found.slot_bits, found.max_depth) == (8, 8)
    assert read_node(DAG_PB, shard([], b"")) == HamtNode(256, ())
    assert read_node(DAG_PB, shard([b"0Aname", b"01"], bytes(30) + b"\x04\x02")) == found
    assert read_node(DAG_PB, shard([b"7"], b"\x80", fanout=8)) == HamtNode(8, (HamtLink(7, None, V0, 9),))
    wide = read_node(DAG_PB, shard([b"3FFx"], b"\x80" + bytes(127), fanout=1024))
    assert wide == HamtNode(1024, (HamtLink(1023, "x", V0, 9),))
    assert wide.max_depth == 6


REFUSED_SHARDS = {
    "no fanout": shard([], b"", fanout=None),
    "fanout 4": shard([], b"", fanout=4),
    "fanout 24": shard([], b"", fanout=24),
    "fanout 2048": shard([], b"", fanout=2048),
    "fanout beyond all bounds": shard([], b"", fanout=1 << 62),
    "no hash": shard([], b"", hash_type=None),
    "another hash": shard([], b"", hash_type=0x12),
    "a long bit field": shard([], bytes(33)),
    "a bit without link": shard([], b"\x01"),
    "a link without bit": shard([b"01"], b""),
    "another bit": shard([b"01"], b"\x01"),
    "two links in a slot": shard([b"01a", b"01b"], b"\x02"),
    "a slot in lower case": shard([b"0aname"], b"\x04\x00"),
    "a signed slot": shard([b"-1"], b""),
    "a slot with a blank": shard([b" 1"], b"\x02"),
    "no slot": shard([b""], b"\x01"),
    "half a slot": shard([b"1"], b"\x02"),
    "a slot beyond the fanout": shard([b"9"], b"\x01", fanout=8),
    "a bad name": shard([b"01."], b"\x02"),
}


@pytest.mark.parametrize("refused", REFUSED_SHARDS.values(), ids=REFUSED_SHARDS)
def test_refused_shards(refused: bytes) -> None:
    with pytest.raises(PeerFault):
        read_node(DAG_PB, refused)


numbers = st.integers(0, (1 << 63) - 1)
messages = st.builds(
    UnixfsMessage,
    st.sampled_from(NodeKind),
    st.binary(max_size=40),
    st.none() | numbers,
    st.lists(numbers, max_size=5).map(tuple),
    st.none() | st.just(0x22),
    st.none() | st.sampled_from([8, 16, 256, 1024, 2048, 100]),
)


@given(messages)
def test_messages_go_round(message: UnixfsMessage) -> None:
    assert decode_message(encode_message(message)) == message


link_names = st.none() | st.binary(max_size=5) | st.sampled_from([b"", b"00", b"01x", b"FFy", b"-1"])
some_links = st.lists(
    st.builds(PbLink, st.sampled_from([V0, V1, CBOR, SHA1, b""]), link_names, st.none() | numbers), max_size=4
)


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    raw = bytearray(encode_pb_node(draw(some_links), encode_message(draw(messages))))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(raw)))
        raw[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(raw)


@given(st.binary(max_size=60) | blocks() | messages.map(lambda message: block(encode_message(message))))
def test_bytes_of_a_stranger_raise_nothing_else(raw: bytes) -> None:
    try:
        found = read_node(DAG_PB, raw)
    except PeerFault:
        return
    if isinstance(found, FileNode):
        assert found.file_bytes == len(found.inline) + sum(child.file_bytes for child in found.children)


@given(st.binary(max_size=60))
def test_messages_of_a_stranger_raise_nothing_else(raw: bytes) -> None:
    try:
        decode_message(raw)
    except PeerFault:
        return
