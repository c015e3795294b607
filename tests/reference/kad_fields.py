"""Twin of fastmarket.native.kad_fields: a Kademlia message, a field at a time."""

from __future__ import annotations


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
