"""/ipfs/id/1.0.0 and /ipfs/id/push/1.0.0 (specs: identify/README.md): peers describe themselves."""

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
MAX_OWN_MESSAGE_BYTES = 4096  # the maximum of rust-libp2p, including the length
MAX_LENGTH_BYTES = 2  # length prefix of such a message
_OBSERVED = b"\x22"  # observedAddr is field 4
_MAX_OBSERVED_BYTES = 0x7F  # with a one-byte length; an IPv6 address with zone takes some 40
ROOM_TO_OBSERVE = MAX_LENGTH_BYTES + len(_OBSERVED) + 1 + _MAX_OBSERVED_BYTES
MAX_PART_BYTES = 8 << 10  # go-libp2p's limit for one message with a signed record
MAX_PARTS = 10  # into which go-libp2p may split it
MAX_LISTEN_ADDRS = 64  # a host with many interfaces and transports announces some 30
MAX_PROTOCOLS = 256  # a full go-ipfs node lists some 30
MAX_TEXT_CHARS = 256  # of a protocol id, agent or version; real ones stay below 100
_FAULT = "identify"


@dataclass(frozen=True, slots=True)
class IdentifyInfo:
    """One peer's description of itself; fields it did not send are empty.

    `certified`: `listen_addrs` come from `signed_peer_record`, which that peer signed.
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
    """The framed message, short enough for all readers: drops the signed record first, then addresses."""
    return frame(identify_body(info, MAX_OWN_MESSAGE_BYTES - MAX_LENGTH_BYTES))


def observing(body: bytes, observed: Multiaddr | None) -> bytes:
    """The framed message of a body without an observed address (`identify_body`, with `ROOM_TO_OBSERVE`
    left), with the observed address of one peer appended: protobuf fields may come in any order."""
    if observed is None or len(observed.raw) > _MAX_OBSERVED_BYTES:
        return frame(body)
    return frame(body + _OBSERVED + bytes((len(observed.raw),)) + observed.raw)


def identify_body(info: IdentifyInfo, limit: int = MAX_OWN_MESSAGE_BYTES - ROOM_TO_OBSERVE) -> bytes:
    """The unframed message, at most `limit` bytes: drops the signed record first, then addresses."""
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
    """Collects the messages of one stream until it ends, and merges them."""

    __slots__ = ("_decoder", "_merged", "_parts", "_remote_peer")

    def __init__(self, limit: int = MAX_PART_BYTES, *, remote_peer: PeerId | None = None) -> None:
        """`limit`: maximum bytes of a message; `remote_peer`: if given, the peer whose keys must match."""
        self._decoder = FrameDecoder(limit)
        self._merged = Identify()
        self._parts = 0
        self._remote_peer = remote_peer

    def feed(self, data: bytes) -> None:
        """Raises PeerFault if a message is malformed or exceeds the limits."""
        for body in self._decoder.feed(data):
            self._parts += 1
            if self._parts > MAX_PARTS:
                raise LimitExceeded("messages", MAX_PARTS, protocol=_FAULT)
            try:
                # As protobuf merges: repeated fields are concatenated, others replaced.
                self._merged.MergeFromString(body)
            except DecodeError as error:
                raise PeerFault("malformed message", protocol=_FAULT) from error

    def finish(self) -> IdentifyInfo:
        """Call at the end of the stream; raises PeerFault if it is incomplete, or has another peer's key."""
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
            return self._remote_peer.public_key()  # an inlined key: no other comparison needed
        key = PublicKey.decode(raw)
        if self._remote_peer is not None and key.peer_id != self._remote_peer:
            raise PeerFault("the key belongs to another peer", protocol=_FAULT)
        return key

    def _certify(self, info: IdentifyInfo, raw: bytes) -> IdentifyInfo:
        """Takes addresses from the signed record if it is this peer's; any other record is ignored."""
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
    """`old`, updated with every field present in `push` (specs: identify, push)."""
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
    """Writes the framed message, and closes."""

    __slots__ = ("_message", "_peer", "is_finished", "is_quiet")

    def __init__(self, peer: RemotePeer, message: Callable[[RemotePeer], bytes]) -> None:
        self._peer = peer
        self._message = message
        self.is_finished = False
        self.is_quiet = False

    @classmethod
    def factory(cls, message: Callable[[RemotePeer], bytes]) -> ResponderFactory:
        """`message(peer)` returns the framed message for that peer: see `encode_identify`."""
        return lambda peer: cls(peer, message)

    def on_open(self, now: float) -> bytes:
        self.is_finished = True
        return self._message(self._peer)

    def on_data(self, data: bytes, now: float) -> bytes:
        return b""

    def on_end(self, now: float) -> bytes:
        return b""


class IdentifyPushResponder:
    """Collects a push, and passes it on when the stream ends."""

    __slots__ = ("_collector", "_peer", "_pushed", "is_finished", "is_quiet")

    def __init__(self, peer: RemotePeer, pushed: Callable[[RemotePeer, IdentifyInfo, float], None]) -> None:
        self._peer = peer
        self._pushed = pushed
        self._collector = IdentifyCollector(remote_peer=peer.peer_id)
        self.is_finished = False
        self.is_quiet = False

    @classmethod
    def factory(cls, pushed: Callable[[RemotePeer, IdentifyInfo, float], None]) -> ResponderFactory:
        """`pushed(peer, info, now)` is called; merge it with `apply_push`."""
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
    """The parser returns proto2 strings that are not UTF-8 as bytes."""
    return value[:MAX_TEXT_CHARS] if isinstance(value, str) else ""


def _texts(values: Iterable[str | bytes]) -> tuple[str, ...]:
    """Distinct protocol ids; overlong ones are dropped, since they cannot be ours."""
    whole = (value for value in values if isinstance(value, str) and 0 < len(value) <= MAX_TEXT_CHARS)
    return tuple(dict.fromkeys(whole))[:MAX_PROTOCOLS]
