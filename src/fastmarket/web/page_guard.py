"""Guards the page: no other site can read, embed or call it, and no stranger's name leads to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fastmarket.config import WebConfig
from fastmarket.errors import FastmarketError
from fastmarket.web.hosts import UNKNOWN_HOST, asked_host, is_ours
from fastmarket.web.refused import Refused, refusal_of

Page = Callable[[Request], Awaitable[Response]]

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# How a browser describes the initiator of a request (Fetch Metadata); programs send nothing.
OURS = frozenset({None, "none", "same-origin"})


class PageGuard:
    """Allows only the page itself and programs; tells browsers to let nothing else in."""

    def __init__(self, config: WebConfig) -> None:
        self._config = config

    def route(self, path: str, page: Page, method: str = "GET") -> Route:
        """The guarded route of a page."""
        return Route(path, self.over(page), methods=[method])

    def over(self, page: Page) -> Page:
        """The guarded page. Its faults become answers."""

        async def answer(request: Request) -> Response:
            if request.headers.get("sec-fetch-site") not in OURS:
                return PlainTextResponse("requests from other sites are refused\n", 403, HEADERS)
            if not is_ours(asked_host(request), self._config.host, self._config.names):
                return PlainTextResponse(UNKNOWN_HOST, 421, HEADERS)
            try:
                response = await page(request)
            except Refused as refused:
                response = refused.response()
            except FastmarketError as fault:
                response = refusal_of(fault).response()
            response.headers.update(HEADERS)
            return response

        return answer
