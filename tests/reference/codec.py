"""Twin of the frame loop and the address codec of fastmarket.native.codec: the general way."""

from __future__ import annotations

from typing import Any

from fastmarket.errors import PeerFault
from fastmarket.formats.addr_protocols import BY_CODE, BY_NAME, IP4, P2P, TCP
from fastmarket.formats.varint import decode_uvarint, encode_uvarint
from fastmarket.native.codec import GRANT_BYTES, HEADER_BYTES

_PEER_HEADS = {38: b"\x00\x24\x08\x01\x12\x20", 34: b"\x12\x20"}  # by size: an Ed25519 key, a SHA-256


def receive_frames(mux: Any, chunk: bytes, at: int, now: float, most_out: int) -> int:
    """Every frame goes to its sink, which answers by `received`; no request is answered in here."""
    while at + HEADER_BYTES <= len(chunk) and len(mux.out) <= most_out:
        kind = int.from_bytes(chunk[at : at + 4], "big")
        stream = mux.streams.get(int.from_bytes(chunk[at + 4 : at + 8], "big"))
        length = int.from_bytes(chunk[at + 8 : at + 12], "big")
        start = at + HEADER_BYTES
        if kind or not length or stream is None or start + length > len(chunk):
            break
        if length > stream.recv_window or stream.remote_ended:
            break
        at = start + length
        stream.recv_window -= length
        stream.credit += stream.sink.received(chunk[start:at], now)
        if stream.credit >= GRANT_BYTES:
            mux.grant(stream)
    return at


def write_frame(out: bytearray, stream: Any, data: bytes) -> bool:
    if len(data) > min(stream.send_window, 64 << 10) or stream.outbox:
        return False
    stream.send_window -= len(data)
    out += bytes(4) + stream.stream_id.to_bytes(4, "big") + len(data).to_bytes(4, "big") + data
    return True


def message_fields(
    body: bytes, max_closer: int, max_providers: int
) -> tuple[int, bytes, bytes | None, list[bytes], list[bytes]]:
    kind, key, record = 0, b"", None
    entries: dict[int, tuple[list[bytes], int]] = {8: ([], max_closer), 9: ([], max_providers)}
    at = 0
    try:
        while at < len(body):
            tag, at = _varint(body, at)
            number, wire = tag >> 3, tag & 7
            size = {1: 8, 5: 4}.get(wire, 0)
            value = 0
            if wire == 2:
                size, at = _varint(body, at)
            elif wire == 0:
                value, at = _varint(body, at)
            elif not size:
                raise ValueError("malformed")
            field, at = body[at : at + size], at + size
            if at > len(body):
                raise ValueError("cut short")
            if wire != 2:
                kind = value if number == 1 else kind
            elif number in entries:
                held, limit = entries[number]
                held.extend([field] if len(held) < limit else [])
            elif number == 2:
                key = field
            elif number == 3:
                record = field
    except IndexError:
        raise ValueError("cut short") from None
    return kind, key, record, entries[8][0], entries[9][0]


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        value |= (body[at + place] & 0x7F) << 7 * place
        if body[at + place] < 0x80:
            if value >> 64:
                break
            return value, at + place + 1
    raise ValueError("no varint")


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
