"""Maps our errors to gRPC statuses with details (proto/fastmarket/v1/errors.proto), and back."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from fastmarket.errors import (
    Busy,
    CallerFault,
    FastmarketError,
    Forbidden,
    NetworkFault,
    NodeFault,
    NoSuchGood,
    NoSuchOffer,
    NoSuchTab,
    NotDurable,
    NotFound,
    QuorumFailed,
    RequestTimeout,
    StorageFault,
    Unmet,
)
from fastmarket.exchange.fetching.faults import BadContent, NoHolderServes, NoSuchPath
from fastmarket.pb.fastmarket.v1 import errors_pb2 as pb

MAX_DETAILS_CHARS = 1024  # gRPC sends the message in a header, and many limit headers to 8 KiB
DETAILS_KEY = "grpc-status-details-bin"  # google.rpc.Status, by the convention of all gRPC libraries
DOMAIN = "fastmarket"
# gRFC A6: milliseconds a client should wait before it retries; a negative value forbids retrying.
RETRY_AFTER_KEY = "grpc-retry-pushback-ms"
NO_RETRY = (RETRY_AFTER_KEY, "-1")
_TYPE_PREFIX = "type.googleapis.com/google.rpc."
# The message of gRPC's own asyncio client when a stream breaks, whatever the reason.
CORE_FAULT = "Internal error from Core"
STORAGE = "STORAGE"
NO_HOLDER = "NO_HOLDER"
KEPT = "the offer is stored and will be announced again"

_COUNTS = ("acknowledged", "asked", "wanted")
_COUNT_PREFIX = "fastmarket-quorum-"
_WHY = "why"  # in the metadata of a QUORUM_MISSED
_FIELD = re.compile(r"([A-Za-z0-9_.]{1,64}): (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Kind:
    """How an error is reported: the status code, the `reason` of its ErrorInfo, and when to retry."""

    code: grpc.StatusCode
    reason: str = ""
    retry_s: float | None = None


# The first match applies.
_KINDS: tuple[tuple[type[FastmarketError], _Kind], ...] = (
    (Busy, _Kind(grpc.StatusCode.RESOURCE_EXHAUSTED, "BUSY", 0.1)),
    (NoSuchOffer, _Kind(grpc.StatusCode.NOT_FOUND, "NO_SUCH_OFFER")),
    (NoSuchGood, _Kind(grpc.StatusCode.NOT_FOUND, "NO_SUCH_GOOD")),
    (NoSuchTab, _Kind(grpc.StatusCode.NOT_FOUND, "NO_SUCH_TAB")),
    (NoSuchPath, _Kind(grpc.StatusCode.NOT_FOUND, "NO_SUCH_PATH")),
    (Forbidden, _Kind(grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN")),
    (Unmet, _Kind(grpc.StatusCode.FAILED_PRECONDITION, "UNMET")),
    (CallerFault, _Kind(grpc.StatusCode.INVALID_ARGUMENT, "WRONG_FIELD")),
    (NotFound, _Kind(grpc.StatusCode.NOT_FOUND, "NOT_FOUND")),
    (QuorumFailed, _Kind(grpc.StatusCode.UNAVAILABLE, "QUORUM_MISSED")),
    (NoHolderServes, _Kind(grpc.StatusCode.UNAVAILABLE, NO_HOLDER)),
    (BadContent, _Kind(grpc.StatusCode.FAILED_PRECONDITION, "BAD_CONTENT")),
    (RequestTimeout, _Kind(grpc.StatusCode.UNAVAILABLE, "DEADLINE_PASSED")),
    (NetworkFault, _Kind(grpc.StatusCode.UNAVAILABLE, "NETWORK", 1.0)),
    (StorageFault, _Kind(grpc.StatusCode.UNAVAILABLE, STORAGE, 5.0)),
    (FastmarketError, _Kind(grpc.StatusCode.INTERNAL)),
)


class ServerUnavailable(NetworkFault):
    """The server cannot be reached, or disconnected before it answered."""


class ServerDiskFault(ServerUnavailable):
    """The server could not store something: its disk is full, or gone."""


@dataclass(frozen=True, slots=True)
class Status:
    """The status of a failed call."""

    code: grpc.StatusCode
    details: str
    metadata: tuple[tuple[str, str | bytes], ...] = ()


def status_of(error: FastmarketError) -> Status:
    """The status that reports `error` to a caller."""
    kind = next(kind for of, kind in _KINDS if isinstance(error, of))
    counts: dict[str, str] = {}
    details = str(error)[:MAX_DETAILS_CHARS]
    if isinstance(error, QuorumFailed):
        counts = {name: str(getattr(error, name)) for name in _COUNTS}
        details = f"acknowledged {error.acknowledged} of {error.asked} asked, {error.wanted} wanted"
        details = f"{details}: {error.why}"[:MAX_DETAILS_CHARS] if error.why else details
        details = f"{details}; {KEPT}"
    if not kind.reason:
        return Status(kind.code, details)
    rich = pb.Status(code=kind.code.value[0], message=details)
    told = {**counts, _WHY: error.why[:MAX_DETAILS_CHARS]} if isinstance(error, QuorumFailed) else counts
    reason = error.code if isinstance(error, Unmet) else kind.reason
    _attach(rich, "ErrorInfo", pb.ErrorInfo(reason=reason, domain=DOMAIN, metadata=told))
    if kind.code is grpc.StatusCode.INVALID_ARGUMENT and isinstance(error, CallerFault):
        wrong = pb.BadRequest.FieldViolation(field=error.field, description=error.reason[:MAX_DETAILS_CHARS])
        _attach(rich, "BadRequest", pb.BadRequest(field_violations=[wrong]))
    metadata: list[tuple[str, str | bytes]] = [(_COUNT_PREFIX + name, text) for name, text in counts.items()]
    if kind.retry_s is not None:
        _attach(rich, "RetryInfo", retry_info(kind.retry_s))
    if kind.code is grpc.StatusCode.UNAVAILABLE and (kind.retry_s is None or isinstance(error, NotDurable)):
        metadata.append(NO_RETRY)
    metadata.append((DETAILS_KEY, rich.SerializeToString()))
    return Status(kind.code, details, tuple(metadata))


def too_many_calls(details: str, wait_s: float) -> Status:
    """The status for a caller that calls too often."""
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    rich = pb.Status(code=code.value[0], message=details)
    _attach(rich, "ErrorInfo", pb.ErrorInfo(reason="BUSY", domain=DOMAIN))
    _attach(rich, "RetryInfo", retry_info(wait_s))
    pushback = (RETRY_AFTER_KEY, str(max(1, round(wait_s * 1000))))
    return Status(code, details, (pushback, (DETAILS_KEY, rich.SerializeToString())))


def retry_info(wait_s: float) -> pb.RetryInfo:
    """Says not to retry before `wait_s`."""
    info = pb.RetryInfo()
    info.retry_delay.FromNanoseconds(int(wait_s * 1e9))
    return info


def _attach(rich: pb.Status, name: str, detail: Message) -> None:
    rich.details.add(type_url=f"{_TYPE_PREFIX}{name}", value=detail.SerializeToString())


def rich_of(error: grpc.aio.AioRpcError) -> pb.Status:
    """The google.rpc.Status of a failed call, or an empty one if there is none."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            with suppress(DecodeError):
                return pb.Status.FromString(value)
    return pb.Status()


def error_of(error: grpc.aio.AioRpcError, target: str) -> FastmarketError:
    """The error a status stands for, as raised by a client of the server at `target`."""
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return CallerFault(*(_violation(rich_of(error)) or _field_and_reason(details)))
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Busy(*_field_and_reason(details))
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return Unmet(*_field_and_reason(details), code=_info(rich_of(error)).reason)
    if code is grpc.StatusCode.PERMISSION_DENIED and _info(rich_of(error)).reason:
        return Forbidden(*_field_and_reason(details))
    if code is grpc.StatusCode.UNAVAILABLE and _info(rich_of(error)).reason == NO_HOLDER:
        return NoHolderServes(details, (), ())
    if code is grpc.StatusCode.UNAVAILABLE and _info(rich_of(error)).reason == STORAGE:
        return ServerDiskFault(details, peer=target)
    if code is grpc.StatusCode.UNAVAILABLE:
        return _quorum_failed(error) or ServerUnavailable(details, peer=target)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return RequestTimeout("no answer within the deadline", peer=target)
    if code is grpc.StatusCode.NOT_FOUND:
        return NotFound(details, peer=target)
    if code is grpc.StatusCode.INTERNAL and details == CORE_FAULT:
        return ServerUnavailable("the connection ended", peer=target)
    if code is grpc.StatusCode.CANCELLED:  # from a server that is shutting down, for calls it has not begun
        return ServerUnavailable(details, peer=target)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return NetworkFault(f"{code.name}: {details}", peer=target)
    return NodeFault(f"{target}: {code.name}: {details}")


def _violation(rich: pb.Status) -> tuple[str, str] | None:
    for detail in rich.details:
        if detail.type_url == f"{_TYPE_PREFIX}BadRequest":
            with suppress(DecodeError):
                for wrong in pb.BadRequest.FromString(detail.value).field_violations:
                    return wrong.field, wrong.description
    return None


def _field_and_reason(details: str) -> tuple[str, str]:
    match = _FIELD.fullmatch(details)
    return (match[1], match[2]) if match else ("request", details)


def _quorum_failed(error: grpc.aio.AioRpcError) -> QuorumFailed | None:
    metadata = dict(error.trailing_metadata() or ())
    counts = [metadata.get(_COUNT_PREFIX + name) for name in _COUNTS]
    numbers = [int(count) for count in counts if isinstance(count, str) and count.isdecimal()]
    if len(numbers) != len(_COUNTS):
        return None
    acknowledged, asked, wanted = numbers
    return QuorumFailed(acknowledged, asked, wanted, _info(rich_of(error)).metadata.get(_WHY, ""))


def _info(rich: pb.Status) -> pb.ErrorInfo:
    """Of the error, or an empty one."""
    for detail in rich.details:
        if detail.type_url == f"{_TYPE_PREFIX}ErrorInfo":
            with suppress(DecodeError):
                return pb.ErrorInfo.FromString(detail.value)
    return pb.ErrorInfo()
