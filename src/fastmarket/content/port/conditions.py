"""Ranges and conditions of a request (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from fastmarket.content.port.messages import RequestRefused

_SPECS = re.compile(r"bytes=[ \t]*(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))[ \t]*(,|$)", re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?("[^"]*")')


class Span(NamedTuple):
    """Bytes from `start` to before `end`."""

    start: int
    end: int


def is_known(headers: Mapping[str, str], etag: str) -> bool:
    """Whether If-None-Match names the tag, or anything: the answer is 304. Compared weakly."""
    wanted = headers.get("if-none-match")
    if wanted is None:
        return False
    return wanted.strip() == "*" or _opaque(etag) in _TAG.findall(wanted)


def range_of(headers: Mapping[str, str], etag: str, size: int) -> Span | None:
    """The bytes asked for, of several ranges the first; None: all.

    A header that is malformed, of another unit, or with an If-Range of another tag counts as absent. Raises
    RequestRefused(416) for a range behind the end.
    """
    text = headers.get("range")
    if text is None:
        return None
    match = _SPECS.match(text.strip())
    if match is None or headers.get("if-range", etag) != etag:
        return None
    if match[3] is not None:
        start, end = max(size - int(match[3]), 0), size
    else:
        start, end = int(match[1]), min(int(match[2]) + 1, size) if match[2] else size
        if match[2] and int(match[2]) < start:
            return None
    if start >= end:
        raise RequestRefused(416, f"there are {size} bytes", (("Content-Range", f"bytes */{size}"),))
    return Span(start, end)


def only_if_cached(headers: Mapping[str, str]) -> bool:
    """Whether the answer may only come from what is here (RFC 9111, 5.2.1.7), which all of ours do; the
    gateway's specification wants another status then."""
    return "only-if-cached" in headers.get("cache-control", "").lower()


def _opaque(etag: str) -> str:
    return etag.removeprefix("W/")
