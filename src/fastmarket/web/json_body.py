"""The body of a request that changes something: a JSON object, which no form of another site can send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from starlette.requests import ClientDisconnect, Request

from fastmarket.errors import CallerFault
from fastmarket.web.media_types import JSON, media_type_of
from fastmarket.web.refused import Refused

_MAX_DIGITS = 40  # 1 PiB at the highest price costs 29


class JsonBody:
    """Its fields by type. Each raises CallerFault naming the field."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def text(self, field: str, otherwise: str | None = None) -> str:
        """A text; `otherwise` if the field is absent, None: it has to be there."""
        value = self._values.get(field, otherwise)
        if not isinstance(value, str):
            raise CallerFault(field, "is missing" if value is None else "is not a text")
        return value

    def flag(self, field: str) -> bool:
        """True or false; false if the field is absent."""
        value = self._values.get(field, False)
        if not isinstance(value, bool):
            raise CallerFault(field, "is neither true nor false")
        return value

    def amount(self, field: str, most: int) -> int | None:
        """A whole number as decimal text, which is exact where a number of JavaScript is not; None if the
        field is absent."""
        value = self._values.get(field)
        if value is None:
            return None
        text = value if isinstance(value, str) else ""
        if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS and int(text) <= most):
            raise CallerFault(field, f"is not a whole number from 0 to {most}, as text")
        return int(text)


async def json_body(request: Request, timeout_s: float) -> JsonBody:
    """The body, which has so long to arrive. Raises Refused."""
    if media_type_of(request.headers.get("content-type", "")) != JSON:
        raise Refused(415, f"only JSON is accepted; retry with `Content-Type: {JSON}`")
    try:
        async with asyncio.timeout(timeout_s):
            raw = await request.body()
    except TimeoutError:
        raise Refused(408, "the body did not arrive in time") from None
    except ClientDisconnect:
        raise Refused(400, "the body did not arrive completely, or is too long") from None
    try:
        values = json.loads(raw)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    if not isinstance(values, dict):
        raise Refused(400, "the body is not an object")
    return JsonBody(values)
