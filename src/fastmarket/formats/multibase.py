"""Text in a multibase (multiformats/multibase, multibase.csv): every base that go-multibase 0.3.0 reads.

The rare forms of CIDs, peer ids and certificate hashes; `native.cid` reads the usual ones. A library for them
would have to be loaded by a server when the first comes, for a tenth of a second. What is written in one case
alone is read in either, as the registry has it.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable

_BASE58BTC = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58FLICKR = "123456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
# RFC 4648 section 6 in terms of section 7, which is what int() reads in base 32.
_TO_BASE32HEX = str.maketrans("abcdefghijklmnopqrstuvwxyz234567", "0123456789abcdefghijklmnopqrstuv")
_URL_TO_BASE64 = str.maketrans("-_", "+/")
# multibase, rfcs/Base256Emoji.md: the character of each byte.
_BASE256EMOJI = (
    "🚀🪐☄🛰🌌🌑🌒🌓🌔🌕🌖🌗🌘🌍🌏🌎🐉☀💻🖥💾💿😂❤😍🤣😊🙏💕😭😘👍😅👏😁🔥🥰💔💖💙😢🤔😆🙄💪😉☺👌🤗💜😔😎😇🌹🤦🎉💞✌✨🤷"
    "😱😌🌸🙌😋💗💚😏💛🙂💓🤩😄😀🖤😃💯🙈👇🎶😒🤭❣😜💋👀😪😑💥🙋😞😩😡🤪👊🥳😥🤤👉💃😳✋😚😝😴🌟😬🙃🍀🌷😻😓⭐✅🥺🌈😈🤘💦✔😣🏃"
    "💐☹🎊💘😠☝😕🌺🎂🌻😐🖕💝🙊😹🗣💫💀👑🎵🤞😛🔴😤🌼😫⚽🤙☕🏆🤫👈😮🙆🍻🍃🐶💁😲🌿🧡🎁⚡🌞🎈❌✊👋😰🤨😶🤝🚶💰🍓💢🤟🙁🚨💨"
    "🤬✈🎀🍺🤓😙💟🌱😖👶🥴▶➡❓💎💸⬇😨🌚🦋😷🕺⚠🙅😟😵👎🤲🤠🤧📌🔵💅🧐🐾🍒😗🤑🌊🤯🐷☎💧😯💆👆🎤🙇🍑❄🌴💣🐸💌📍🥀🤢👅💡💩"
    "👐📸👻🤐🤮🎼🥵🚩🍎🍊👼💍📣🥂"
)

_FOREIGN = "character outside the alphabet"
_UNENCODED = "not the text any encoder makes"
Decoded = tuple[bytes, bool]
"""Bytes, and whether an encoder makes this text of them: of text that was cut short bits are left over."""


def decode_multibase(text: str) -> bytes:
    """The bytes that `text` names, prefix first; ValueError where it is not such text.

    The caller bounds its length: the time grows with the square of it.
    """
    raw, whole = decode_loosely(text)
    if not whole:
        raise ValueError(_UNENCODED)
    return raw


def decode_loosely(text: str) -> Decoded:
    """As `decode_multibase`, of text that may have been cut short."""
    decode = _DECODERS.get(text[:1])
    if decode is None:
        raise ValueError("not a multibase prefix")
    return decode(text[1:])


def _bits(text: str, each: int) -> Decoded:
    """Digits of `each` bits that int() reads; `text` was checked."""
    if not text:
        return b"", True
    spare = len(text) * each % 8
    number = int(text, 1 << each)
    raw = (number >> spare).to_bytes(len(text) * each // 8, "big")
    return raw, spare < each and not number & ((1 << spare) - 1)


def _check(text: str, alphabet: str) -> None:
    """ValueError unless all characters are of an alphabet, written as in a regular expression."""
    if not re.fullmatch(f"[{alphabet}]*", text):
        raise ValueError(_FOREIGN)


def _base2(text: str) -> Decoded:
    _check(text, "01")
    return _bits(text, 1)


def _base16(text: str) -> Decoded:
    _check(text, "0-9A-Fa-f")
    return _bits(text, 4)


def _base32(text: str) -> Decoded:
    _check(text, "A-Za-z2-7")
    return _bits(text.lower().translate(_TO_BASE32HEX), 5)


def _base32hex(text: str) -> Decoded:
    _check(text, "0-9A-Va-v")
    return _bits(text, 5)


def _base64(text: str) -> Decoded:
    _check(text, "0-9A-Za-z+/")
    kept = text[: len(text) - (len(text) % 4 == 1)]
    raw = a2b_base64(kept + "=" * (-len(kept) % 4))
    return raw, b2a_base64(raw, newline=False).rstrip(b"=") == text.encode()


def _base64url(text: str) -> Decoded:
    _check(text, "0-9A-Za-z_-")
    return _base64(text.translate(_URL_TO_BASE64))


def _padded(decode: Callable[[str], Decoded], group: int, text: str) -> Decoded:
    """With as many `=` behind it as fill up the last group of characters."""
    bare = text.rstrip("=")
    raw, whole = decode(bare)
    return raw, whole and len(text) == len(bare) + -len(bare) % group


def _number(text: str, alphabet: str) -> Decoded:
    """A number; a leading zero is a zero byte."""
    number, base = 0, len(alphabet)
    for char in text:
        digit = alphabet.find(char)
        if digit < 0:
            raise ValueError(_FOREIGN)
        number = number * base + digit
    zeros = len(text) - len(text.lstrip(alphabet[0]))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big"), True


def _base36(text: str) -> Decoded:
    return _number(text.lower() if text.isascii() else text, _BASE36)


def _base256emoji(text: str) -> Decoded:
    raw = bytearray()
    for char in text:
        byte = _BASE256EMOJI.find(char)
        if byte < 0:
            raise ValueError(_FOREIGN)
        raw.append(byte)
    return bytes(raw), True


def _identity(text: str) -> Decoded:
    return text.encode(), True  # UnicodeEncodeError is a ValueError


_DECODERS: dict[str, Callable[[str], Decoded]] = {
    "\0": _identity,
    "0": _base2,
    "f": _base16,
    "F": _base16,
    "b": _base32,
    "B": _base32,
    "c": lambda text: _padded(_base32, 8, text),
    "C": lambda text: _padded(_base32, 8, text),
    "v": _base32hex,
    "V": _base32hex,
    "t": lambda text: _padded(_base32hex, 8, text),
    "T": lambda text: _padded(_base32hex, 8, text),
    "k": _base36,
    "K": _base36,
    "z": lambda text: _number(text, _BASE58BTC),
    "Z": lambda text: _number(text, _BASE58FLICKR),
    "m": _base64,
    "M": lambda text: _padded(_base64, 4, text),
    "u": _base64url,
    "U": lambda text: _padded(_base64url, 4, text),
    "🚀": _base256emoji,
}
PREFIXES = frozenset(_DECODERS)
"""The first character of each base that is read."""
