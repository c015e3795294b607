"""Addresses that describe themselves (multiformats/multiaddr): bytes on the wire, text for people."""

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

# Real ones take 8 to 200 bytes (a relayed WebTransport address with two certificate hashes).
MAX_MULTIADDR_BYTES = 1024
# Percent escapes treble a path; nothing else grows as much.
MAX_MULTIADDR_TEXT = 3 * MAX_MULTIADDR_BYTES
# Some 400 bytes each in practice, 1.5 KiB at worst.
MULTIADDR_CACHE = 16_384

_Component = tuple[AddrProtocol, bytes]
_DIALABLE = (IP4, IP6, DNS, DNS4, DNS6)
_P2P_CODE = encode_uvarint(P2P.code)
_PLAIN_BYTES = 8  # of an IPv4 address and a TCP port


class UnknownMultiaddrProtocol(PeerFault):
    """A protocol code this version does not know: skip the address, keep what brought it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"unknown protocol code {code}", protocol="multiaddr")
        self.code = code


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """`kind` is ip4, ip6, dns, dns4 or dns6; `host` is what a resolver takes; `port` 0: any, to listen on."""

    kind: str
    host: str
    port: int


class Multiaddr:
    """An address. Immutable; equal by its bytes, `raw`.

    `peer_id` is the peer at its end: the last /p2p that is not a relay's, or None.
    """

    __slots__ = ("_text", "peer_id", "raw")

    raw: bytes
    peer_id: PeerId | None
    _text: str | None

    def __init__(self, raw: bytes) -> None:
        """PeerFault unless `raw` is valid. `from_bytes` is the cached way."""
        raw = bytes(raw)
        object.__setattr__(self, "peer_id", _peer_at_end(_components(raw)))
        object.__setattr__(self, "raw", raw)
        object.__setattr__(self, "_text", None)

    @staticmethod
    def from_bytes(raw: bytes) -> Multiaddr:
        """From the binary form; UnknownMultiaddrProtocol or another PeerFault if it is none we understand."""
        if len(raw) > MAX_MULTIADDR_BYTES:
            raise LimitExceeded("bytes in a multiaddr", MAX_MULTIADDR_BYTES, len(raw), protocol="multiaddr")
        return _cached_multiaddr(raw)

    @staticmethod
    def from_text(text: str) -> Multiaddr:
        """From the form with slashes; CallerFault("multiaddr") if it is none."""
        raw = addr_from_text(text)  # nearly every one; it leaves what is odd to what follows
        if raw is not None:
            return _cached_multiaddr(raw)
        if len(text) > MAX_MULTIADDR_TEXT:
            raise CallerFault("multiaddr", f"longer than {MAX_MULTIADDR_TEXT} characters")
        try:
            return Multiaddr.from_bytes(_encode_text(text))
        except (ValueError, PeerFault) as error:
            reason = error.reason if isinstance(error, CallerFault) else error
            raise CallerFault("multiaddr", f"{text!r}: {reason}") from error

    @staticmethod
    def from_endpoint(ip: str, port: int) -> Multiaddr:
        """The TCP address of a socket's end; CallerFault("ip") or ("port").

        An IPv4-mapped address, as sockets for both families report it, becomes the IPv4 address it is.
        """
        if not 0 <= port <= 0xFFFF:
            raise CallerFault("port", f"{port} is outside 0..65535")
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
        except PeerFault as fault:  # of the zone, which `ip_address` lets be anything
            raise CallerFault("ip", f"{ip!r}: {fault.reason}") from fault

    @property
    def parts(self) -> tuple[tuple[str, str | None], ...]:
        """(protocol name, value text or None if it has none), outermost first."""
        return tuple(
            (protocol.name, protocol.to_text(value) if protocol.size else None)
            for protocol, value in _components(self.raw)
        )

    @property
    def is_dnsaddr(self) -> bool:
        """Whether TXT records have to be asked for the real addresses."""
        return self.raw[0] == DNSADDR.code

    def plain_ip4(self) -> bytes | None:
        """The four bytes of an address that is /ip4/A/tcp/P and no more; None for any other."""
        raw = self.raw
        return raw[1:5] if len(raw) == _PLAIN_BYTES and raw[0] == IP4.code and raw[5] == TCP.code else None

    def host_port(self) -> TcpEndpoint | None:
        """Where to connect, if that is all it takes: a host, a TCP port, perhaps the peer's id."""
        return _host_port(self.raw)

    def without_peer(self) -> Multiaddr:
        """Less a final /p2p. One that consists of nothing else stays as it is."""
        if _P2P_CODE not in self.raw:  # nothing to look for: most addresses, at every identification
            return self
        chain = _components(self.raw)
        return _join(chain[:-1]) if len(chain) > 1 and chain[-1][0] is P2P else self

    def with_peer(self, peer_id: PeerId) -> Multiaddr:
        """Ending in /p2p/`peer_id`, in place of another id that stood at the end."""
        chain = _components(self.raw)
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
    """The first `limit` different addresses that we understand, in order. Never raises."""
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
    """`Multiaddr.host_port`: asked for several times for every connection."""
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
    except ValueError:  # no resolver would take it
        return None
    return TcpEndpoint(protocol.name, host, int.from_bytes(port, "big"))


def _components(raw: bytes) -> list[_Component]:
    """What `raw` consists of, each value checked; PeerFault. At least one."""
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
                raise PeerFault(f"{protocol.name} without a value", protocol="multiaddr")
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
            raise PeerFault("nothing can follow a path", protocol="multiaddr")
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
        if protocol is UNIX:  # the path brings its own slash
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
    """ValueError or PeerFault; what comes out still has to pass `_components`."""
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
            raise ValueError(f"{protocol.name} without a value")
        word = words[at]
        at += 1
        if protocol is UNIX:
            word = "/" + "/".join(words[at - 1 :])
            at = len(words)
        out.append(_encode(protocol, protocol.to_bytes(word)))
    return b"".join(out)
