"""The protocols of multiaddrs (multiformats/multiaddr, protocols.csv): codes, names and value forms.

Omitted ones (onion, garlic and others that none of our transports can use) are unknown here, and addresses
with them are skipped.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from fastmarket.formats.identity import PeerId
from fastmarket.formats.multibase import decode_multibase
from fastmarket.formats.varint import decode_uvarint

VARIABLE = -1  # the value is preceded by its length

# RFC 1035: what fits in a query. Values are UTF-8; other implementations allow Unicode names.
MAX_DNS_NAME_BYTES = 255

# The name or number of an interface: IF_NAMESIZE, including the terminating NUL, is 16 on Linux and the BSDs.
MAX_ZONE_BYTES = 15

# The characters RFC 6874 allows in a zone, without its escapes. Resolvers and `ipaddress` accept a zone after
# an address and a "%", but neither another "%" nor an empty part between dots.
_ZONE = re.compile(rb"[A-Za-z0-9_~-]+(\.[A-Za-z0-9_~-]+)*")

_IP4_MAPPED = bytes(10) + b"\xff\xff"


class AddrProtocol(NamedTuple):
    """One row. `to_text` and `to_bytes` are inverses; `check` and `to_bytes` raise ValueError or
    PeerFault."""

    code: int
    name: str
    size: int  # of the value in bytes; 0: no value; or VARIABLE
    to_text: Callable[[bytes], str]
    to_bytes: Callable[[str], bytes]
    check: Callable[[bytes], object] | None = None


def _ip6_text(packed: bytes) -> str:
    """As Go and Rust write it: an IPv4-mapped address keeps its dots (Python's form depends on the
    version)."""
    if packed.startswith(_IP4_MAPPED):
        return f"::ffff:{IPv4Address(packed[12:])}"
    return str(IPv6Address(packed))


def _ip4_text(packed: bytes) -> str:
    a, b, c, d = packed
    return f"{a}.{b}.{c}.{d}"


def _ip4_bytes(text: str) -> bytes:
    return IPv4Address(text).packed


def _ip6_bytes(text: str) -> bytes:
    if "%" in text:
        raise AddressValueError("a zone precedes the address, as /ip6zone/")
    return IPv6Address(text).packed


def _number_text(value: bytes) -> str:
    return str(int.from_bytes(value, "big"))


def _number_bytes(size: int) -> Callable[[str], bytes]:
    top = 256**size - 1

    def parse(text: str) -> bytes:
        if not (text.isascii() and text.isdigit()) or len(text) > len(str(top)) or int(text) > top:
            raise ValueError(f"not a number from 0 to {top}")
        return int(text).to_bytes(size, "big")

    return parse


def _check_text(value: bytes) -> str:
    """Shown on terminals and in logs: no control characters, and nothing that looks like another
    component."""
    text = value.decode()
    if not text.isprintable() or "/" in text or " " in text:
        raise ValueError("the name contains unprintable characters, spaces or slashes")
    return text


def _check_zone(value: bytes) -> None:
    if len(value) > MAX_ZONE_BYTES or _ZONE.fullmatch(value) is None:
        raise ValueError(f"a zone has 1 to {MAX_ZONE_BYTES} letters, digits and -._~")


def _check_dns(value: bytes) -> None:
    if len(value) > MAX_DNS_NAME_BYTES:
        raise ValueError(f"the name has more than {MAX_DNS_NAME_BYTES} bytes")
    _check_text(value)


def _check_path(value: bytes) -> None:
    text = value.decode()
    if not text.isprintable() or len(text) < 2 or text[0] != "/" or text[-1] == "/":
        raise ValueError("a path starts with a slash, does not end with one, and is printable")


def _peer_text(value: bytes) -> str:
    return str(PeerId.from_bytes(value))


def _peer_bytes(text: str) -> bytes:
    return PeerId.from_text(text).raw


def _certhash_text(value: bytes) -> str:
    return "u" + base64.urlsafe_b64encode(value).decode().rstrip("=")


def _check_multihash(value: bytes) -> None:
    _, offset = decode_uvarint(value)
    size, offset = decode_uvarint(value, offset)
    if size == 0 or offset + size != len(value):
        raise ValueError("not a multihash")


def _http_path_text(value: bytes) -> str:
    return quote(value, safe="")


def _no_text(value: bytes) -> str:
    return ""


def _no_bytes(text: str) -> bytes:
    return b""


def _utf8(text: str) -> bytes:
    return text.encode()


def _port(code: int, name: str) -> AddrProtocol:
    return AddrProtocol(code, name, 2, _number_text, _number_bytes(2))


def _name(code: int, name: str) -> AddrProtocol:
    return AddrProtocol(code, name, VARIABLE, bytes.decode, _utf8, _check_dns)


def _bare(code: int, name: str) -> AddrProtocol:
    return AddrProtocol(code, name, 0, _no_text, _no_bytes)


IP4 = AddrProtocol(4, "ip4", 4, _ip4_text, _ip4_bytes)
IP6 = AddrProtocol(41, "ip6", 16, _ip6_text, _ip6_bytes)
IP6ZONE = AddrProtocol(42, "ip6zone", VARIABLE, bytes.decode, _utf8, _check_zone)
TCP = _port(6, "tcp")
DNS, DNS4, DNS6 = _name(53, "dns"), _name(54, "dns4"), _name(55, "dns6")
DNSADDR = _name(56, "dnsaddr")
CIRCUIT = _bare(290, "p2p-circuit")
UNIX = AddrProtocol(400, "unix", VARIABLE, bytes.decode, _utf8, _check_path)
P2P = AddrProtocol(421, "p2p", VARIABLE, _peer_text, _peer_bytes, PeerId.from_bytes)

PROTOCOLS = (
    *(IP4, IP6, IP6ZONE, TCP, DNS, DNS4, DNS6, DNSADDR, CIRCUIT, UNIX, P2P),
    AddrProtocol(43, "ipcidr", 1, _number_text, _number_bytes(1)),
    _port(273, "udp"),
    _port(33, "dccp"),
    _port(132, "sctp"),
    _bare(301, "udt"),
    _bare(302, "utp"),
    _bare(276, "p2p-webrtc-direct"),
    _bare(280, "webrtc-direct"),
    _bare(281, "webrtc"),
    _bare(443, "https"),
    _bare(448, "tls"),
    _name(449, "sni"),
    _bare(454, "noise"),
    _bare(460, "quic"),
    _bare(461, "quic-v1"),
    _bare(465, "webtransport"),
    AddrProtocol(466, "certhash", VARIABLE, _certhash_text, decode_multibase, _check_multihash),
    _bare(477, "ws"),
    _bare(478, "wss"),
    _bare(480, "http"),
    AddrProtocol(481, "http-path", VARIABLE, _http_path_text, unquote_to_bytes),
    AddrProtocol(777, "memory", 8, _number_text, _number_bytes(8)),
    _bare(7367777, "plaintextv2"),
)

BY_CODE = {protocol.code: protocol for protocol in PROTOCOLS}
# "ipfs" is the old name of p2p; it is accepted but never written.
BY_NAME = {protocol.name: protocol for protocol in PROTOCOLS} | {"ipfs": P2P}
