"""The Kademlia message on the wire (specs kad-dht/README.md, "RPC messages").

Encoding joins encoded parts; decoding walks over the fields. The peer entries of a reply have mostly been
seen before, so each is looked up by its bytes before it is parsed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from google.protobuf.message import DecodeError

from fastmarket.errors import PeerFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import parse_addrs
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.varint import encode_uvarint
from fastmarket.native.kad_fields import message_fields
from fastmarket.native.peer_cache import PeerInfoCache
from fastmarket.pb.libp2p import kad_pb2

# Parsed peer entries, cached across messages by their bytes; only small ones, so that strangers cannot make
# the cache exceed some 8 MB.
PEER_CACHE_ENTRIES: Final = 8192
PEER_CACHE_ENTRY_BYTES: Final = 512
# Addresses kept of one cached peer entry.
PEER_CACHE_ADDRS: Final = 16


class Kind(IntEnum):
    """MessageType."""

    PUT_VALUE = 0  # key, record; answered by the same
    GET_VALUE = 1  # key; answered by the record, if held, and closer peers
    ADD_PROVIDER = 2  # key, provider peers; not answered
    GET_PROVIDERS = 3  # key; answered by provider peers and closer peers
    FIND_NODE = 4  # key; answered by closer peers
    PING = 5  # deprecated; rust-libp2p closes on it


class Field(IntEnum):
    """The field numbers of Message that we read."""

    TYPE = 1
    KEY = 2
    RECORD = 3
    CLOSER_PEERS = 8
    PROVIDER_PEERS = 9


_LENGTH_DELIMITED: Final = 2
_CLOSER_TAG: Final = Field.CLOSER_PEERS << 3 | _LENGTH_DELIMITED
_KEY_TAG: Final = bytes((Field.KEY << 3 | _LENGTH_DELIMITED,))
_RECORD_TAG: Final = bytes((Field.RECORD << 3 | _LENGTH_DELIMITED,))
# proto3 omits zero, and so do all implementations for PUT_VALUE.
_TYPE_BYTES: Final = [bytes((Field.TYPE << 3, kind)) if kind else b"" for kind in Kind]  # by kind


@dataclass(slots=True)
class Message:
    """One message; its peer entries and its record are still encoded."""

    kind: int = 0
    key: bytes = b""
    record: bytes | None = None
    closer: list[bytes] = field(default_factory=list)
    providers: list[bytes] = field(default_factory=list)


def decode_message(body: bytes, max_closer: int, max_providers: int) -> Message:
    """Decodes one message; entries beyond the two bounds are skipped. Raises PeerFault."""
    try:
        return Message(*message_fields(body, max_closer, max_providers))
    except ValueError as error:
        raise PeerFault(str(error)) from None


def encode_request(kind: Kind, key: bytes) -> bytes:
    """A message with only a type and a key."""
    return _TYPE_BYTES[kind] + _KEY_TAG + encode_uvarint(len(key)) + key


def encode_put(key: bytes, record: bytes) -> bytes:
    """PUT_VALUE of an encoded record, and its echo."""
    return encode_request(Kind.PUT_VALUE, key) + _RECORD_TAG + encode_uvarint(len(record)) + record


def encode_reply(kind: Kind, parts: Iterable[bytes], record: bytes | None = None) -> bytes:
    """A reply of encoded peer entries (with tags)."""
    if record is None:
        return _TYPE_BYTES[kind] + b"".join(parts)
    return _TYPE_BYTES[kind] + _RECORD_TAG + encode_uvarint(len(record)) + record + b"".join(parts)


def encode_peer(number: Field, peer: PeerInfo, limit: int) -> bytes:
    """A peer as an entry of field `number`; addresses that do not fit into `limit` bytes are omitted."""
    raw = peer.peer_id.raw
    body = b"\x0a" + encode_uvarint(len(raw)) + raw
    for addr in peer.addrs:
        size = len(addr.raw)
        if len(body) + size + 8 <= limit:  # 8: two tags and two lengths
            body += b"\x12" + encode_uvarint(size) + addr.raw
    return bytes((number << 3 | _LENGTH_DELIMITED,)) + encode_uvarint(len(body)) + body


def _parse_peer(raw: bytes, max_addrs: int) -> PeerInfo | None:
    """The peer of one entry; None if its id is invalid (other entries of the message may still be good)."""
    try:
        peer = kad_pb2.Message.Peer.FromString(raw)
        return PeerInfo(PeerId.from_bytes(peer.id), parse_addrs(peer.addrs, max_addrs))
    except (DecodeError, PeerFault):
        return None


def read_peer(raw: bytes) -> PeerInfo | None:
    """The cached peer of one entry."""
    return _parse_peer(raw, PEER_CACHE_ADDRS)


PEERS: Final[PeerInfoCache[PeerInfo]] = PeerInfoCache(PEER_CACHE_ENTRIES, PEER_CACHE_ENTRY_BYTES, read_peer)
"""One for the process. A program that simulates more peers than fit makes it larger."""


def read_closer(
    payload: bytes, kind: Kind | None, max_closer: int, max_addrs: int
) -> tuple[PeerInfo, ...] | None:
    """The peers of a reply that is of that type and contains only peers; None for any other, or if a peer is
    malformed.

    `kind` None: a reply of another protocol that has closerPeers like a kad message, and no type.
    """
    if max_addrs != PEER_CACHE_ADDRS:
        return None
    head = b"" if kind is None else _TYPE_BYTES[kind]
    return PEERS.read_all(payload, head, _CLOSER_TAG, max_closer, kind is None)


def decode_peers(entries: Collection[bytes], max_addrs: int, max_peer_bytes: int) -> tuple[PeerInfo, ...]:
    """The well-formed peers among `entries`, in order."""
    small = PEER_CACHE_ENTRY_BYTES if max_addrs == PEER_CACHE_ADDRS else -1
    if max(map(len, entries), default=0) <= min(small, max_peer_bytes):
        return tuple(filter(None, map(PEERS.get, entries)))  # the usual case
    peers = [
        PEERS.get(raw) if len(raw) <= small else _parse_peer(raw, max_addrs)
        for raw in entries
        if len(raw) <= max_peer_bytes
    ]
    return tuple(filter(None, peers))
