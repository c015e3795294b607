"""Values that only one key may write: IPNS records and our own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.dag_cbor import decode_map, encode_map
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.kad.records.record import DEFAULT_RULES, rule_for
from fastmarket.kad.records.signed_values import MAX_VALUE_BYTES, read_value, sign_value, signed_key
from fastmarket.pb.libp2p import ipns_pb2

NOW = 1_800_000_000.0
WRITER = Identity.from_seed(bytes(range(32)))
OTHER = Identity.from_seed(bytes(32))
IPNS_KEY = b"/ipns/" + WRITER.peer_id.raw


def date(when: float) -> bytes:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S.123456789Z").encode()


def ipns(sequence: int = 1, *, ends: float = NOW + 60, signer: Identity = WRITER, old: bool = True) -> bytes:
    data = encode_map(
        {
            "Value": b"/ipfs/bafyaaa",
            "ValidityType": 0,
            "Validity": date(ends),
            "Sequence": sequence,
            "TTL": 3_600_000_000_000,
        }
    )
    entry = ipns_pb2.IpnsEntry(data=data, signatureV2=signer.sign(b"ipns-signature:" + data))
    if old:
        entry.value, entry.validity, entry.validityType = b"/ipfs/bafyaaa", date(ends), 0
        entry.sequence, entry.ttl, entry.signatureV1 = sequence, 3_600_000_000_000, b"not looked at"
    return entry.SerializeToString()


def check_ipns(value: bytes, key: bytes = IPNS_KEY) -> None:
    rule_for(DEFAULT_RULES, key).validate(key, value, NOW)


@pytest.mark.parametrize("old", [True, False])
def test_an_ipns_record_of_its_key_is_taken(old: bool) -> None:
    check_ipns(ipns(old=old))


BOXO = json.loads((Path(__file__).parents[2] / "vectors" / "ipns.json").read_text())


@pytest.mark.parametrize("one", BOXO["records"], ids=lambda one: one["name"])
def test_what_boxo_writes_is_taken(one: dict[str, str]) -> None:
    """With fields of a publisher's own, too, of every kind it lets them have, and many of them."""
    value, key = bytes.fromhex(one["record"]), b"/ipns/" + PeerId.from_text(BOXO["peer_id"]).raw
    check_ipns(value, key)
    rule = rule_for(DEFAULT_RULES, key)
    assert rule.replaces(key, value, value)
    assert rule.select(key, [value, value]) == 0
    entry = ipns_pb2.IpnsEntry.FromString(value)
    entry.data = entry.data[:-1] + bytes([entry.data[-1] ^ 1])
    with pytest.raises(PeerFault, match="signature"):
        check_ipns(entry.SerializeToString(), key)


# null, a float, a list of a map with a link in it: go-ipld-prime reads all of it.
@pytest.mark.parametrize("extra", ["f6", "fb3ff8000000000000", "82a16161d82a450001551200f5"])
def test_other_fields_of_any_kind_are_signed_along(extra: str) -> None:
    entry = ipns_pb2.IpnsEntry.FromString(ipns())
    assert entry.data[0] == 0xA5
    entry.data = b"\xa6" + entry.data[1:] + b"\x64_new" + bytes.fromhex(extra)
    entry.signatureV2 = WRITER.sign(b"ipns-signature:" + entry.data)
    check_ipns(entry.SerializeToString())


def changed(**fields: bytes | int) -> bytes:
    entry = ipns_pb2.IpnsEntry.FromString(ipns())
    for name, value in fields.items():
        setattr(entry, name, value)
    return entry.SerializeToString()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff\xff",
        ipns(ends=NOW - 1),
        ipns(signer=OTHER),
        changed(pubKey=OTHER.public_key.encode()),
        changed(value=b"/ipfs/another"),
        changed(sequence=7),
        changed(data=encode_map({"Value": b"x"})),
        changed(signatureV2=b""),
        ipns() + bytes(11 * 1024),
    ],
)
def test_no_other_ipns_record_is(value: bytes) -> None:
    with pytest.raises(PeerFault):
        check_ipns(value)


def test_the_later_ipns_record_wins() -> None:
    rule = DEFAULT_RULES[b"ipns"]
    first, second, longer = ipns(1, ends=NOW + 900), ipns(2), ipns(2, ends=NOW + 90)
    assert rule.select(IPNS_KEY, [first, longer, second]) == 1
    assert rule.select(IPNS_KEY, [second, first, longer]) == 2
    assert rule.replaces(IPNS_KEY, second, first)
    assert not rule.replaces(IPNS_KEY, first, second)


def check_ours(key: bytes, value: bytes) -> None:
    rule_for(DEFAULT_RULES, key).validate(key, value, NOW)


@pytest.mark.parametrize("name", ["", "catalogue", "prices/2026"])
def test_what_a_peer_says_under_its_key_is_taken(name: str) -> None:
    key = signed_key(WRITER.peer_id, name)
    value = sign_value(WRITER, name, b"hello", 1, int(NOW) + 60)
    check_ours(key, value)
    assert read_value(value) == b"hello"


def test_nobody_else_writes_there_and_nothing_is_moved() -> None:
    key = signed_key(WRITER.peer_id, "a")
    for value in (
        sign_value(OTHER, "a", b"hello", 1, int(NOW) + 60),
        sign_value(WRITER, "b", b"hello", 1, int(NOW) + 60),
        sign_value(WRITER, "a", b"hello", 1, int(NOW)),
        b"garbage",
        b"",
    ):
        with pytest.raises(PeerFault):
            check_ours(key, value)
    good = sign_value(WRITER, "a", b"hello", 1, int(NOW) + 60)
    for wrong in (b"/fastmarket/", b"/fastmarket/\x00", key + b"x", key[:-2], b"/fastmarket/" + bytes(300)):
        with pytest.raises(PeerFault):
            check_ours(wrong, good)


def test_a_higher_seq_replaces() -> None:
    rule, key = DEFAULT_RULES[b"fastmarket"], signed_key(WRITER.peer_id)
    old, new = (sign_value(WRITER, "", b"v", seq, int(NOW) + 60) for seq in (1, 2))
    assert rule.select(key, [old, new]) == 1
    assert rule.replaces(key, new, old)
    assert not rule.replaces(key, old, new)


def test_a_writer_is_told_what_is_too_large() -> None:
    with pytest.raises(CallerFault, match="value"):
        sign_value(WRITER, "", bytes(MAX_VALUE_BYTES + 1), 1, 2)
    with pytest.raises(CallerFault, match="name"):
        signed_key(WRITER.peer_id, "n" * 200)


def test_a_map_comes_back() -> None:
    wanted: dict[str, bytes | int] = {"a": b"", "bb": 2**64 - 1, "c" * 30: bytes(300), "n": 23, "m": 24}
    assert decode_map(encode_map(wanted)) == wanted
    # RFC 8949, appendix A: {"a": 1, "b": h'0102'} by hand.
    assert encode_map({"a": 1, "b": b"\x01\x02"}) == bytes.fromhex("a2616101616242") + b"\x01\x02"


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "a1",
        "a16161",
        "a1616118",
        "a10101",
        "a26161016161 01",
        "bf6161 01ff",
        "a1616182 01",
        "80",
        "a161ff01",
    ],
)
def test_other_cbor_is_refused(raw: str) -> None:
    with pytest.raises(PeerFault):
        decode_map(bytes.fromhex(raw))
