"""A hook for events of protocol objects; the default ignores them.

Without a listener, a `Trace` costs an attribute lookup and an empty call, which is fine on warm paths, but
not inside per-frame ones.
"""

from __future__ import annotations


class Trace:
    """Receives named events with fields; subclass it to record, count or print them."""

    __slots__ = ()

    def event(self, name: str, **fields: object) -> None:
        """`name` is dotted, lower case and stable ("lookup.finished"); fields are plain values."""


NULL_TRACE = Trace()
