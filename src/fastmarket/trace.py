"""A hook through which protocol objects say what they do; the default says nothing.

A `Trace` costs one attribute look-up and an empty call when nobody listens, so it may stand on warm paths,
not inside the per-frame ones.
"""

from __future__ import annotations


class Trace:
    """Receives named events with their fields; subclass to record, count or print them."""

    __slots__ = ()

    def event(self, name: str, **fields: object) -> None:
        """`name` is dotted, lower case and stable ("lookup.finished"); fields are plain values."""


NULL_TRACE = Trace()
