"""Nodes of one local network (libp2p/specs discovery/mdns.md): what a node says of itself there, and which of
those it heard of it should meet. Sans-IO; the packets are the work of a library (`net.local_network`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from fastmarket.bounded_map import BoundedMap
from fastmarket.errors import CallerFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.scope import AddressScope, ip_of, scope_of

SERVICE = "_p2p._udp.local."
NAME_BYTES = 16  # of a node's name in hexadecimal: the specification asks for 32 to 63 characters
MAX_STRING = 255  # bytes of one string of a TXT record (RFC 1035 section 3.3.14)
MAX_ADDRS = 16  # told of one node, and read; a host has a handful of interfaces
MAX_TEXT = 8 * 1024  # bytes read of one TXT record: 16 addresses, and what other programs add
MAX_HEARD = 256  # peers remembered; a larger network finds itself through the DHT
MAX_MEETINGS = 8  # dials at once: an evening's worth of false names costs little
MEET_AGAIN_S = 60.0  # until a peer is tried again by a node that knows no other

_PREFIX = b"dnsaddr="


def is_local(addr: Multiaddr) -> bool:
    """Whether it is told and dialed there: of private networks, neither loopback nor link-local IPv6, which
    wants the name of an interface.

    A stranger in the network cannot make all its nodes dial a machine outside.
    """
    ip = ip_of(addr)
    if ip is None or scope_of(ip) is not AddressScope.PRIVATE:
        return False
    return ip.version == 4 or not ip.is_link_local


def text_of(peer_id: PeerId, addrs: Iterable[Multiaddr]) -> bytes:
    """The TXT record of a node at these addresses, each with /p2p; empty if none is of use there."""
    text = b""
    for addr in [addr for addr in addrs if is_local(addr)][:MAX_ADDRS]:
        one = _PREFIX + str(addr.with_peer(peer_id)).encode()
        if len(one) <= MAX_STRING:
            text += bytes((len(one),)) + one
    return text


def peer_in(text: bytes) -> PeerInfo | None:
    """The peer that a TXT record tells of, with its local addresses; None if there is none.

    What is not an address is ignored, as are further peers: a record is one node's.
    """
    peer_id: PeerId | None = None
    addrs: list[Multiaddr] = []
    for one in _strings(text[:MAX_TEXT]):
        if len(addrs) == MAX_ADDRS or not one.startswith(_PREFIX):
            continue
        try:
            addr = Multiaddr.from_text(one[len(_PREFIX) :].decode("ascii"))
        except (CallerFault, UnicodeDecodeError):
            continue
        if addr.peer_id is None or not is_local(addr.without_peer()):
            continue
        peer_id = peer_id or addr.peer_id
        if addr.peer_id == peer_id:
            addrs.append(addr.without_peer())
    return None if peer_id is None else PeerInfo(peer_id, tuple(dict.fromkeys(addrs)))


def _strings(text: bytes) -> Iterable[bytes]:
    at = 0
    while at < len(text):
        end = at + 1 + text[at]
        if end > len(text):
            return
        yield text[at + 1 : end]
        at = end


class HeardPeers:
    """Peers that were heard of, and when each is to be met."""

    __slots__ = ("_heard", "_meeting", "_own", "_tried", "_waiting")

    def __init__(self, own: PeerId) -> None:
        self._own = own
        self._heard: BoundedMap[PeerId, PeerInfo] = BoundedMap(MAX_HEARD)
        self._tried: BoundedMap[PeerId, float] = BoundedMap(MAX_HEARD)
        self._waiting: deque[PeerId] = deque(maxlen=MAX_HEARD)
        self._meeting = 0

    def __len__(self) -> int:
        return len(self._heard)

    def on_heard(self, peer: PeerInfo) -> None:
        """It is met unless it was, at these addresses."""
        if peer.peer_id == self._own or self._heard.peek(peer.peer_id) == peer:
            return
        self._heard.put(peer.peer_id, peer)
        if peer.peer_id not in self._waiting:
            self._waiting.append(peer.peer_id)

    def on_alone(self, now: float) -> None:
        """The node knows nobody: those that were tried a while ago are tried again."""
        for peer_id, tried in self._tried.items():
            if tried + MEET_AGAIN_S <= now and peer_id in self._heard and peer_id not in self._waiting:
                self._waiting.append(peer_id)

    def next_to_meet(self, now: float) -> PeerInfo | None:
        """The next one, whose meeting ends with `on_met`; None: nobody waits, or enough are being met."""
        while self._waiting and self._meeting < MAX_MEETINGS:
            peer = self._heard.peek(self._waiting.popleft())
            if peer is not None:
                self._tried.put(peer.peer_id, now)
                self._meeting += 1
                return peer
        return None

    def on_met(self) -> None:
        """A meeting has ended, well or not."""
        self._meeting -= 1
