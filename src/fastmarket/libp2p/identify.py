"""/ipfs/id/1.0.0 and /ipfs/id/push/1.0.0 (specs: identify/README.md): what a peer tells about itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from google.protobuf.message import DecodeError

from fastmarket.errors import CallerFault, LimitExceeded, PeerFault
from fastmarket.formats.identity import PeerId, PublicKey
from fastmarket.formats.multiaddr import Multiaddr, parse_addrs
from fastmarket.formats.peer_record import decode_peer_record
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.formats.varint import FrameDecoder, frame
from fastmarket.libp2p.streams import ResponderFactory
from fastmarket.pb.libp2p.identify_pb2 import Identify

IDENTIFY_PROTOCOL = "/ipfs/id/1.0.0"
PUSH_PROTOCOL = "/ipfs/id/push/1.0.0"
MAX_OWN_MESSAGE_BYTES = 4096  # all that rust-libp2p reads, its length included
MAX_LENGTH_BYTES = 2  # before a message of so many
_OBSERVED = b"\x22"  # observedAddr is field 4
_MAX_OBSERVED_BYTES = 0x7F  # of one byte of length; an IPv6 address with its zone takes some 40
ROOM_TO_OBSERVE = MAX_LENGTH_BYTES + len(_OBSERVED) + 1 + _MAX_OBSERVED_BYTES
MAX_PART_BYTES = 8 << 10  # go-libp2p's bound for one message with a signed record
MAX_PARTS = 10  # into which go-libp2p may split it
MAX_LISTEN_ADDRS = 64  # a host with many interfaces and transports announces some 30
MAX_PROTOCOLS = 256  # a full go-ipfs node lists some 30
MAX_TEXT_CHARS = 256  # of a protocol id, agent or version; real ones stay below 100
_FAULT = "identify"


@dataclass(frozen=True, slots=True)
class IdentifyInfo:
    """One peer about itself; a field it did not send is empty.

    `certified` says that `listen_addrs` come from `signed_peer_record`, which that peer signed.
    """

    public_key: PublicKey | None = None
    listen_addrs: tuple[Multiaddr, ...] = ()
    protocols: tuple[str, ...] = ()
    observed_addr: Multiaddr | None = None
    protocol_version: str = ""
    agent_version: str = ""
    signed_peer_record: bytes = b""
    certified: bool = False


def encode_identify(info: IdentifyInfo) -> bytes:
    """The framed message, short enough for all readers: the signed record goes first, then addresses."""
    return frame(identify_body(info, MAX_OWN_MESSAGE_BYTES - MAX_LENGTH_BYTES))


def observing(body: bytes, observed: Multiaddr | None) -> bytes:
    """The framed message of a body without an observed address (`identify_body`, `ROOM_TO_OBSERVE` left), and
    that of one peer behind it: a field may stand anywhere."""
    if observed is None or len(observed.raw) > _MAX_OBSERVED_BYTES:
        return frame(body)
    return frame(body + _OBSERVED + bytes((len(observed.raw),)) + observed.raw)


def identify_body(info: IdentifyInfo, limit: int = MAX_OWN_MESSAGE_BYTES - ROOM_TO_OBSERVE) -> bytes:
    """The message of at most `limit` bytes, unframed: the signed record goes first, then addresses."""
    addrs = list(info.listen_addrs)
    record = info.signed_peer_record
    while True:
        message = Identify(
            listenAddrs=[addr.raw for addr in addrs],
            protocols=info.protocols,
            protocolVersion=info.protocol_version,
            agentVersion=info.agent_version,
        )
        if info.public_key is not None:
            message.publicKey = info.public_key.encode()
        if info.observed_addr is not None:
            message.observedAddr = info.observed_addr.raw
        if record:
            message.signedPeerRecord = record
        body = message.SerializeToString()
        if len(body) <= limit:
            return body
        if record:
            record = b""
        elif addrs:
            addrs.pop()
        else:
            raise CallerFault("protocols", f"do not fit into {limit} bytes")


class IdentifyCollector:
    """Gathers the messages of one stream until it ends, and merges them."""

    __slots__ = ("_decoder", "_merged", "_parts", "_remote_peer")

    def __init__(self, limit: int = MAX_PART_BYTES, *, remote_peer: PeerId | None = None) -> None:
        """`limit` bounds one message in bytes; `remote_peer`, if given, must have signed it."""
        self._decoder = FrameDecoder(limit)
        self._merged = Identify()
        self._parts = 0
        self._remote_peer = remote_peer

    def feed(self, data: bytes) -> None:
        """PeerFault when malformed or beyond the bounds."""
        for body in self._decoder.feed(data):
            self._parts += 1
            if self._parts > MAX_PARTS:
                raise LimitExceeded("messages", MAX_PARTS, protocol=_FAULT)
            try:
                # As protobuf merges: repeated fields add up, others replace.
                self._merged.MergeFromString(body)
            except DecodeError as error:
                raise PeerFault("malformed message", protocol=_FAULT) from error

    def finish(self) -> IdentifyInfo:
        """At the end of the stream; PeerFault when nothing whole came, or it speaks for another peer."""
        if not self._parts or self._decoder.pending:
            raise PeerFault("ended inside a message", protocol=_FAULT)
        message = self._merged
        info = IdentifyInfo(
            public_key=self._public_key(message.publicKey),
            listen_addrs=parse_addrs(message.listenAddrs, MAX_LISTEN_ADDRS),
            protocols=_texts(message.protocols),
            observed_addr=next(iter(parse_addrs([message.observedAddr], 1)), None),
            protocol_version=_text(message.protocolVersion),
            agent_version=_text(message.agentVersion),
        )
        return self._certify(info, message.signedPeerRecord)

    def _public_key(self, raw: bytes) -> PublicKey | None:
        if not raw:
            return None
        if self._remote_peer is not None and self._remote_peer.raw[2:] == raw:
            return self._remote_peer.public_key()  # an inlined key: nothing else to compare
        key = PublicKey.decode(raw)
        if self._remote_peer is not None and key.peer_id != self._remote_peer:
            raise PeerFault("another peer's key", protocol=_FAULT)
        return key

    def _certify(self, info: IdentifyInfo, raw: bytes) -> IdentifyInfo:
        """Addresses out of the signed record, if it is this peer's; another's is as good as none."""
        if not raw:
            return info
        try:
            record = decode_peer_record(raw)
        except PeerFault:
            return info
        owner = self._remote_peer or (info.public_key and info.public_key.peer_id)
        if record.peer_id != owner or not record.addrs:
            return info
        addrs = record.addrs[:MAX_LISTEN_ADDRS]
        return replace(info, listen_addrs=addrs, signed_peer_record=raw, certified=True)


def apply_push(old: IdentifyInfo, push: IdentifyInfo) -> IdentifyInfo:
    """`old` with every field that `push` brings (specs: identify, push)."""
    addrs = push if push.listen_addrs else old
    return IdentifyInfo(
        public_key=push.public_key or old.public_key,
        listen_addrs=addrs.listen_addrs,
        protocols=push.protocols or old.protocols,
        observed_addr=push.observed_addr or old.observed_addr,
        protocol_version=push.protocol_version or old.protocol_version,
        agent_version=push.agent_version or old.agent_version,
        signed_peer_record=addrs.signed_peer_record,
        certified=addrs.certified,
    )


class IdentifyResponder:
    """Writes the message, framed, and closes."""

    __slots__ = ("_message", "_peer", "is_finished", "is_quiet")

    def __init__(self, peer: RemotePeer, message: Callable[[RemotePeer], bytes]) -> None:
        self._peer = peer
        self._message = message
        self.is_finished = False
        self.is_quiet = False

    @classmethod
    def factory(cls, message: Callable[[RemotePeer], bytes]) -> ResponderFactory:
        """`message(peer)` is the framed message for that peer: `encode_identify`."""
        return lambda peer: cls(peer, message)

    def on_open(self, now: float) -> bytes:
        self.is_finished = True
        return self._message(self._peer)

    def on_data(self, data: bytes, now: float) -> bytes:
        return b""

    def on_end(self, now: float) -> bytes:
        return b""


class IdentifyPushResponder:
    """Collects what the peer pushes and hands it on when the stream ends."""

    __slots__ = ("_collector", "_peer", "_pushed", "is_finished", "is_quiet")

    def __init__(self, peer: RemotePeer, pushed: Callable[[RemotePeer, IdentifyInfo, float], None]) -> None:
        self._peer = peer
        self._pushed = pushed
        self._collector = IdentifyCollector(remote_peer=peer.peer_id)
        self.is_finished = False
        self.is_quiet = False

    @classmethod
    def factory(cls, pushed: Callable[[RemotePeer, IdentifyInfo, float], None]) -> ResponderFactory:
        """`pushed(peer, info, now)`; merge it into what is known by `apply_push`."""
        return lambda peer: cls(peer, pushed)

    def on_open(self, now: float) -> bytes:
        return b""

    def on_data(self, data: bytes, now: float) -> bytes:
        self._collector.feed(data)
        return b""

    def on_end(self, now: float) -> bytes:
        self._pushed(self._peer, self._collector.finish(), now)
        return b""


def _text(value: str | bytes) -> str:
    """proto2 strings that are not UTF-8 come out of the parser as bytes."""
    return value[:MAX_TEXT_CHARS] if isinstance(value, str) else ""


def _texts(values: Iterable[str | bytes]) -> tuple[str, ...]:
    """Different protocol ids; one too long is none of ours, so it is left out."""
    whole = (value for value in values if isinstance(value, str) and 0 < len(value) <= MAX_TEXT_CHARS)
    return tuple(dict.fromkeys(whole))[:MAX_PROTOCOLS]
