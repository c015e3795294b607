"""What a request asks for: /ipfs/CID[/path][?query]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from fastmarket.content.port.block_names import BlockName, named_by_text
from fastmarket.content.port.messages import RequestRefused
from fastmarket.errors import PeerFault

MAX_SEGMENTS = 128  # of a path below a CID: a block is read for each; contents sold are no deeper
MAX_PARAMETERS = 16  # of a query: the gateway knows nine
_PREFIX = "/ipfs/"
_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class GatewayTarget:
    """`root_text` and `path` are as written, `path` from its first slash; `segments` are decoded."""

    root: BlockName
    root_text: str
    path: str
    segments: tuple[str, ...]
    query: Mapping[str, str]


def parse_target(text: str) -> GatewayTarget:
    """Reads a request's target. Raises RequestRefused: 404 for another path, 400 for what is malformed."""
    if not text.startswith("/"):
        text = _origin_form(text)
    whole, _, query = text.partition("?")
    if not whole.startswith(_PREFIX):
        raise RequestRefused(404, "not found: this port serves /ipfs/CID")
    root_text, slash, rest = whole[len(_PREFIX) :].partition("/")
    try:
        root = named_by_text(root_text)
    except PeerFault as fault:
        raise RequestRefused(400, f"not a usable CID: {fault.reason}") from None
    segments = _segments(rest) if rest else ()
    return GatewayTarget(root, root_text, slash + rest, segments, parse_query(query) if query else _NOTHING)


def parse_query(text: str) -> dict[str, str]:
    """The parameters; of several with one name the first. Raises RequestRefused."""
    parts = text.split("&", MAX_PARAMETERS)
    if len(parts) > MAX_PARAMETERS:
        raise RequestRefused(400, f"more than {MAX_PARAMETERS} parameters")
    found: dict[str, str] = {}
    for part in parts:
        name, _, value = part.partition("=")
        if name:
            found.setdefault(name, _decoded(value.replace("+", " ")))
    return found


def _origin_form(text: str) -> str:
    """The path in an absolute URL, which a server must take as well (RFC 9112, 3.2.2)."""
    scheme, found, rest = text.partition("://")
    if not found or scheme.lower() not in ("http", "https"):
        raise RequestRefused(400, "the target is not a path")
    return "/" + rest.partition("/")[2]


def _segments(rest: str) -> tuple[str, ...]:
    parts = rest.split("/", MAX_SEGMENTS)
    if len(parts) > MAX_SEGMENTS:
        raise RequestRefused(400, f"a path of more than {MAX_SEGMENTS} parts")
    segments = tuple(_decoded(part) for part in parts if part)
    if "." in segments or ".." in segments:
        raise RequestRefused(400, "a path with . or ..")
    return segments


def _decoded(text: str) -> str:
    if "%" not in text and text.isascii():
        return text
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise RequestRefused(400, "text that is not UTF-8") from None
