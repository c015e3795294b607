"""Common parts of the APIs' pages: refusals and cache headers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from starlette.responses import JSONResponse, Response

from fastmarket.errors import (
    Busy,
    CallerFault,
    FastmarketError,
    Forbidden,
    NetworkFault,
    NoSuchGood,
    NoSuchTab,
    NotFound,
    PeerFault,
    StorageFault,
    Unmet,
)

# The first match applies.
_STATUSES: tuple[tuple[type[FastmarketError], int], ...] = (
    (Busy, 429),
    (NoSuchGood, 404),
    (NoSuchTab, 404),
    (Forbidden, 403),
    (Unmet, 409),
    (CallerFault, 422),
    (NotFound, 404),
    (NetworkFault, 502),
    (PeerFault, 502),
    (StorageFault, 507),
    (FastmarketError, 500),
)

_T = TypeVar("_T")


class Refused(Exception):
    """Ends a page with this status and reason."""

    def __init__(
        self, status: int, reason: str, headers: Mapping[str, str] | None = None, plain: str = ""
    ) -> None:
        """`plain`: the reason for people who filled in no fields, if it is another."""
        super().__init__(status, reason, headers, plain)
        self.status = status
        self.reason = reason
        self.headers = headers
        self.plain = plain

    def response(self) -> Response:
        """Not cacheable: the same request may succeed a moment later."""
        headers = {"Cache-Control": "no-store", **(self.headers or {})}
        plain = {"plain": self.plain} if self.plain else {}
        return JSONResponse({"error": self.reason, **plain}, self.status, headers)


def parsed(parse: Callable[[str], _T], text: str) -> _T:
    """Parses a part of the path; 400 if it is malformed."""
    try:
        return parse(text)
    except CallerFault as fault:
        raise Refused(400, str(fault)) from None


def refusal_of(fault: FastmarketError) -> Refused:
    """How a page answers that fault."""
    status = next(status for kind, status in _STATUSES if isinstance(fault, kind))
    return Refused(status, str(fault), plain=plain_of(fault))


def plain_of(fault: FastmarketError) -> str:
    """The fault for people, without the name of a field that they did not fill in; "" if it names none."""
    return fault.reason if isinstance(fault, CallerFault) else ""


def cache_control(max_age_s: int, stale_s: int) -> str:
    """Fresh for the first; then, for the second, served while revalidating or if the server fails."""
    stale = f"stale-while-revalidate={stale_s}, stale-if-error={stale_s}"
    return f"public, max-age={max_age_s}, {stale}"
