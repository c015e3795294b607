"""Checks replies of the engine of a fleet: what stands behind its address is trusted no more than a peer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import ResponseError

_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What the client library raises on a reply that it cannot read: `ASK` without a host, lists too deep."""


class OddReply(ResponseError):
    """A reply of a form that no engine gives to that call."""


@contextmanager
def readable() -> Iterator[None]:
    """Raises OddReply where the client library cannot read a reply."""
    try:
        yield
    except _UNREADABLE as error:
        raise OddReply(f"a malformed reply: {error}") from None


def as_fields(reply: object) -> tuple[int, dict[bytes, bytes]]:
    """The number of fields left out, and the others. Raises OddReply."""
    if not isinstance(reply, list) or len(reply) != 2 or type(reply[0]) is not int:
        raise _odd(reply)
    left_out, pairs = reply
    found = as_texts(pairs)
    if left_out < 0 or len(found) % 2:
        raise _odd(reply)
    return left_out, dict(zip(found[::2], found[1::2], strict=True))


def as_texts(reply: object) -> list[bytes]:
    """A list of byte strings. Raises OddReply."""
    if not isinstance(reply, list) or not all(isinstance(one, bytes) for one in reply):
        raise _odd(reply)
    return reply


def as_value(reply: object) -> bytes | int | None:
    """A value, its size, or nothing. Raises OddReply."""
    if reply is None or isinstance(reply, bytes) or type(reply) is int:
        return reply
    raise _odd(reply)


def as_count(reply: object) -> int:
    """A number of things. Raises OddReply."""
    if type(reply) is not int or reply < 0:
        raise _odd(reply)
    return reply


def _odd(reply: object) -> OddReply:
    return OddReply(f"a reply of type {type(reply).__name__} where another was expected")
