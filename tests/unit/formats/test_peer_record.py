from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.envelope import open_envelope, seal
from fastmarket.formats.identity import Identity
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_record import (
    DOMAIN,
    LEGACY_DOMAIN,
    LEGACY_PAYLOAD_TYPE,
    MAX_RECORD_ADDRS,
    PAYLOAD_TYPE,
    PeerRecord,
    decode_peer_record,
    encode_peer_record,
)
from fastmarket.pb.libp2p import envelope_pb2

GO = json.loads((Path(__file__).parents[2] / "vectors" / "envelope.json").read_text())["peer_record"]
ALICE, MALLORY = Identity.from_seed(b"a" * 32), Identity.from_seed(b"m" * 32)
ADDRS = tuple(Multiaddr.from_text(text) for text in GO["addrs"])


def payload(identity: Identity, raws: list[bytes]) -> bytes:
    infos = [envelope_pb2.PeerRecord.AddressInfo(multiaddr=raw) for raw in raws]
    return envelope_pb2.PeerRecord(peer_id=identity.peer_id.raw, seq=7, addresses=infos).SerializeToString()


@pytest.mark.parametrize("seq", [0, 1, 2**64 - 1])
def test_round_trip(seq: int) -> None:
    assert decode_peer_record(encode_peer_record(ALICE, ADDRS, seq)) == PeerRecord(ALICE.peer_id, seq, ADDRS)


def test_the_payload_is_what_go_writes() -> None:
    """The same fields from us: only the id differs, as go's private key is not known."""
    raw = encode_peer_record(ALICE, ADDRS, GO["seq"])
    ours = open_envelope(raw, "libp2p-peer-record", payload_types=[b"\x03\x01"]).payload
    theirs = bytes.fromhex(GO["raw"])
    assert ours.startswith(b"\x0a\x26" + ALICE.peer_id.raw)
    assert ours[40:] == theirs[40:]


@pytest.mark.parametrize("seq", [-1, 2**64])
def test_seq_out_of_range(seq: int) -> None:
    with pytest.raises(CallerFault, match=r"^seq: "):
        encode_peer_record(ALICE, ADDRS, seq)


def test_the_legacy_form_is_read() -> None:
    raw = seal(ALICE, LEGACY_DOMAIN, LEGACY_PAYLOAD_TYPE, payload(ALICE, [ADDRS[0].raw]))
    assert decode_peer_record(raw) == PeerRecord(ALICE.peer_id, 7, ADDRS[:1])


@pytest.mark.parametrize(
    ("domain", "payload_type"),
    [(DOMAIN, LEGACY_PAYLOAD_TYPE), (LEGACY_DOMAIN, PAYLOAD_TYPE), (DOMAIN, b""), (DOMAIN, b"/other")],
)
def test_forms_do_not_mix(domain: str, payload_type: bytes) -> None:
    with pytest.raises(PeerFault):
        decode_peer_record(seal(ALICE, domain, payload_type, payload(ALICE, [])))


def test_nobody_speaks_for_another() -> None:
    with pytest.raises(PeerFault, match="other than its subject"):
        decode_peer_record(seal(MALLORY, DOMAIN, PAYLOAD_TYPE, payload(ALICE, [ADDRS[0].raw])))


def test_addresses_are_bounded_and_unknown_ones_skipped() -> None:
    many = [Multiaddr.from_endpoint("1.2.3.4", port).raw for port in range(MAX_RECORD_ADDRS + 5)]
    record = decode_peer_record(seal(ALICE, DOMAIN, PAYLOAD_TYPE, payload(ALICE, [b"\xff\x01", b"", *many])))
    assert [addr.raw for addr in record.addrs] == many[:MAX_RECORD_ADDRS]


@pytest.mark.parametrize("content", [b"", b"\xff", b"\x0a\x05abc"])
def test_no_record(content: bytes) -> None:
    with pytest.raises(PeerFault):
        decode_peer_record(seal(ALICE, DOMAIN, PAYLOAD_TYPE, content))
    with pytest.raises(PeerFault):
        decode_peer_record(content)
