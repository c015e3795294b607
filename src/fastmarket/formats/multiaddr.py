"""Self-describing addresses (multiformats/multiaddr): bytes on the wire, text for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import NoReturn

from fastmarket.errors import CallerFault, LimitExceeded, PeerFault
from fastmarket.formats.addr_protocols import (
    BY_CODE,
    BY_NAME,
    CIRCUIT,
    DNS,
    DNS4,
    DNS6,
    DNSADDR,
    IP4,
    IP6,
    IP6ZONE,
    P2P,
    TCP,
    UNIX,
    VARIABLE,
    AddrProtocol,
)
from fastmarket.formats.dns_name import ascii_name
from fastmarket.formats.identity import PeerId
from fastmarket.formats.varint import decode_uvarint, encode_uvarint
from fastmarket.native.tcp_addr import addr_from_text, addr_to_text

# Real ones have 8 to 200 bytes (a relayed WebTransport address with two certificate hashes).
MAX_MULTIADDR_BYTES = 1024
# Percent escapes treble a path; nothing else grows as much.
MAX_MULTIADDR_TEXT = 3 * MAX_MULTIADDR_BYTES
# Some 400 bytes each in practice, 1.5 KiB at worst.
MULTIADDR_CACHE = 16_384

_Component = tuple[AddrProtocol, bytes]
_DIALABLE = (IP4, IP6, DNS, DNS4, DNS6)
_P2P_CODE = encode_uvarint(P2P.code)
_PLAIN_BYTES = 8  # length of an IPv4 address with a TCP port


class UnknownMultiaddrProtocol(PeerFault):
    """An unknown protocol code: skip the address, keep the message that contained it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"unknown protocol code {code}", protocol="multiaddr")
        self.code = code


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """`kind` is ip4, ip6, dns, dns4 or dns6; `host` is for a resolver; `port` 0 listens on any port."""

    kind: str
    host: str
    port: int


class Multiaddr:
    """An address. Immutable; compared by its bytes, `raw`.

    `peer_id` is the peer at its end: the last /p2p that is not a relay's, or None.
    """

    __slots__ = ("_text", "peer_id", "raw")

    raw: bytes
    peer_id: PeerId | None
    _text: str | None

    def __init__(self, raw: bytes) -> None:
        """Raises PeerFault unless `raw` is valid. `from_bytes` is cached."""
        raw = bytes(raw)
        object.__setattr__(self, "peer_id", _peer_at_end(_components(raw)))
        object.__setattr__(self, "raw", raw)
        object.__setattr__(self, "_text", None)

    @staticmethod
    def from_bytes(raw: bytes) -> Multiaddr:
        """Parses the binary form; raises UnknownMultiaddrProtocol or another PeerFault if it is not
        supported."""
        if len(raw) > MAX_MULTIADDR_BYTES:
            raise LimitExceeded("bytes in a multiaddr", MAX_MULTIADDR_BYTES, len(raw), protocol="multiaddr")
        return _cached_multiaddr(raw)

    @staticmethod
    def from_text(text: str) -> Multiaddr:
        """Parses the text form; raises CallerFault("multiaddr")."""
        raw = addr_from_text(text)  # handles nearly every address; unusual ones are parsed below
        if raw is not None:
            return _cached_multiaddr(raw)
        if len(text) > MAX_MULTIADDR_TEXT:
            raise CallerFault("multiaddr", f"is longer than {MAX_MULTIADDR_TEXT} characters")
        try:
            return Multiaddr.from_bytes(_encode_text(text))
        except (ValueError, PeerFault) as error:
            reason = error.reason if isinstance(error, CallerFault) else error
            raise CallerFault("multiaddr", f"{text!r}: {reason}") from error

    @staticmethod
    def from_endpoint(ip: str, port: int) -> Multiaddr:
        """The TCP address of a socket; raises CallerFault("ip") or ("port").

        An IPv4-mapped address, as dual-stack sockets report it, becomes the IPv4 address.
        """
        if not 0 <= port <= 0xFFFF:
            raise CallerFault("port", f"{port} is not between 0 and 65535")
        raw = addr_from_text(f"/ip4/{ip}/tcp/{port}")
        if raw is not None and len(raw) == _PLAIN_BYTES:
            return _cached_multiaddr(raw)
        try:
            address = ip_address(ip)
        except ValueError as error:
            raise CallerFault("ip", f"{ip!r} is not an IP address") from error
        tail: list[_Component] = [(TCP, port.to_bytes(2, "big"))]
        if not isinstance(address, IPv6Address):
            return _join([(IP4, address.packed), *tail])
        if address.ipv4_mapped is not None:
            return _join([(IP4, address.ipv4_mapped.packed), *tail])
        zone: list[_Component] = [(IP6ZONE, address.scope_id.encode())] if address.scope_id else []
        try:
            return _join([*zone, (IP6, address.packed), *tail])
        except PeerFault as fault:  # of the zone, which `ip_address` does not check
            raise CallerFault("ip", f"{ip!r}: {fault.reason}") from fault

    @property
    def parts(self) -> tuple[tuple[str, str | None], ...]:
        """Pairs of protocol name and value text (None if it has none), outermost first."""
        return tuple(
            (protocol.name, protocol.to_text(value) if protocol.size else None)
            for protocol, value in _components(self.raw)
        )

    @property
    def is_dnsaddr(self) -> bool:
        """Whether the real addresses have to be looked up in TXT records."""
        return self.raw[0] == DNSADDR.code

    def plain_ip4(self) -> bytes | None:
        """The four address bytes if this is exactly /ip4/A/tcp/P, else None."""
        raw = self.raw
        return raw[1:5] if len(raw) == _PLAIN_BYTES and raw[0] == IP4.code and raw[5] == TCP.code else None

    def host_port(self) -> TcpEndpoint | None:
        """Where to connect, if it consists of a host, a TCP port and optionally a peer id; else None."""
        return _host_port(self.raw)

    def without_peer(self) -> Multiaddr:
        """Without a final /p2p. An address of nothing else is returned unchanged."""
        if _P2P_CODE not in self.raw:  # the fast path: most addresses, at every identify
            return self
        chain = _components(self.raw)
        return _join(chain[:-1]) if len(chain) > 1 and chain[-1][0] is P2P else self

    def with_peer(self, peer_id: PeerId) -> Multiaddr:
        """Ends in /p2p/`peer_id`, replacing another id at the end. A path of a file system, which nothing may
        follow, is returned unchanged."""
        chain = _components(self.raw)
        if chain[-1][0] is UNIX:
            return self
        if chain[-1][0] is P2P:
            chain = chain[:-1]
        return _join([*chain, (P2P, peer_id.raw)])

    def __str__(self) -> str:
        text = self._text
        if text is None:
            text = addr_to_text(self.raw) or _text_of(_components(self.raw))
            object.__setattr__(self, "_text", text)
        return text

    def __repr__(self) -> str:
        return f"Multiaddr({self})"

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Multiaddr) and self.raw == other.raw)

    def __hash__(self) -> int:
        return hash(self.raw)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"Multiaddr is immutable: {name}")

    def __reduce__(self) -> tuple[type[Multiaddr], tuple[bytes]]:
        return Multiaddr, (self.raw,)


_cached_multiaddr: Callable[[bytes], Multiaddr] = lru_cache(MULTIADDR_CACHE)(Multiaddr)


def parse_addrs(raws: Iterable[bytes], limit: int) -> tuple[Multiaddr, ...]:
    """The first `limit` distinct addresses that we can parse, in order. Never raises."""
    found: dict[Multiaddr, None] = {}
    for raw in raws:
        if len(found) >= limit:
            break
        try:
            found[Multiaddr.from_bytes(raw)] = None
        except PeerFault:
            continue
    return tuple(found)


@lru_cache(maxsize=MULTIADDR_CACHE)
def _host_port(raw: bytes) -> TcpEndpoint | None:
    """Implements `Multiaddr.host_port`, which is called several times per connection."""
    chain = _components(raw)
    zone = ""
    if chain[0][0] is IP6ZONE and len(chain) > 1 and chain[1][0] is IP6:
        zone = "%" + chain[0][1].decode()
        chain = chain[1:]
    if chain[-1][0] is P2P:
        chain = chain[:-1]
    if len(chain) != 2 or chain[1][0] is not TCP or chain[0][0] not in _DIALABLE:
        return None
    (protocol, value), (_, port) = chain
    try:
        host = protocol.to_text(value) + zone if protocol.size > 0 else ascii_name(value.decode())
    except ValueError:  # no resolver would accept it
        return None
    return TcpEndpoint(protocol.name, host, int.from_bytes(port, "big"))


def _components(raw: bytes) -> list[_Component]:
    """The components of `raw`, at least one, with each value checked. Raises PeerFault."""
    end = len(raw)
    if end == 0:
        raise PeerFault("empty", protocol="multiaddr")
    found: list[_Component] = []
    offset = 0
    while offset < end:
        code, offset = decode_uvarint(raw, offset)
        protocol = BY_CODE.get(code)
        if protocol is None:
            raise UnknownMultiaddrProtocol(code)
        size = protocol.size
        if size == VARIABLE:
            size, offset = decode_uvarint(raw, offset)
            if size == 0:
                raise PeerFault(f"{protocol.name} has no value", protocol="multiaddr")
        value = raw[offset : offset + size]
        offset += size
        if offset > end:
            raise PeerFault(f"{protocol.name} is cut short", protocol="multiaddr")
        if protocol.check is not None:
            try:
                protocol.check(value)
            except ValueError as error:
                raise PeerFault(f"{protocol.name}: {error}", protocol="multiaddr") from error
        if protocol is UNIX and offset < end:
            raise PeerFault("nothing may follow a path", protocol="multiaddr")
        found.append((protocol, value))
    return found


def _peer_at_end(chain: list[_Component]) -> PeerId | None:
    for protocol, value in reversed(chain):
        if protocol is P2P:
            return PeerId.from_bytes(value)
        if protocol is CIRCUIT:  # ids before it are the relay's
            return None
    return None


def _text_of(chain: list[_Component]) -> str:
    out = []
    for protocol, value in chain:
        out.append("/" + protocol.name)
        if protocol is UNIX:  # the path has its own slash
            out.append(protocol.to_text(value))
        elif protocol.size:
            out.append("/" + protocol.to_text(value))
    return "".join(out)


def _encode(protocol: AddrProtocol, value: bytes) -> bytes:
    head = encode_uvarint(protocol.code)
    return head + encode_uvarint(len(value)) + value if protocol.size == VARIABLE else head + value


def _join(chain: list[_Component]) -> Multiaddr:
    return _cached_multiaddr(b"".join(_encode(protocol, value) for protocol, value in chain))


def _encode_text(text: str) -> bytes:
    """Raises ValueError or PeerFault; the result still has to pass `_components`."""
    words = text.rstrip("/").split("/")
    if words[0] or len(words) < 2:
        raise ValueError("an address starts with a slash and a protocol")
    out = []
    at = 1
    while at < len(words):
        protocol = BY_NAME.get(words[at])
        if protocol is None:
            raise ValueError(f"unknown protocol {words[at]!r}")
        at += 1
        if protocol.size == 0:
            out.append(_encode(protocol, b""))
            continue
        if at == len(words):
            raise ValueError(f"{protocol.name} has no value")
        word = words[at]
        at += 1
        if protocol is UNIX:
            word = "/" + "/".join(words[at - 1 :])
            at = len(words)
        out.append(_encode(protocol, protocol.to_bytes(word)))
    return b"".join(out)
