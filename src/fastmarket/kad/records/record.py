"""Values: their encoding, and the rules of the namespaces they belong to (specs kad-dht, "Entry validation").

A key `/name/...` belongs to namespace `name` and is refused unless there is a rule for it. Every other key
holds an opaque value, of which this package knows only the size: the last one put is kept, and of different
answers to a lookup the one that most peers agree on is taken. If that is not enough, sign the value and
supply a rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Protocol

from google.protobuf.message import DecodeError

from fastmarket.errors import PeerFault
from fastmarket.formats.identity import PublicKey
from fastmarket.kad.records.signed_values import IpnsRule, SignedValueRule
from fastmarket.pb.libp2p import kad_pb2

# A PeerId multihash is 34 to 42 bytes; a publisher field longer than this is not one.
MAX_PUBLISHER_BYTES = 80
MAX_TTL_S = 0xFFFFFFFF  # the field is a u32


class RecordRule(Protocol):
    """The rule of one namespace: pure functions of a record's contents."""

    def validate(self, key: bytes, value: bytes, now: float) -> None:
        """Raises PeerFault when `value` may not stand under `key`."""

    def select(self, key: bytes, values: Sequence[bytes]) -> int:
        """Index of the best of one or more valid values; independent of their order for equal content."""

    def replaces(self, key: bytes, new: bytes, old: bytes) -> bool:
        """Whether `new` may take the place of a stored `old`."""


class OpaqueRule:
    """Values without a namespace: any value is valid, the last put wins, and a lookup believes the
    majority."""

    def validate(self, key: bytes, value: bytes, now: float) -> None:
        """Refuses an empty value."""
        if not value:
            raise PeerFault("value is empty")

    def select(self, key: bytes, values: Sequence[bytes]) -> int:
        """The most frequent; among equals the greatest bytes, so that all nodes choose the same."""
        votes = Counter(values)
        best = max(votes, key=lambda value: (votes[value], value))
        return values.index(best)

    def replaces(self, key: bytes, new: bytes, old: bytes) -> bool:
        """Always."""
        return True


class PublicKeyRule:
    """`/pk/<peer id bytes>`: the public key of that peer."""

    def validate(self, key: bytes, value: bytes, now: float) -> None:
        """The key must hash to the id in the record's key."""
        if PublicKey.decode(value).peer_id.raw != key[len(b"/pk/") :]:
            raise PeerFault("public key belongs to another peer")

    def select(self, key: bytes, values: Sequence[bytes]) -> int:
        """All valid values are the same key."""
        return 0

    def replaces(self, key: bytes, new: bytes, old: bytes) -> bool:
        """Harmless: the same key."""
        return True


OPAQUE = OpaqueRule()
DEFAULT_RULES: Mapping[bytes, RecordRule] = MappingProxyType(
    {b"pk": PublicKeyRule(), b"ipns": IpnsRule(), b"fastmarket": SignedValueRule()}
)


def rule_for(rules: Mapping[bytes, RecordRule], key: bytes) -> RecordRule:
    """The rule for a key. Raises PeerFault for a namespace without a rule."""
    if key[:1] == b"/":
        name, slash, _ = key[1:].partition(b"/")
        if slash:
            rule = rules.get(name)
            if rule is None:
                raise PeerFault("unknown record namespace")
            return rule
    return OPAQUE


@dataclass(frozen=True, slots=True)
class Record:
    """A stored value. `expires` in unix seconds; `publisher` as rust-libp2p sends it, unverified."""

    key: bytes
    value: bytes
    received: float
    expires: float
    publisher: bytes = b""

    @property
    def size(self) -> int:
        """Bytes of key and value."""
        return len(self.key) + len(self.value)


def encode_record(record: Record, now: float) -> bytes:
    """The wire form, with the remaining lifetime in seconds."""
    ttl = min(int(max(record.expires - now, 1)), MAX_TTL_S)
    received = datetime.fromtimestamp(record.received, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    message = kad_pb2.Record(
        key=record.key, value=record.value, timeReceived=received, publisher=record.publisher, ttl=ttl
    )
    return message.SerializeToString(deterministic=True)


def decode_record(raw: bytes, max_ttl_s: float, now: float) -> Record:
    """A record received at `now`; a ttl of 0 or beyond `max_ttl_s` means `max_ttl_s`. Raises PeerFault."""
    try:
        message = kad_pb2.Record.FromString(raw)
    except DecodeError:
        raise PeerFault("record is malformed") from None
    if len(message.publisher) > MAX_PUBLISHER_BYTES:
        raise PeerFault("publisher is not a peer id")
    ttl = min(message.ttl, max_ttl_s) if message.ttl else max_ttl_s
    return Record(message.key, message.value, now, now + ttl, message.publisher)
