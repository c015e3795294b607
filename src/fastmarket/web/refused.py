"""What the pages of the routing API have in common: refusals and cache headers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from starlette.responses import JSONResponse, Response

from fastmarket.errors import CallerFault

_T = TypeVar("_T")


class Refused(Exception):
    """A page answers with this status and the reason."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, reason, headers)
        self.status = status
        self.reason = reason
        self.headers = headers

    def response(self) -> Response:
        """Nobody is to keep it: what was refused may be had a moment later."""
        headers = {"Cache-Control": "no-store", **(self.headers or {})}
        return JSONResponse({"error": self.reason}, self.status, headers)


def parsed(parse: Callable[[str], _T], text: str) -> _T:
    """What a part of the path names; 400 where it names nothing."""
    try:
        return parse(text)
    except CallerFault as fault:
        raise Refused(400, str(fault)) from None


def cache_control(max_age_s: int, stale_s: int) -> str:
    """Fresh for the first, shown for the second while it is asked for again or nobody answers."""
    stale = f"stale-while-revalidate={stale_s}, stale-if-error={stale_s}"
    return f"public, max-age={max_age_s}, {stale}"
