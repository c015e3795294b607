"""Twin of fastmarket.native.cid's text and bytes, over Python's integers."""

from __future__ import annotations

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


def base58_encode(data: bytes) -> str:
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = BASE58[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def base58_decode(text: str) -> bytes:
    number = 0
    for char in text:
        number = number * 58 + BASE58.index(char)
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def base32_encode(data: bytes) -> str:
    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 5)
    return "".join(BASE32[int(bits[at : at + 5], 2)] for at in range(0, len(bits), 5))


def base32_decode(text: str) -> bytes:
    bits = "".join(f"{BASE32.index(char):05b}" for char in text)
    data = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8))
    if base32_encode(data) != text:
        raise ValueError("not canonical")
    return data


def varint(value: int) -> bytes:
    out = bytearray()
    while True:
        low, value = value & 127, value >> 7
        out.append(low | (128 if value else 0))
        if not value:
            return bytes(out)


def encode_cid_v0(multihash: bytes) -> str:
    return base58_encode(multihash)


def encode_cid_bytes_v1(codec: int, multihash: bytes) -> bytes:
    return b"\x01" + varint(codec) + multihash


def encode_cid_v1(codec: int, multihash: bytes) -> str:
    return "b" + base32_encode(encode_cid_bytes_v1(codec, multihash))


def decode_cid(text: str) -> tuple[int, int, bytes]:
    if len(text) == 46 and text.startswith("Qm"):
        return 0, 0x70, base58_decode(text)
    raw = base32_decode(text[1:]) if text[0] == "b" else base58_decode(text[1:])
    at, codec, shift = 1, 0, 0
    while True:
        codec |= (raw[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if raw[at - 1] < 128:
            return raw[0], codec, raw[at:]
