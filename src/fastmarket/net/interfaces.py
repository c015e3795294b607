"""The addresses of this machine's network interfaces, by getifaddrs(3), on Linux, macOS and the BSDs."""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import sys
from collections.abc import Iterator

_UP = 0x1  # IFF_UP, the same on all of them

# Connecting a UDP socket sends nothing; it makes the kernel choose the source address. The targets are
# documentation addresses (RFC 5737, RFC 3849) to which no packet is sent.
_PROBES = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))

# Offset and length of the address in a sockaddr.
_PLACES = {socket.AF_INET: (4, 4), socket.AF_INET6: (8, 16)}


class _IfAddrs(ctypes.Structure):
    """The part of struct ifaddrs that is the same on all systems."""


_IfAddrs._fields_ = [
    ("next", ctypes.POINTER(_IfAddrs)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
]


def interface_addresses() -> list[str]:
    """Addresses of all interfaces that are up, as text, IPv4 first; without link-local ones, which are valid
    only on their own link."""
    try:
        found = list(_all_addresses())
    except (AttributeError, OSError):  # no such function, or the kernel refuses
        found = list(_routed_addresses())
    usable = [text for text in dict.fromkeys(found) if not ipaddress.ip_address(text).is_link_local]
    return sorted(usable, key=lambda text: ":" in text)


def _all_addresses() -> Iterator[str]:
    libc = ctypes.CDLL(None, use_errno=True)
    first = ctypes.POINTER(_IfAddrs)()
    if libc.getifaddrs(ctypes.byref(first)) != 0:
        raise OSError(ctypes.get_errno(), "getifaddrs")
    try:
        entry = first
        while entry:
            if entry.contents.address and entry.contents.flags & _UP:
                text = _text(entry.contents.address)
                if text is not None:
                    yield text
            entry = entry.contents.next
    finally:
        libc.freeifaddrs(first)


def _text(sockaddr: int) -> str | None:
    """The address as text; None for another family."""
    # The BSDs put a length byte before a one-byte family; Linux has a two-byte family.
    head = ctypes.string_at(sockaddr, 2)
    family = int.from_bytes(head, sys.byteorder) if sys.platform == "linux" else head[1]
    for known, (offset, size) in _PLACES.items():
        if family == known:
            return str(ipaddress.ip_address(ctypes.string_at(sockaddr + offset, size)))
    return None


def _routed_addresses() -> Iterator[str]:
    """Loopback and the source addresses of the default routes: all that is available without getifaddrs."""
    yield from ("127.0.0.1", "::1")
    for family, target in _PROBES:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                yield probe.getsockname()[0].partition("%")[0]
        except OSError:
            continue  # no route of that family
