"""Our errors as gRPC statuses, and back: the message carries the field or the reason, metadata the counts."""

from __future__ import annotations

import re
from dataclasses import dataclass

import grpc
import grpc.aio

from fastmarket.errors import (
    Busy,
    CallerFault,
    FastmarketError,
    NetworkFault,
    NodeFault,
    NoSuchOffer,
    NotFound,
    QuorumFailed,
    RequestTimeout,
    StorageFault,
)

MAX_DETAILS_CHARS = 1024  # gRPC sends the message in a header, and headers are bounded to 8 KiB by many
KEPT = "the offer is kept and announced further"

_COUNTS = ("acknowledged", "asked", "wanted")
_COUNT_PREFIX = "fastmarket-quorum-"
_FIELD = re.compile(r"([A-Za-z0-9_.]{1,64}): (.*)", re.DOTALL)

# The first that fits.
_CODES: tuple[tuple[type[FastmarketError], grpc.StatusCode], ...] = (
    (Busy, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (NoSuchOffer, grpc.StatusCode.NOT_FOUND),
    (CallerFault, grpc.StatusCode.INVALID_ARGUMENT),
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (NetworkFault, grpc.StatusCode.UNAVAILABLE),
    (StorageFault, grpc.StatusCode.UNAVAILABLE),
    (FastmarketError, grpc.StatusCode.INTERNAL),
)


class ServerUnavailable(NetworkFault):
    """The server cannot be reached, or went away before it answered."""


@dataclass(frozen=True, slots=True)
class Status:
    """What a failed call ends with."""

    code: grpc.StatusCode
    details: str
    metadata: tuple[tuple[str, str], ...] = ()


def status_of(error: FastmarketError) -> Status:
    """The status that tells a caller of `error`."""
    code = next(code for kind, code in _CODES if isinstance(error, kind))
    if not isinstance(error, QuorumFailed):
        return Status(code, str(error)[:MAX_DETAILS_CHARS])
    counts = tuple((_COUNT_PREFIX + name, str(getattr(error, name))) for name in _COUNTS)
    details = f"acknowledged {error.acknowledged} of {error.asked} asked, {error.wanted} wanted; {KEPT}"
    return Status(code, details, counts)


def error_of(error: grpc.aio.AioRpcError, target: str) -> FastmarketError:
    """The inverse, for a client of the server at `target`."""
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return CallerFault(*_field_and_reason(details))
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Busy(*_field_and_reason(details))
    if code is grpc.StatusCode.UNAVAILABLE:
        return _quorum_failed(error) or ServerUnavailable(details, peer=target)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return RequestTimeout("no answer within the deadline", peer=target)
    if code is grpc.StatusCode.NOT_FOUND:
        return NotFound(details, peer=target)
    if code in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNIMPLEMENTED):
        return NetworkFault(f"{code.name}: {details}", peer=target)
    return NodeFault(f"{target}: {code.name}: {details}")


def _field_and_reason(details: str) -> tuple[str, str]:
    match = _FIELD.fullmatch(details)
    return (match[1], match[2]) if match else ("request", details)


def _quorum_failed(error: grpc.aio.AioRpcError) -> QuorumFailed | None:
    metadata = dict(error.trailing_metadata() or ())
    counts = [metadata.get(_COUNT_PREFIX + name) for name in _COUNTS]
    numbers = [int(count) for count in counts if isinstance(count, str) and count.isdecimal()]
    return QuorumFailed(*numbers) if len(numbers) == len(_COUNTS) else None
