"""A content as people type or copy it, with a path behind it perhaps."""

from __future__ import annotations

import re
from contextlib import suppress
from urllib.parse import unquote

from fastmarket.errors import CallerFault
from fastmarket.formats.cid import MAX_FILE_HASH_BYTES, Cid, Codec, NamedBy, named

MAX_TYPED_CHARS = MAX_FILE_HASH_BYTES + 4096  # a name, and a path of PATH_MAX behind a CID

_URL = re.compile(r"ipfs://(?:ipfs/)?", re.IGNORECASE)
_PATH = "/ipfs/"


def split_path(text: str) -> tuple[str, tuple[str, ...]]:
    """The text of the content, and the names below it: CID/a/b, /ipfs/CID/a/b, or ipfs://CID/a/b, where these
    are percent-encoded. Any other text is one content. Raises CallerFault ("content")."""
    if len(text) > MAX_TYPED_CHARS:
        raise CallerFault("content", f"is longer than {MAX_TYPED_CHARS} characters")
    bare = text.strip()
    url = _URL.match(bare)
    rest = bare[url.end() :].partition("?")[0] if url is not None else bare.removeprefix(_PATH)
    head, slash, path = rest.partition("/")
    if slash and path.strip("/"):
        with suppress(CallerFault):
            cid = Cid.from_text(head)
            segments = tuple(part for part in path.split("/") if part)
            return str(cid), tuple(map(unquote, segments)) if url is not None else segments
    return text, ()


def file_of(text: str) -> tuple[Cid, tuple[str, ...]]:
    """The root and the path of a file that can be fetched. Raises CallerFault ("content")."""
    content, path = split_path(text)
    try:
        found = named(content)
    except CallerFault as fault:
        raise CallerFault("content", fault.reason) from None
    if found.by is NamedBy.TEXT_HASH:
        raise CallerFault("content", "is a name, which says nothing of the bytes; a file is got by its CID")
    version, codec = found.form or (1, Codec.RAW)
    return Cid(version, codec, found.multihash), path
