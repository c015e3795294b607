"""The headers of answers. Kubo's client takes answers whose headers have up to 2 KiB in all."""

from __future__ import annotations

from urllib.parse import quote

from fastmarket.content.port.messages import Header
from fastmarket.content.port.targets import Target

MAX_HEADERS_BYTES = 2048
"""Of an answer with all its headers (boxo 0.43, httpnet)."""

_MAX_PATH_CHARS = 192  # of a path, sent twice; without it the answer is as good
_MAX_ROOTS_CHARS = 320  # of X-Ipfs-Roots: CIDs of a path of five parts
_MAX_NAME_CHARS = 384  # of a file name in percent encoding: 128 characters of three bytes... longer ones are cut
_IN_NAMES = " !#$&'()*+,-.;=@[]^_`{}~"  # as they are in the plain form of a file name
_IN_PATHS = "/%!$&'()*+,;=:@-._~"

IMMUTABLE = ("Cache-Control", "public, max-age=29030400, immutable")
"""What a CID names never changes: 48 weeks, as the specification has it."""

CORS: tuple[Header, ...] = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS"),
    ("Access-Control-Allow-Headers", "Content-Type, Range, User-Agent, X-Requested-With"),
    (
        "Access-Control-Expose-Headers",
        "Content-Length, Content-Range, Etag, X-Chunked-Output, X-Ipfs-Path, X-Ipfs-Roots, X-Stream-Output",
    ),
)
"""Any page may read what is public anyway."""

ALWAYS: tuple[Header, ...] = (*CORS, ("X-Content-Type-Options", "nosniff"))
"""The headers of all answers."""


def place_headers(target: Target, roots: tuple[str, ...]) -> list[Header]:
    """Where the content was found: the path, and the CIDs on it. Left out where it would be too long."""
    path = quote(f"{target.root_text}{target.path}", safe=_IN_PATHS)
    headers: list[Header] = []
    if len(path) <= _MAX_PATH_CHARS:
        headers += [("X-Ipfs-Path", f"/ipfs/{path}"), ("Ipfs-Uri", f"ipfs://{path}")]
    listed = ",".join(roots)
    if len(listed) <= _MAX_ROOTS_CHARS:
        headers.append(("X-Ipfs-Roots", listed))
    return headers


def disposition(how: str, name: str) -> Header:
    """Content-Disposition, with the name in both of its forms if it is not plain (RFC 6266)."""
    while len(encoded := quote(name, safe="")) > _MAX_NAME_CHARS:
        name = name[: len(name) * _MAX_NAME_CHARS // len(encoded)]
    plain = "".join(c if c.isascii() and (c.isalnum() or c in _IN_NAMES) else "_" for c in name)
    value = f'{how}; filename="{plain}"'
    if plain != name:
        value += f"; filename*=UTF-8''{encoded}"
    return "Content-Disposition", value
