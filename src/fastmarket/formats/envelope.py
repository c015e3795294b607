"""Signed envelopes: a payload, its type, and its signer (libp2p specs: RFC/0002-signed-envelopes.md)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from fastmarket.errors import LimitExceeded, PeerFault
from fastmarket.formats.identity import Identity, PeerId, PublicKey
from fastmarket.formats.varint import frame
from fastmarket.pb.libp2p import envelope_pb2

# go-libp2p allows 8 KiB for an identify message with a signed record; twice that, for RSA and more addresses.
MAX_ENVELOPE_BYTES = 16 * 1024


class BadSignature(PeerFault):
    """Well-formed, but not signed by the key it names."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload with a verified signature. `peer_id` is the id of `public_key`, the signer."""

    public_key: PublicKey
    payload_type: bytes
    payload: bytes
    peer_id: PeerId


def _signed_bytes(domain: str, payload_type: bytes, payload: bytes) -> bytes:
    return frame(domain.encode()) + frame(payload_type) + frame(payload)


def seal(identity: Identity, domain: str, payload_type: bytes, payload: bytes) -> bytes:
    """The serialised envelope; `domain` is signed but not included, so both sides must know it."""
    signature = identity.sign(_signed_bytes(domain, payload_type, payload))
    message = envelope_pb2.Envelope(
        public_key=identity.public_key.encode(),
        payload_type=payload_type,
        payload=payload,
        signature=signature,
    )
    return message.SerializeToString()


def open_envelope(raw: bytes, domain: str, *, payload_types: Collection[bytes]) -> Envelope:
    """The content of a serialised envelope of at most MAX_ENVELOPE_BYTES; never returns unsigned content.

    Raises PeerFault if it is malformed or its type is not in `payload_types`, BadSignature if it is not
    signed for `domain`.
    """
    message = _parse(raw)
    payload_type, payload = message.payload_type, message.payload
    if payload_type not in payload_types:
        raise PeerFault(f"unexpected payload type {payload_type[:32].hex()}", protocol="envelope")
    public_key = PublicKey.decode(message.public_key)
    if not public_key.verify(_signed_bytes(domain, payload_type, payload), message.signature):
        raise BadSignature("bad signature", protocol="envelope")
    return Envelope(public_key, payload_type, payload, public_key.peer_id)


def unverified_payload(raw: bytes) -> bytes:
    """The payload of an envelope that has already been verified. Raises PeerFault."""
    return _parse(raw).payload


def payload_type_of(raw: bytes) -> bytes:
    """The type an envelope claims, unverified: to choose the domain to open it with. Raises PeerFault."""
    return _parse(raw).payload_type


def _parse(raw: bytes) -> envelope_pb2.Envelope:
    if len(raw) > MAX_ENVELOPE_BYTES:
        raise LimitExceeded("bytes in an envelope", MAX_ENVELOPE_BYTES, len(raw), protocol="envelope")
    try:
        return envelope_pb2.Envelope.FromString(raw)
    except DecodeError as error:
        raise PeerFault("not an Envelope message", protocol="envelope") from error
