"""Messages of Bitswap: their bytes, versions, and what strangers may send."""

from __future__ import annotations

import contextlib

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.errors import PeerFault
from fastmarket.exchange.bitswap.message import (
    CIDV0_PREFIX,
    MAX_CID_BYTES,
    MAX_ENTRIES,
    PROTOCOLS,
    BitswapMessage,
    BlockPayload,
    BlockWant,
    WireForm,
    decode_message,
    encode_answer,
    encode_wants,
    multihash_of,
    prefix_of,
    read_prefix,
)
from fastmarket.formats.cid import Cid, sha256_multihash
from fastmarket.formats.varint import FrameDecoder
from fastmarket.pb.libp2p.bitswap_pb2 import Message
from tests.unit.bitswap.blocks import block, cid, want

MEBIBYTES = 1 << 20
DIGESTS = st.binary(min_size=32, max_size=32)
CIDS = st.one_of(
    DIGESTS.map(lambda digest: b"\x12\x20" + digest),
    DIGESTS.map(lambda digest: b"\x01\x55\x12\x20" + digest),
    DIGESTS.map(lambda digest: b"\x01\x70\x12\x20" + digest),
    st.binary(min_size=64, max_size=64).map(lambda digest: b"\x01\x71\x13\x40" + digest),
)


def whole(parts: list[bytes]) -> BitswapMessage:
    """What a peer reads of these bytes."""
    (body,) = FrameDecoder(4 * MEBIBYTES).feed(b"".join(parts))
    return decode_message(body)


def test_a_wantlist_is_read_as_it_was_written() -> None:
    wants = [want(block(1), 7), want(block(2), 3, only_presence=True, tells=False)]
    body = encode_wants(wants, [cid(block(3))], WireForm.PRESENCES, is_full=True)
    assert decode_message(body) == BitswapMessage(wants, [cid(block(3))], True, [], [], [])


def test_an_answer_is_read_as_it_was_written() -> None:
    payload = BlockPayload(b"\x01\x55\x12\x20", block(1, 300_000))
    small = BlockPayload(CIDV0_PREFIX, block(2))
    parts = encode_answer([cid(block(3))], [cid(block(4))], [payload, small], WireForm.PRESENCES)
    assert whole(parts) == BitswapMessage([], [], False, [payload, small], [cid(block(3))], [cid(block(4))])
    assert payload.data is parts[1], "a block is not copied"


@given(st.lists(CIDS), st.lists(CIDS), st.lists(st.tuples(st.sampled_from([CIDV0_PREFIX]), st.binary())))
def test_our_own_bytes_are_those_of_protobuf(
    haves: list[bytes], absent: list[bytes], blocks: list[tuple[bytes, bytes]]
) -> None:
    expected = Message()
    for presence, kind in [*((one, 0) for one in haves), *((one, 1) for one in absent)]:
        expected.blockPresences.add(cid=presence, type=kind)
    for prefix, data in blocks:
        expected.payload.add(prefix=prefix, data=data)
    parts = encode_answer(haves, absent, [BlockPayload(*one) for one in blocks], WireForm.PRESENCES)
    if parts:
        (body,) = FrameDecoder(4 * MEBIBYTES).feed(b"".join(parts))
        assert Message.FromString(body) == expected
    else:
        assert expected == Message()


def test_each_version_says_what_it_can() -> None:
    v0, raw = BlockPayload(CIDV0_PREFIX, block(1)), BlockPayload(b"\x01\x55\x12\x20", block(2))
    haves, absent = [cid(block(3))], [cid(block(4))]

    def read(form: WireForm) -> BitswapMessage:
        return whole(encode_answer(haves, absent, [v0, raw], form))

    assert read(WireForm.PRESENCES) == BitswapMessage([], [], False, [v0, raw], haves, absent)
    assert read(WireForm.PREFIXES) == BitswapMessage([], [], False, [v0, raw], [], [])
    assert read(WireForm.BLOCKS) == BitswapMessage([], [], False, [v0], [], [])
    assert encode_answer(haves, absent, [raw], WireForm.BLOCKS) == []
    both = [want(block(1)), want(block(2), only_presence=True)]
    assert [one.cid for one in decode_message(encode_wants(both, [], WireForm.BLOCKS)).wants] == [
        cid(block(1))
    ]


def test_version_1_3_which_others_use_for_themselves_is_not_spoken() -> None:
    assert list(PROTOCOLS) == [
        "/ipfs/bitswap/1.2.0",
        "/ipfs/bitswap/1.1.0",
        "/ipfs/bitswap/1.0.0",
        "/ipfs/bitswap",
    ]


def test_cids_that_nobody_serves_are_left_out() -> None:
    message = Message()
    identity = b"\x01\x55\x00\x03abc"
    long_identity = b"\x01\x55\x00\x64" + bytes(100)
    for one in (identity, long_identity, b"\x01" * (MAX_CID_BYTES + 1), cid(block(1))):
        message.wantlist.entries.add(block=one)
    assert [one.cid for one in decode_message(message.SerializeToString()).wants] == [cid(block(1))]


def test_a_wantlist_without_end_is_not_read_to_its_end() -> None:
    message = Message()
    for number in range(MAX_ENTRIES + 10):
        message.wantlist.entries.add(block=cid(b"%d" % number))
    assert len(decode_message(message.SerializeToString()).wants) == MAX_ENTRIES


@pytest.mark.parametrize("bad", [b"", b"\x01", b"\x12\x20abc", b"\x01\x55\x12\x20" + bytes(31), b"\x05" * 9])
def test_what_is_no_cid_ends_the_stream(bad: bytes) -> None:
    message = Message()
    message.wantlist.entries.add(block=bad)
    with pytest.raises(PeerFault):
        decode_message(message.SerializeToString())


@given(st.binary())
def test_a_strangers_bytes_raise_nothing_but_peer_faults(body: bytes) -> None:
    with contextlib.suppress(PeerFault):
        decode_message(body)


@given(st.binary(), st.lists(st.tuples(st.binary(), st.binary())), st.lists(st.binary()))
def test_messages_are_read_as_protobuf_reads_them(
    junk: bytes, payloads: list[tuple[bytes, bytes]], blocks: list[bytes]
) -> None:
    message = Message(blocks=blocks)
    for prefix, data in payloads:
        message.payload.add(prefix=prefix, data=data)
    body = message.SerializeToString()
    for one in (body, body + junk, junk + body, body[: len(body) // 2]):
        try:
            expected = Message.FromString(one)
        except DecodeError:
            with pytest.raises(PeerFault):
                decode_message(one)
            continue
        if expected.wantlist.entries:
            continue  # their CIDs are judged, too
        read = decode_message(one)
        found = [(block.prefix, block.data) for block in expected.payload]
        assert list(read.payloads) == [*found, *((CIDV0_PREFIX, block) for block in expected.blocks)]


@given(st.binary(max_size=24))
def test_a_strangers_prefix_raises_nothing_but_peer_faults(prefix: bytes) -> None:
    with contextlib.suppress(PeerFault):
        read_prefix(prefix)


@given(CIDS)
def test_a_prefix_is_the_cid_without_its_digest(raw: bytes) -> None:
    multihash = multihash_of(raw)
    assert multihash is not None
    digest_bytes = multihash[1]
    prefix = prefix_of(raw, multihash)
    assert Cid.from_bytes(raw).multihash == multihash
    if len(raw) == len(multihash):
        assert prefix == CIDV0_PREFIX
    else:
        assert prefix + raw[-digest_bytes:] == raw
    assert read_prefix(prefix) == (multihash[0], digest_bytes)


def test_an_empty_answer_has_no_bytes() -> None:
    assert encode_answer([], [], [], WireForm.PRESENCES) == []
    assert decode_message(b"") == BitswapMessage([], [], False, [], [], [])


def test_a_want_without_details_is_one_of_a_block() -> None:
    message = Message()
    message.wantlist.entries.add(block=cid(b"x"))
    (read,) = decode_message(message.SerializeToString()).wants
    assert read == BlockWant(cid(b"x"), sha256_multihash(b"x"), 0, False, False)
