"""A peer's own signed statement of its addresses (libp2p specs: RFC/0003-routing-records.md)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from google.protobuf.message import DecodeError

from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.envelope import open_envelope, payload_type_of, seal
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.multiaddr import Multiaddr, parse_addrs
from fastmarket.pb.libp2p import envelope_pb2

DOMAIN = "libp2p-peer-record"
PAYLOAD_TYPE = b"\x03\x01"
# The form in the RFC, which rust-libp2p once sent; go, js and rust send the form above.
LEGACY_DOMAIN = "libp2p-routing-state"
LEGACY_PAYLOAD_TYPE = b"/libp2p/routing-state-record"
_DOMAINS = {PAYLOAD_TYPE: DOMAIN, LEGACY_PAYLOAD_TYPE: LEGACY_DOMAIN}

# A host with many interfaces, transports and relays announces some 30.
MAX_RECORD_ADDRS = 64
MAX_SEQ = 2**64 - 1


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """Of two records of a peer, the one with the higher `seq` wins; `seq` is not a time, even if it looks
    so."""

    peer_id: PeerId
    seq: int
    addrs: tuple[Multiaddr, ...]


def encode_peer_record(identity: Identity, addrs: Iterable[Multiaddr], seq: int) -> bytes:
    """A signed envelope with our addresses; CallerFault("seq") outside 0..2**64-1."""
    if not 0 <= seq <= MAX_SEQ:
        raise CallerFault("seq", f"{seq} is outside 0..2**64-1")
    message = envelope_pb2.PeerRecord(
        peer_id=identity.peer_id.raw,
        seq=seq,
        addresses=[envelope_pb2.PeerRecord.AddressInfo(multiaddr=addr.raw) for addr in addrs],
    )
    return seal(identity, DOMAIN, PAYLOAD_TYPE, message.SerializeToString())


# Records whose signatures need not be verified again: a peer shows the same record on each of its
# connections, and to each node of a process. Verification takes a tenth of the cost of a connection; 8 MiB at
# worst.
RECORD_CACHE = 1024


@lru_cache(maxsize=RECORD_CACHE)
def decode_peer_record(raw: bytes) -> PeerRecord:
    """The record signed by its peer, in either form; raises PeerFault if it is not.

    Unsupported addresses, and those beyond MAX_RECORD_ADDRS, are left out.
    """
    domain = _DOMAINS.get(payload_type_of(raw))
    if domain is None:
        raise PeerFault("not a peer record", protocol="peer record")
    envelope = open_envelope(raw, domain, payload_types=_DOMAINS)
    try:
        message = envelope_pb2.PeerRecord.FromString(envelope.payload)
    except DecodeError as error:
        raise PeerFault("not a PeerRecord message", protocol="peer record") from error
    if message.peer_id != envelope.peer_id.raw:
        raise PeerFault("signed by a peer other than its subject", protocol="peer record")
    addrs = parse_addrs((info.multiaddr for info in message.addresses), MAX_RECORD_ADDRS)
    return PeerRecord(envelope.peer_id, message.seq, addrs)
