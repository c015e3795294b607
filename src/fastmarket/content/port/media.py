"""The media type of a file, by its name or else its first bytes, for browsers."""

from __future__ import annotations

import mimetypes

SNIFFED_BYTES = 512  # as browsers (mimesniff.spec.whatwg.org)
OCTETS = "application/octet-stream"
_TEXT = "text/plain; charset=utf-8"

_BY_NAME = mimetypes.MimeTypes()  # without the system's files: the same on every machine
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF-", "application/pdf"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (0, b"OggS", "application/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"\x1f\x8b\x08", "application/gzip"),
    (0, b"(\xb5/\xfd", "application/zstd"),
    (0, b"\x00asm", "application/wasm"),
)
# Of types that a browser runs: under this policy it shows them, and runs nothing of them.
SANDBOX = ("Content-Security-Policy", "sandbox")


def type_by_name(name: str) -> str | None:
    """The type of a name's suffix; None: there is none, or none that is known."""
    found, encoding = _BY_NAME.guess_type(f"/{name}")
    if encoding is not None:
        return {"gzip": "application/gzip"}.get(encoding, OCTETS)
    if found is not None and found.startswith("text/"):
        return f"{found}; charset=utf-8"
    return found


def type_by_content(head: bytes) -> str:
    """The type of what begins with `head`, SNIFFED_BYTES of it; text that is text, never HTML."""
    for at, magic, found in _MAGIC:
        if head[at : at + len(magic)] == magic:
            return found
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.end < len(head) or error.reason != "unexpected end of data":
            return OCTETS
        text = head[: error.start].decode()
    return OCTETS if any(ord(c) < 32 and c not in "\t\n\r\f\x1b" for c in text) else _TEXT


def is_active(media_type: str) -> bool:
    """Whether a browser would run it."""
    bare = media_type.partition(";")[0]
    return bare == "text/html" or bare.endswith(("/xml", "+xml"))
