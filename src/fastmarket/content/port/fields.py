"""The headers of answers. Kubo's client takes answers whose headers have up to 2 KiB in all."""

from __future__ import annotations

import re
from urllib.parse import quote

from fastmarket.content.port.messages import Header
from fastmarket.content.port.targets import GatewayTarget

MAX_HEADERS_BYTES = 2048
"""Of an answer with all its headers (boxo 0.43, httpnet)."""

_MAX_PATH_CHARS = 192  # of a path, sent twice; without it the answer is as good
_MAX_ROOTS_CHARS = 320  # of X-Ipfs-Roots: CIDs of a path of five parts
_MAX_NAME_CHARS = 384  # of a file name in percent encoding, 128 bytes; longer ones are cut
_PLAIN_NAME = re.compile(r"[\w !#$&'()*+,.;=@\[\]^`{}~-]+", re.ASCII)  # with nothing that means something
_NOT_PLAIN = re.compile(r"[^\w !#$&'()*+,.;=@\[\]^`{}~-]", re.ASCII)
_PLAIN_PATH = re.compile(r"[\w/.-]*", re.ASCII)
_IN_PATHS = "/%!$&'()*+,;=:@-._~"

IMMUTABLE = ("Cache-Control", "public, max-age=29030400, immutable")
"""What a CID names never changes: 48 weeks, as the specification has it."""

CORS: tuple[Header, ...] = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS"),
    ("Access-Control-Allow-Headers", "Content-Type, Range, User-Agent, X-Requested-With, Payment-Signature"),
    (
        "Access-Control-Expose-Headers",
        "Content-Length, Content-Range, Etag, X-Chunked-Output, X-Ipfs-Path, X-Ipfs-Roots, X-Stream-Output, "
        "Payment-Required, Payment-Response",
    ),
)
"""Any page may read what is public anyway."""

ALWAYS: tuple[Header, ...] = (*CORS, ("X-Content-Type-Options", "nosniff"))
"""The headers of all answers."""


def place_headers(target: GatewayTarget, roots: tuple[str, ...]) -> list[Header]:
    """Where the content was found: the path, and the CIDs on it. Left out where it would be too long."""
    path = f"{target.root_text}{target.path}"
    if not _PLAIN_PATH.fullmatch(path):
        path = quote(path, safe=_IN_PATHS)
    headers: list[Header] = []
    if len(path) <= _MAX_PATH_CHARS:
        headers += [("X-Ipfs-Path", f"/ipfs/{path}"), ("Ipfs-Uri", f"ipfs://{path}")]
    listed = ",".join(roots)
    if len(listed) <= _MAX_ROOTS_CHARS:
        headers.append(("X-Ipfs-Roots", listed))
    return headers


def disposition(how: str, name: str) -> Header:
    """Content-Disposition, with the name in both of its forms if it is not plain (RFC 6266)."""
    if len(name) <= _MAX_NAME_CHARS // 3 and _PLAIN_NAME.fullmatch(name):
        return "Content-Disposition", f'{how}; filename="{name}"'
    while len(encoded := quote(name, safe="")) > _MAX_NAME_CHARS:
        name = name[: len(name) * _MAX_NAME_CHARS // len(encoded)]
    plain = _NOT_PLAIN.sub("_", name)
    value = f'{how}; filename="{plain}"'
    if plain != name:
        value += f"; filename*=UTF-8''{encoded}"
    return "Content-Disposition", value
