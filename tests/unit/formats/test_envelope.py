from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastmarket.errors import LimitExceeded, PeerFault
from fastmarket.formats.envelope import MAX_ENVELOPE_BYTES, open_envelope, payload_type_of, seal
from fastmarket.formats.identity import Identity
from fastmarket.pb.libp2p import envelope_pb2

GO = json.loads((Path(__file__).parents[2] / "vectors" / "envelope.json").read_text())["envelope"]
KEYS = json.loads((Path(__file__).parents[2] / "vectors" / "peer_ids.json").read_text())["keys"]
ALICE, MALLORY = Identity.from_seed(b"a" * 32), Identity.from_seed(b"m" * 32)
TYPE = b"/test"


def test_an_envelope_of_go_libp2p() -> None:
    raw = bytes.fromhex(GO["raw"])
    envelope = open_envelope(raw, GO["domain"], payload_types={GO["payload_type"].encode()})
    assert envelope.payload == GO["payload"].encode()
    assert envelope.payload_type == payload_type_of(raw) == GO["payload_type"].encode()
    assert envelope.peer_id == envelope.public_key.peer_id


@pytest.mark.parametrize("vector", KEYS, ids=lambda vector: vector["type"])
def test_round_trip(vector: dict[str, str]) -> None:
    identity = Identity.from_private_bytes(bytes.fromhex(vector["private"]))
    envelope = open_envelope(seal(identity, "domain", TYPE, b"payload"), "domain", payload_types=[TYPE])
    assert (envelope.payload, envelope.peer_id) == (b"payload", identity.peer_id)
    assert envelope.public_key == identity.public_key


def test_what_is_signed() -> None:
    """RFC 0002: domain, type and payload, each behind its length."""
    message = envelope_pb2.Envelope.FromString(seal(ALICE, "dom", b"ty", b"x" * 200))
    assert ALICE.public_key.verify(b"\x03dom\x02ty\xc8\x01" + b"x" * 200, message.signature)


@pytest.mark.parametrize("field", ["public_key", "payload_type", "payload", "signature"])
def test_every_byte_counts(field: str) -> None:
    raw = seal(ALICE, "domain", TYPE, b"payload")
    content = getattr(envelope_pb2.Envelope.FromString(raw), field)
    start = raw.index(content)
    for at in range(start, start + len(content)):
        changed = bytearray(raw)
        changed[at] ^= 1
        with pytest.raises(PeerFault):
            open_envelope(
                bytes(changed), "domain", payload_types=[TYPE, bytes(changed[start : start + len(content)])]
            )


def test_another_domain_or_type() -> None:
    raw = seal(ALICE, "domain", TYPE, b"payload")
    with pytest.raises(PeerFault, match="signature"):
        open_envelope(raw, "another", payload_types=[TYPE])
    with pytest.raises(PeerFault, match="payload type"):
        open_envelope(raw, "domain", payload_types=[b"/other"])


def test_another_key_cannot_be_put_in() -> None:
    message = envelope_pb2.Envelope.FromString(seal(MALLORY, "domain", TYPE, b"payload"))
    message.public_key = ALICE.public_key.encode()
    with pytest.raises(PeerFault, match="signature"):
        open_envelope(message.SerializeToString(), "domain", payload_types=[TYPE])


@pytest.mark.parametrize("raw", [b"", b"\xff", b"\x0a\xff\xff\xff\xff\x0f"])
def test_no_envelope(raw: bytes) -> None:
    with pytest.raises(PeerFault):
        open_envelope(raw, "domain", payload_types=[b"", TYPE])


def test_size_limit() -> None:
    with pytest.raises(LimitExceeded):
        open_envelope(bytes(MAX_ENVELOPE_BYTES + 1), "domain", payload_types=[TYPE])
