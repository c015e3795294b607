"""The Kademlia message on the wire (specs kad-dht/README.md, "RPC messages").

Written by joining ready parts, read by walking the fields: a reply's peer entries are mostly ones seen
before, so each is looked up as the bytes it came in before it is parsed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

from google.protobuf.message import DecodeError

from fastmarket._peercache import PeerCache
from fastmarket.errors import PeerFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import parse_addrs
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.varint import encode_uvarint
from fastmarket.pb.libp2p import kad_pb2

# Peer entries as received and parsed, kept across messages; only small ones, so that strangers cannot make
# the cache hold more than some 8 MB.
PEER_CACHE_ENTRIES = 8192
PEER_CACHE_ENTRY_BYTES = 512
# Addresses read out of one cached peer entry.
PEER_CACHE_ADDRS = 16

# Of protobuf's encoding: 64 bits in groups of 7.
MAX_VARINT_BYTES = 10


class Kind(IntEnum):
    """MessageType."""

    PUT_VALUE = 0  # key, record; answered by the same
    GET_VALUE = 1  # key; answered by the record, if held, and closer peers
    ADD_PROVIDER = 2  # key, provider peers; not answered
    GET_PROVIDERS = 3  # key; answered by provider peers and closer peers
    FIND_NODE = 4  # key; answered by closer peers
    PING = 5  # out of use; rust-libp2p closes on it


class Field(IntEnum):
    """Field numbers of Message that we read."""

    TYPE = 1
    KEY = 2
    RECORD = 3
    CLOSER_PEERS = 8
    PROVIDER_PEERS = 9


_LENGTH_DELIMITED = 2
_CLOSER_TAG = Field.CLOSER_PEERS << 3 | _LENGTH_DELIMITED
_KEY_TAG = bytes((Field.KEY << 3 | _LENGTH_DELIMITED,))
_RECORD_TAG = bytes((Field.RECORD << 3 | _LENGTH_DELIMITED,))
# proto3 leaves zero out, and so does everyone for PUT_VALUE.
_TYPE_BYTES = {kind: bytes((Field.TYPE << 3, kind)) if kind else b"" for kind in Kind}


@dataclass(slots=True)
class Message:
    """One message; the peer entries and the record are still encoded."""

    kind: int = 0
    key: bytes = b""
    record: bytes | None = None
    closer: list[bytes] = field(default_factory=list)
    providers: list[bytes] = field(default_factory=list)


def decode_message(body: bytes, max_closer: int, max_providers: int) -> Message:
    """Read one message; entries beyond the two bounds are skipped. Raises PeerFault."""
    message = Message()
    bounded: dict[int, tuple[list[bytes], int]] = {
        Field.CLOSER_PEERS: (message.closer, max_closer),
        Field.PROVIDER_PEERS: (message.providers, max_providers),
    }
    at, end = 0, len(body)
    try:
        while at < end:
            tag = body[at]
            if tag & 0x80:
                tag, at = _varint(body, at)
            else:
                at += 1
            if tag & 7 != _LENGTH_DELIMITED:
                value, at = _skip_scalar(body, at, tag & 7)
                if tag >> 3 == Field.TYPE:
                    message.kind = value
                continue
            at, stop = _span(body, at, end)
            number = tag >> 3
            if number in bounded:
                entries, limit = bounded[number]
                if len(entries) < limit:
                    entries.append(body[at:stop])
                at = _take_run(body, stop, tag, entries, limit)
                continue
            if number == Field.KEY:
                message.key = body[at:stop]
            elif number == Field.RECORD:
                message.record = body[at:stop]
            at = stop
    except IndexError:
        raise PeerFault("message is cut short") from None
    return message


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """A varint as protobuf has them: up to 10 bytes (negative numbers), not necessarily the shortest form."""
    value = 0
    for shift in range(0, 7 * MAX_VARINT_BYTES, 7):
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise PeerFault("varint without end")


def _span(body: bytes, at: int, end: int) -> tuple[int, int]:
    """Where a length-delimited value begins and ends; its length stands at `at`."""
    size = body[at]
    if size & 0x80:
        size, at = _varint(body, at)
    else:
        at += 1
    if at + size > end:
        raise PeerFault("message is cut short")
    return at, at + size


def _take_run(body: bytes, at: int, tag: int, entries: list[bytes], limit: int) -> int:
    """Take the short entries that follow one of the same tag; where they end.

    A reply is 20 of them in a row: this loop is most of what a lookup spends on decoding.
    """
    end, room = len(body), limit - len(entries)
    while at + 1 < end and body[at] == tag and room > 0:
        size = body[at + 1]
        stop = at + 2 + size
        if size & 0x80 or stop > end:
            break  # a long or a broken one: the caller's care
        entries.append(body[at + 2 : stop])
        at = stop
        room -= 1
    return at


def _skip_scalar(body: bytes, at: int, wire: int) -> tuple[int, int]:
    """(value of a varint or 0, offset behind the field)."""
    if wire == 0:
        return _varint(body, at)
    size = {1: 8, 5: 4}.get(wire)
    if size is None or at + size > len(body):
        raise PeerFault("message has a malformed field")
    return 0, at + size


def encode_request(kind: Kind, key: bytes) -> bytes:
    """A message of a type and a key alone."""
    return _TYPE_BYTES[kind] + _KEY_TAG + encode_uvarint(len(key)) + key


def encode_put(key: bytes, record: bytes) -> bytes:
    """PUT_VALUE, and its echo, of an encoded record."""
    return encode_request(Kind.PUT_VALUE, key) + _RECORD_TAG + encode_uvarint(len(record)) + record


def encode_reply(kind: Kind, parts: Iterable[bytes], record: bytes | None = None) -> bytes:
    """A reply of ready-encoded peer entries (tags included)."""
    if record is None:
        return _TYPE_BYTES[kind] + b"".join(parts)
    return _TYPE_BYTES[kind] + _RECORD_TAG + encode_uvarint(len(record)) + record + b"".join(parts)


def encode_peer(number: Field, peer: PeerInfo, limit: int) -> bytes:
    """A peer as entry of field `number`; addresses that do not fit in `limit` bytes are left out."""
    raw = peer.peer_id.raw
    body = bytearray(b"\x0a" + encode_uvarint(len(raw)) + raw)
    for addr in peer.addrs:
        size = len(addr.raw)
        if len(body) + size + 8 <= limit:  # 8: two tags and two lengths
            body += b"\x12" + encode_uvarint(size) + addr.raw
    return bytes((number << 3 | _LENGTH_DELIMITED,)) + encode_uvarint(len(body)) + bytes(body)


def _parse_peer(raw: bytes, max_addrs: int) -> PeerInfo | None:
    """The peer of one entry; None when its id is none (others in the message may still be good)."""
    try:
        peer = kad_pb2.Message.Peer.FromString(raw)
        return PeerInfo(PeerId.from_bytes(peer.id), parse_addrs(peer.addrs, max_addrs))
    except (DecodeError, PeerFault):
        return None


PEERS: PeerCache[PeerInfo] = PeerCache(
    PEER_CACHE_ENTRIES, PEER_CACHE_ENTRY_BYTES, lambda raw: _parse_peer(raw, PEER_CACHE_ADDRS)
)
"""Of this process: who simulates more peers than it holds makes it larger."""


def read_closer(
    payload: bytes, kind: Kind | None, max_closer: int, max_addrs: int
) -> tuple[PeerInfo, ...] | None:
    """The peers of a reply that is of that type and names peers, nothing else; None of any other.

    `kind` None: of another protocol's reply, which has closerPeers like a kad message and no type; None, too,
    when one of them is malformed.
    """
    if max_addrs != PEER_CACHE_ADDRS:
        return None
    head = b"" if kind is None else _TYPE_BYTES[kind]
    return PEERS.read_all(payload, head, _CLOSER_TAG, max_closer, kind is None)


def decode_peers(entries: Iterable[bytes], max_addrs: int, max_peer_bytes: int) -> tuple[PeerInfo, ...]:
    """The well-formed peers among `entries`, in order."""
    cached = PEER_CACHE_ENTRY_BYTES if max_addrs == PEER_CACHE_ADDRS else -1
    peers = [
        PEERS.get(raw) if len(raw) <= cached else _parse_peer(raw, max_addrs)
        for raw in entries
        if len(raw) <= max_peer_bytes
    ]
    return tuple(peer for peer in peers if peer is not None)
