"""Rules for values that only one key may write: `/ipns`, and our own `/fastmarket`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from google.protobuf.message import DecodeError

from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.dag_cbor import decode_map
from fastmarket.formats.envelope import open_envelope, seal, unverified_payload
from fastmarket.formats.identity import Identity, PeerId, PublicKey
from fastmarket.pb.fastmarket.v1 import value_pb2
from fastmarket.pb.libp2p import ipns_pb2

IPNS = b"/ipns/"
MAX_IPNS_BYTES = 10 * 1024  # ipns-record.md, "Record size limit"
NANOSECONDS = 10**9  # in a second: the unit of a TTL
_IPNS_SIGNED = b"ipns-signature:"
_END_OF_LIFE = 0  # the only validity type

OURS = b"/fastmarket/"
MAX_NAME_BYTES = 128  # a publisher's own name, after its peer id
MAX_VALUE_BYTES = 8 * 1024  # with envelope and key it stays below max_value_bytes
_DOMAIN = "fastmarket-value"
_PAYLOAD_TYPE = b"/fastmarket/value"


@dataclass(frozen=True, slots=True)
class _Ipns:
    sequence: int
    validity: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class IpnsLifetime:
    """How long an IPNS record may be used: `ttl_s` without querying again (None if unspecified), and until
    `end` (unix seconds) in any case."""

    ttl_s: float | None
    end: float


def ipns_key(name: PeerId) -> bytes:
    """The raw key of a name's record (ipns-record.md, "Routing Record")."""
    return IPNS + name.raw


def ipns_lifetime(value: bytes) -> IpnsLifetime:
    """The lifetime of a validated record. Raises PeerFault."""
    data = decode_map(_entry(value).data)
    ttl, validity = data.get("TTL"), data.get("Validity")
    ttl_s = ttl / NANOSECONDS if isinstance(ttl, int) and ttl > 0 else None
    return IpnsLifetime(ttl_s, _end_of_life(validity if isinstance(validity, bytes) else b""))


class IpnsRule:
    """`/ipns/<peer id bytes>`: a record signed by that peer (ipns-record.md, "Record verification")."""

    def validate(self, key: bytes, value: bytes, now: float) -> None:
        """Checks signature, name and expiry; where legacy fields are present beside `data`, they must be
        equal."""
        if len(value) > MAX_IPNS_BYTES:
            raise PeerFault("IPNS record is too large")
        entry = _entry(value)
        name = PeerId.from_bytes(key[len(IPNS) :])
        public_key = PublicKey.decode(entry.pubKey) if entry.pubKey else name.public_key()
        if public_key is None or public_key.peer_id != name:
            raise PeerFault("IPNS record lacks the key of its name")
        if not entry.signatureV2 or not public_key.verify(_IPNS_SIGNED + entry.data, entry.signatureV2):
            raise PeerFault("IPNS record has a bad signature")
        data = decode_map(entry.data)
        for field, told in (
            ("Value", entry.value),
            ("Validity", entry.validity),
            ("ValidityType", entry.validityType),
            ("Sequence", entry.sequence),
            ("TTL", entry.ttl),
        ):
            if entry.signatureV1 and data.get(field) != told:
                raise PeerFault(f"IPNS record's {field} differs from the signed one")
        if data.get("ValidityType") != _END_OF_LIFE:
            raise PeerFault("IPNS record has an unknown validity type")
        if _end_of_life(_read_ipns(value).validity) <= now:
            raise PeerFault("IPNS record has expired")

    def select(self, key: bytes, values: Sequence[bytes]) -> int:
        """The highest sequence; among equals the latest expiry, then the greatest bytes."""
        return max(range(len(values)), key=lambda index: (*_ipns_order(values[index]), values[index]))

    def replaces(self, key: bytes, new: bytes, old: bytes) -> bool:
        """A later version, or the same one again."""
        return _ipns_order(new) >= _ipns_order(old)


class SignedValueRule:
    """`/fastmarket/<peer id bytes>`, optionally followed by `/<name>`: a value that only that peer may
    write."""

    def validate(self, key: bytes, value: bytes, now: float) -> None:
        """Must be signed by the peer in the key, for this key, and not expired."""
        envelope = open_envelope(value, _DOMAIN, payload_types=(_PAYLOAD_TYPE,))
        said = _said(envelope.payload)
        if said.key != key or envelope.peer_id != _publisher(key):
            raise PeerFault("value belongs to another peer or key")
        if len(said.value) > MAX_VALUE_BYTES:
            raise PeerFault("value is too large")
        if said.not_after <= now:
            raise PeerFault("value has expired")

    def select(self, key: bytes, values: Sequence[bytes]) -> int:
        """The highest seq; among equals the greatest bytes, so that all nodes choose the same."""
        return max(range(len(values)), key=lambda index: (_seq(values[index]), values[index]))

    def replaces(self, key: bytes, new: bytes, old: bytes) -> bool:
        """A later version, or the same one again."""
        return _seq(new) >= _seq(old)


def signed_key(peer_id: PeerId, name: str = "") -> bytes:
    """The raw key of a peer's value under a name. Raises CallerFault."""
    raw = name.encode()
    if len(raw) > MAX_NAME_BYTES:
        raise CallerFault("name", f"expects at most {MAX_NAME_BYTES} bytes, got {len(raw)}")
    return OURS + peer_id.raw + (b"/" + raw if raw else b"")


def sign_value(identity: Identity, name: str, value: bytes, seq: int, not_after: int) -> bytes:
    """The value to put under `signed_key(identity.peer_id, name)`, valid until `not_after` (unix seconds); a
    higher `seq` replaces a lower one. Raises CallerFault."""
    if len(value) > MAX_VALUE_BYTES:
        raise CallerFault("value", f"expects at most {MAX_VALUE_BYTES} bytes, got {len(value)}")
    said = value_pb2.SignedValue(
        key=signed_key(identity.peer_id, name), value=value, seq=seq, not_after=not_after
    )
    return seal(identity, _DOMAIN, _PAYLOAD_TYPE, said.SerializeToString(deterministic=True))


def read_value(signed: bytes) -> bytes:
    """The payload of a validated value."""
    return _said(unverified_payload(signed)).value


def _publisher(key: bytes) -> PeerId:
    """The peer in a key: its id is a multihash, whose second byte is its length."""
    raw = key[len(OURS) :]
    size = 2 + raw[1] if len(raw) > 1 else 0
    name = raw[size:]
    if name and (name[:1] != b"/" or not 1 < len(name) <= 1 + MAX_NAME_BYTES):
        raise PeerFault("is not the name of a value")
    return PeerId.from_bytes(raw[:size])


def _said(payload: bytes) -> value_pb2.SignedValue:
    try:
        return value_pb2.SignedValue.FromString(payload)
    except DecodeError:
        raise PeerFault("not a SignedValue") from None


def _seq(signed: bytes) -> int:
    return _said(unverified_payload(signed)).seq


def _entry(value: bytes) -> ipns_pb2.IpnsEntry:
    try:
        return ipns_pb2.IpnsEntry.FromString(value)
    except DecodeError:
        raise PeerFault("not an IPNS record") from None


def _read_ipns(value: bytes) -> _Ipns:
    data = decode_map(_entry(value).data)
    sequence, validity, path = data.get("Sequence"), data.get("Validity"), data.get("Value")
    if not isinstance(sequence, int) or not isinstance(validity, bytes) or not isinstance(path, bytes):
        raise PeerFault("IPNS record lacks Sequence, Validity or Value")
    return _Ipns(sequence, validity, path)


def _ipns_order(value: bytes) -> tuple[int, float]:
    record = _read_ipns(value)
    return record.sequence, _end_of_life(record.validity)


def _end_of_life(validity: bytes) -> float:
    try:
        when = datetime.fromisoformat(validity.decode("ascii"))
        if when.tzinfo is None:
            raise ValueError
        return when.timestamp()
    except (ValueError, OverflowError):
        raise PeerFault("IPNS record has no expiry date") from None
