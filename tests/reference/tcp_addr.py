"""Twin of fastmarket.native.tcp_addr: by the table of protocols."""

from __future__ import annotations

from fastmarket.errors import PeerFault
from fastmarket.formats.addr_protocols import BY_CODE, BY_NAME, IP4, P2P, TCP
from fastmarket.formats.varint import decode_uvarint, encode_uvarint

_PEER_HEADS = {38: b"\x00\x24\x08\x01\x12\x20", 34: b"\x12\x20"}  # by size: an Ed25519 key, a SHA-256


def addr_from_text(text: str) -> bytes | None:
    """By the table of protocols, where the address has the form that the kernel takes."""
    words = text.split("/")
    if words[0] or words[1::2] not in (["ip4", "tcp"], ["ip4", "tcp", "p2p"]) or len(words) % 2 == 0:
        return None
    out = b""
    for name, word in zip(words[1::2], words[2::2], strict=True):
        protocol = BY_NAME[name]
        if protocol is TCP and word != str(int(word) if word.isdigit() and word.isascii() else -1):
            return None  # leading zeros: taken, but not by the kernel
        try:
            value = protocol.to_bytes(word)
        except ValueError:
            return None
        out += encode_uvarint(protocol.code)
        if protocol is P2P:
            if not value.startswith(_PEER_HEADS.get(len(value), b"none")):
                return None
            out += encode_uvarint(len(value))
        out += value
    return out


def addr_to_text(raw: bytes) -> str | None:
    out, at, found = "", 0, []
    while at < len(raw):
        try:
            code, at = decode_uvarint(raw, at)
            protocol = BY_CODE.get(code)
            if protocol not in (IP4, TCP, P2P):
                return None
            size = protocol.size
            if protocol is P2P:
                size, at = decode_uvarint(raw, at)
        except PeerFault:  # cut short, or no varint
            return None
        value, at = raw[at : at + size], at + size
        if at > len(raw) or (protocol is P2P and not value.startswith(_PEER_HEADS.get(size, b"none"))):
            return None
        out += f"/{protocol.name}/{protocol.to_text(value)}"
        found.append(protocol)
    return out if found in ([IP4, TCP], [IP4, TCP, P2P]) else None
