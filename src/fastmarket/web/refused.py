"""Common parts of the routing API's pages: refusals and cache headers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from starlette.responses import JSONResponse, Response

from fastmarket.errors import CallerFault

_T = TypeVar("_T")


class Refused(Exception):
    """Ends a page with this status and reason."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, reason, headers)
        self.status = status
        self.reason = reason
        self.headers = headers

    def response(self) -> Response:
        """Not cacheable: the same request may succeed a moment later."""
        headers = {"Cache-Control": "no-store", **(self.headers or {})}
        return JSONResponse({"error": self.reason}, self.status, headers)


def parsed(parse: Callable[[str], _T], text: str) -> _T:
    """Parses a part of the path; 400 if it is malformed."""
    try:
        return parse(text)
    except CallerFault as fault:
        raise Refused(400, str(fault)) from None


def cache_control(max_age_s: int, stale_s: int) -> str:
    """Fresh for the first; then, for the second, served while revalidating or if the server fails."""
    stale = f"stale-while-revalidate={stale_s}, stale-if-error={stale_s}"
    return f"public, max-age={max_age_s}, {stale}"
