"""Connections: their upgrade, their streams, what describes a peer, and names that lead to one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random
from struct import pack
from typing import Final

from fastmarket.core.events import PeerIdentified
from fastmarket.errors import CallerFault, DialFailed, PeerFault
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.peer_record import encode_peer_record
from fastmarket.formats.varint import frame
from fastmarket.libp2p.identify import (
    IdentifyCollector,
    IdentifyInfo,
    apply_push,
    encode_identify,
    identify_body,
)
from fastmarket.libp2p.mdns import MAX_ADDRS, is_local, peer_in, text_of
from fastmarket.libp2p.multistream import (
    HEADER,
    DialerNegotiation,
    ListenerNegotiation,
    encode_token,
    read_opening,
)
from fastmarket.libp2p.muxed import ConnectionState, Role
from fastmarket.libp2p.observed import Report
from fastmarket.libp2p.tcp.connection import Connection
from fastmarket.libp2p.tcp.noise import LENGTH_BYTES, CipherState
from fastmarket.libp2p.tcp.secure import NoiseStatic, SecureHandshake
from fastmarket.native.sodium import Aead
from fastmarket.net.resolver import Resolver
from tests.fuzz.pair import OURS, THEIRS, pieces
from tests.fuzz.target import Shape, Target
from tests.fuzz.targets.kad import whole
from tests.fuzz.values import ADDR_TEXTS, ADDRS, NOW, PEERS
from tests.fuzz.world import World

# -- the upgrade

STATICS: Final = tuple(NoiseStatic.create(peer, Random(at).randbytes) for at, peer in enumerate(PEERS))
SUPPORTED: Final = frozenset({"/noise", "/yamux/1.0.0"})
LARGEST_FRAME: Final = 0xFFFF


def _entropy() -> Callable[[int], bytes]:
    return Random(5).randbytes


def noise_payload(data: bytes) -> object:
    """Well encrypted, by a peer that holds its Noise key: what it says of its identity is changed."""
    evil = NoiseStatic(STATICS[1].private, data, True)
    dialer = SecureHandshake(STATICS[0], initiator=True, entropy=_entropy())
    listener = SecureHandshake(evil, initiator=False, entropy=Random(6).randbytes)
    reply = listener.receive(dialer.opening())
    assert reply is not None
    dialer.receive(reply)
    assert dialer.session is not None
    assert dialer.session.remote_peer == PEERS[1].peer_id, "another peer's identity is believed"
    return dialer.session.early_muxer


class QuickPayload:
    """The payload alone, which came with the key of an honest peer."""

    def __init__(self) -> None:
        self._end = SecureHandshake(STATICS[0], initiator=True, entropy=_entropy())
        self._end._handshake.remote_static = STATICS[1].private.public

    def __call__(self, data: bytes) -> object:
        key, is_early = self._end._authenticate(data)
        assert key.peer_id == PEERS[1].peer_id, "another peer's identity is believed"
        return is_early


def noise_handshake(data: bytes) -> object:
    """The first byte says which of the three messages the rest takes the place of."""
    which, message = data[:1], data[1:]
    dialer = SecureHandshake(STATICS[0], initiator=True, entropy=_entropy())
    listener = SecureHandshake(STATICS[1], initiator=False, entropy=Random(6).randbytes)
    opening = dialer.opening() if which != b"\0" else message
    reply = listener.receive(opening)
    assert reply is not None
    last = dialer.receive(reply if which != b"\1" else message)
    assert last is not None
    listener.receive(last if which not in (b"\2", b"") else message)
    assert dialer.session is not None
    assert listener.session is not None
    assert listener.session.remote_peer == PEERS[0].peer_id
    return len(last)


def _handshake_seeds() -> list[bytes]:
    dialer = SecureHandshake(STATICS[0], initiator=True, entropy=_entropy())
    listener = SecureHandshake(STATICS[1], initiator=False, entropy=Random(6).randbytes)
    opening = dialer.opening()
    reply = listener.receive(opening) or b""
    last = dialer.receive(reply) or b""
    return [b"\0" + opening, b"\1" + reply, b"\2" + last]


def noise_frames(data: bytes) -> object:
    """Transport frames: those that our peer sealed are opened, each once and in order, and no others."""
    sealing, opening = CipherState(bytes(32)), CipherState(bytes(32))
    honest = sealing.seal(bytearray(b"first")), sealing.seal(bytearray(b"second" * 30))
    at, opened = 0, list[bytes]()
    while len(data) - at > 2:
        start, end = at + 2, at + 2 + int.from_bytes(data[at : at + 2], "big")
        if end > len(data):
            break
        opened.append(opening.decrypt_part(data, start, end))
        at = end
    assert b"".join(honest[: len(opened)]) == data[:at], "a forged frame is opened"
    return len(opened)


def _frame_seeds() -> list[bytes]:
    sealing = CipherState(bytes(32))
    first, second = sealing.seal(bytearray(b"first")), sealing.seal(bytearray(b"second" * 30))
    return [first, first + second, first + second + bytes(2), pack(">H", 5000) + bytes(5000)]


def upgrade(data: bytes) -> object:
    """The first bytes of a stranger, whole and in pieces, to a connection of each role."""
    outcomes = []
    for role in (Role.LISTENER, Role.DIALER):
        for size in (0, 1, 7):
            end = Connection(OURS, role, now=NOW)
            end.data_to_send()
            for piece in pieces(data, size):
                end.receive_data(piece, NOW)
                end.data_to_send()
            assert end.state is not ConnectionState.OPEN, "an upgrade without the peer's key"
            assert end.held_bytes < 64 << 10
            outcomes.append(end.state)
            end.handle_timer(NOW + 60)
            assert end.state is ConnectionState.CLOSED, "a handshake without end"
    assert len(set(outcomes[:3])) == 1, f"pieces differ: {outcomes}"
    if ConnectionState.CLOSED in outcomes:
        raise PeerFault("refused")
    return outcomes


def _opening_seeds() -> list[bytes]:
    opening = Connection(THEIRS, Role.DIALER, now=NOW).data_to_send()
    accepted = HEADER + encode_token("/noise")
    return [opening, accepted, accepted + pack(">H", 200) + bytes(200), HEADER + encode_token("na")]


def multistream(data: bytes) -> object:
    """A listener: the same whole and in pieces, and the quick reader of openings agrees with it."""
    outcomes = [_listen(data, size) for size in (0, 1, 5)]
    assert outcomes[0] == outcomes[1] == outcomes[2], f"pieces differ: {outcomes}"
    opened = read_opening(data, SUPPORTED)
    if opened is not None:
        assert outcomes[0] == (opened[0], data[opened[1] :]), "the quick reader differs"
    for lazy in (False, True):
        dialer = DialerNegotiation(["/a", "/noise"], lazy=lazy)
        dialer.opening()
        with suppress(PeerFault):
            dialer.receive(data)
    if outcomes[0] == "fault":
        raise PeerFault("refused")
    return outcomes[0]


def _listen(data: bytes, size: int) -> object:
    negotiation, reply = ListenerNegotiation(SUPPORTED, max_proposals=8), b""
    rest = b""
    try:
        for piece in pieces(data, size):
            if negotiation.chosen is not None:
                rest += piece
                continue
            reply += negotiation.receive(piece)
    except PeerFault:
        return "fault"
    if negotiation.declined:
        return "declined"
    return negotiation.chosen, (negotiation.rest + rest if negotiation.chosen is not None else b"")


def _token_seeds() -> list[bytes]:
    proposals = ("/noise", "na", "/yamux/1.0.0", "x" * 900, "ls")
    return [
        HEADER,
        *(HEADER + encode_token(one) for one in proposals),
        HEADER + b"".join(map(encode_token, proposals)),
        HEADER + encode_token("/noise") + bytes(40),
    ]


class QuickUpgrade:
    """A connection of one role, with the first bytes of a stranger."""

    def __init__(self, role: Role) -> None:
        self._role = role

    def __call__(self, data: bytes) -> object:
        end = Connection(OURS, self._role, now=NOW)
        end.receive_data(data, NOW)
        assert end.state is not ConnectionState.OPEN, "an upgrade without the peer's key"
        return None


QUICK_CIPHER: Final = Aead(bytes(32))


def quick_frames(data: bytes) -> object:
    """Each at the place of the first one."""
    at = 0
    while len(data) - at > LENGTH_BYTES:
        start, end = (
            at + LENGTH_BYTES,
            at + LENGTH_BYTES + int.from_bytes(data[at : at + LENGTH_BYTES], "big"),
        )
        if end > len(data):
            break
        if QUICK_CIPHER.decrypt_part(0, data, start, end) is None:
            raise PeerFault("message does not decrypt")
        at = end
    return at


def quick_multistream(data: bytes) -> object:
    return ListenerNegotiation(SUPPORTED, max_proposals=8).receive(data)


# -- what describes a peer


def quick_identify(data: bytes) -> object:
    collector = IdentifyCollector()
    collector.feed(frame(data))
    return collector.finish()


def _infos() -> list[bytes]:
    return [
        identify_body(
            IdentifyInfo(
                peer.public_key,
                ADDRS[number : number + 6],
                ("/a/1", "/ipfs/kad/1.0.0"),
                ADDRS[number],
                "ipfs/0.1.0",
                "fastmarket/1",
                encode_peer_record(peer, ADDRS[:5], 7),
            )
        )
        for number, peer in enumerate(PEERS)
    ]


def identify(data: bytes) -> object:
    collector = IdentifyCollector()
    collector.feed(frame(data))
    info = collector.finish()
    encode_identify(info)
    again = IdentifyCollector()
    again.feed(frame(identify_body(info, 64 << 10)))
    assert again.finish() == info
    assert apply_push(IdentifyInfo(), info).protocols == info.protocols
    return info.listen_addrs


def _identified(world: World, data: bytes) -> object:
    """The way of a peer's description through a host to the whole node, as identify and as push."""
    hostile, now = world.hostile.peer_id, world.net.now
    collector = IdentifyCollector(remote_peer=hostile)
    for piece in pieces(frame(data), 1000):
        collector.feed(piece)
    info = collector.finish()
    for told in (info, apply_push(IdentifyInfo(), info)):
        world.store.identified(hostile, told, now)
        if told.observed_addr is not None:
            world.own_addrs.report(Report(hostile, ADDRS[0], told.observed_addr, True), now)
        world.own_addrs.refresh(now)
        peer = PeerInfo(hostile, world.store.addrs(hostile, now))
        world.node.core.handle_peer(PeerIdentified(peer, frozenset(told.protocols)), now)
        world.node.turn()
    for addr in world.store.addrs(hostile):
        world.own_addrs.told_to(addr)
        if (endpoint := addr.host_port()) is not None and endpoint.kind in ("ip4", "ip6"):
            world.own_addrs.may_dial(endpoint.host)
    return info.listen_addrs


def dnsaddr(data: bytes) -> object:
    """A TXT record of a name, as it comes from the wire: strings behind their lengths."""
    from dns.exception import DNSException
    from dns.rdata import from_wire
    from dns.rdataclass import IN
    from dns.rdatatype import TXT as TXT_TYPE
    from dns.rdtypes.ANY.TXT import TXT

    try:
        record = from_wire(IN, TXT_TYPE, data, 0, len(data))
    except DNSException:
        raise PeerFault("not a TXT record") from None
    assert isinstance(record, TXT)
    strings = record.strings

    class Answers(Resolver):
        """The network left out."""

        async def _texts(self, name: str) -> list[str]:
            return [b"".join(strings).decode("utf-8", "replace")]

    asked = Answers((), 1.0).dnsaddr(Multiaddr.from_text("/dnsaddr/x.example"), PEERS[0].peer_id)
    try:
        asked.send(None)
    except StopIteration as ended:
        found: list[Multiaddr] = ended.value
        for addr in found:
            addr.host_port()
            assert addr.peer_id in (None, PEERS[0].peer_id)
        return found
    raise AssertionError("waits for something")


def mdns(data: bytes) -> object:
    """A TXT record of a node in the local network; what is read of it is told again in the same way."""
    peer = peer_in(data)
    if peer is None:
        raise PeerFault("tells of no peer")
    assert 0 < len(peer.addrs) <= MAX_ADDRS
    assert all(map(is_local, peer.addrs))
    told = text_of(peer.peer_id, peer.addrs)
    assert peer_in(told) in (peer, None)  # None: too long for a record's string
    return peer.addrs


def _local_texts() -> list[bytes]:
    local = [Multiaddr.from_endpoint(ip, 4001) for ip in ("10.0.0.7", "192.168.1.20", "fd00::7")]
    told = text_of(PEERS[0].peer_id, local)
    return [told, told + text_of(PEERS[1].peer_id, local[:1]), b"\x05other" + told, *_texts()]


def _texts() -> list[bytes]:
    lines = [f"dnsaddr={text}".encode() for text in ADDR_TEXTS if len(text) < 240]
    return [*(bytes((len(line),)) + line for line in lines), b"\x08dnsaddr=\x1a/ip4/192.0.2.1/tcp/4001"]


_TCP = "fastmarket.libp2p.tcp"

TARGETS: tuple[Target, ...] = (
    Target(
        "noise-payload",
        f"{_TCP}.secure.SecureHandshake",
        lambda: [one.payload for one in STATICS],
        noise_payload,
        (PeerFault,),
        Shape.PROTOBUF,
        first=True,
        quick=QuickPayload(),
    ),
    Target(
        "noise-handshake",
        f"{_TCP}.secure.SecureHandshake.receive",
        _handshake_seeds,
        noise_handshake,
        (PeerFault,),
        Shape.BYTES,
    ),
    Target(
        "noise-frames",
        f"{_TCP}.noise.CipherState.decrypt_part",
        _frame_seeds,
        noise_frames,
        (PeerFault,),
        Shape.NOISE,
        longest=LARGEST_FRAME,
        quick=quick_frames,
        first=True,
    ),
    Target(
        "upgrade",
        f"{_TCP}.connection.Connection.receive_data",
        _opening_seeds,
        upgrade,
        (PeerFault,),
        Shape.BYTES,
        first=True,
        quick=QuickUpgrade(Role.LISTENER),
    ),
    Target(
        "multistream",
        "fastmarket.libp2p.multistream.ListenerNegotiation.receive",
        _token_seeds,
        multistream,
        (PeerFault,),
        Shape.VARINT_FRAMES,
        first=True,
        quick=quick_multistream,
    ),
    Target(
        "identify",
        "fastmarket.libp2p.identify.IdentifyCollector",
        _infos,
        identify,
        (PeerFault,),
        Shape.PROTOBUF,
        first=True,
        quick=quick_identify,
    ),
    whole("identify-node", "fastmarket.core.node.NodeCore.handle_peer", _infos, _identified),
    Target(
        "dnsaddr",
        "fastmarket.net.resolver.Resolver.dnsaddr",
        _texts,
        dnsaddr,
        (PeerFault, DialFailed, CallerFault),
        Shape.VARINT_FRAMES,
    ),
    Target(
        "mdns",
        "fastmarket.libp2p.mdns.peer_in",
        _local_texts,
        mdns,
        (PeerFault,),
        Shape.VARINT_FRAMES,
    ),
)
