"""How a fetch fails."""

from __future__ import annotations

from fastmarket.errors import CallerFault, NetworkFault, PeerFault
from fastmarket.formats.cid import Cid


class NoHolderServes(NetworkFault):
    """Some blocks are missing and no holder serves them; another holder, or a later call, may.

    `missing`: CIDs of the first few of them, as text. `why`: (key of a holder, why it does not serve), one
    each.
    """

    def __init__(self, reason: str, missing: tuple[str, ...], why: tuple[tuple[int, str], ...]) -> None:
        super().__init__(reason)
        self.missing = missing
        self.why = why


class NoSuchPath(CallerFault):
    """There is no such name in the content."""


class NotAFile(CallerFault):
    """The path leads to something else than a file."""


class BadContent(PeerFault):
    """The content itself breaks a rule of UnixFS, whoever holds it. `cid`: of the block at fault, as text."""

    def __init__(self, reason: str, cid: str) -> None:
        super().__init__(f"block {cid}: {reason}", protocol="unixfs")
        self.cid = cid


def text_of(cid: bytes) -> str:
    """A binary CID as text; in hexadecimal if it is not one."""
    try:
        return str(Cid.from_bytes(cid))
    except PeerFault:
        return cid.hex()


def bad_content(reason: str, cid: bytes) -> BadContent:
    """Of a block by its binary CID."""
    return BadContent(reason, text_of(cid))
