"""A file named by a CID and a path below it, in any form in which it is copied."""

from __future__ import annotations

import re
from urllib.parse import unquote

from fastmarket.errors import CallerFault
from fastmarket.formats.cid import Cid

MAX_CHARS = 8192  # a CID, and a path of 4,096 bytes of which every second one is escaped

_URL = re.compile(r"(?:ipfs://(?:ipfs/)?|https?://[^/?#\s]+/ipfs/)(.+)", re.IGNORECASE | re.DOTALL)
_SUBDOMAIN = re.compile(r"(?:https?://)?([^.:/?#@\s]+)\.ipfs\.[^/?#\s]+(/.*)?", re.IGNORECASE | re.DOTALL)
_PREFIX = "/ipfs/"


def cid_and_path(text: str) -> tuple[Cid, tuple[str, ...]]:
    """The CID, and the names of the path below it, of `CID/dir/file`, `/ipfs/CID/...`, `ipfs://CID/...` or a
    gateway's URL. Names in URLs are unescaped. Raises CallerFault("content", ...)."""
    if len(text) > MAX_CHARS:
        raise CallerFault("content", f"is longer than {MAX_CHARS} characters")
    try:
        return Cid.from_link(text), ()
    except CallerFault as fault:
        whole = fault
    head, names = _parts(text.lstrip())  # a name may end in a space
    try:
        cid = Cid.from_link(head)
    except CallerFault:
        raise CallerFault("content", whole.reason) from None
    return cid, names


def _parts(text: str) -> tuple[str, tuple[str, ...]]:
    url, subdomain = _URL.fullmatch(text.rstrip()), _SUBDOMAIN.fullmatch(text.rstrip())
    if url is not None:
        head, _, path = re.split("[?#]", url[1], maxsplit=1)[0].partition("/")
        return head, _names(path, is_escaped=True)
    if subdomain is not None:
        return subdomain[1], _names(re.split("[?#]", subdomain[2] or "", maxsplit=1)[0], is_escaped=True)
    head, _, path = text.removeprefix(_PREFIX).partition("/")
    return head, _names(path, is_escaped=False)


def _names(path: str, *, is_escaped: bool) -> tuple[str, ...]:
    names = [name for name in path.split("/") if name]
    return tuple(map(unquote, names) if is_escaped else names)
