"""Errors as statuses and back."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest

from fastmarket.errors import (
    Busy,
    CallerFault,
    ConnectionLost,
    FastmarketError,
    NetworkFault,
    NodeFault,
    NotFound,
    QuorumFailed,
    RequestTimeout,
)
from fastmarket.market.grpc_errors import MAX_DETAILS_CHARS, ServerUnavailable, error_of, status_of


def there_and_back(error: FastmarketError) -> FastmarketError:
    status = status_of(error)
    return error_of(
        grpc.aio.AioRpcError(
            status.code, grpc.aio.Metadata(), grpc.aio.Metadata(*status.metadata), details=status.details
        ),
        "host:1",
    )


@pytest.mark.parametrize(
    ("error", "code", "comes_back"),
    [
        (CallerFault("user.port", "0 is bad"), grpc.StatusCode.INVALID_ARGUMENT, CallerFault),
        (Busy("jobs", "full"), grpc.StatusCode.RESOURCE_EXHAUSTED, Busy),
        (QuorumFailed(1, 3, 2), grpc.StatusCode.UNAVAILABLE, QuorumFailed),
        (ConnectionLost("gone"), grpc.StatusCode.UNAVAILABLE, ServerUnavailable),
        (NotFound("nothing"), grpc.StatusCode.NOT_FOUND, NotFound),
        (NodeFault("disk full"), grpc.StatusCode.INTERNAL, NodeFault),
    ],
)
def test_each_error_has_its_status(
    error: FastmarketError, code: grpc.StatusCode, comes_back: type[FastmarketError]
) -> None:
    assert status_of(error).code is code
    assert type(there_and_back(error)) is comes_back


def test_the_field_and_the_reason_survive() -> None:
    back = there_and_back(CallerFault("user.ip", "'a: b'\nis no host"))
    assert isinstance(back, CallerFault)
    assert (back.field, back.reason) == ("user.ip", "'a: b'\nis no host")
    assert len(status_of(CallerFault("x", "y" * 5000)).details) == MAX_DETAILS_CHARS


def test_the_counts_survive_and_are_told_to_people() -> None:
    status = status_of(QuorumFailed(1, 3, 2))
    assert (
        status.details
        == "acknowledged 1 of 3 asked, 2 wanted; the offer is stored and will be announced again"
    )
    back = there_and_back(QuorumFailed(1, 3, 2))
    assert isinstance(back, QuorumFailed)
    assert (back.acknowledged, back.asked, back.wanted) == (1, 3, 2)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.DEADLINE_EXCEEDED, RequestTimeout),
        (grpc.StatusCode.UNIMPLEMENTED, NetworkFault),
        (grpc.StatusCode.CANCELLED, ServerUnavailable),
        (grpc.StatusCode.UNKNOWN, NodeFault),
        (grpc.StatusCode.INVALID_ARGUMENT, CallerFault),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Busy),
    ],
)
def test_statuses_of_other_servers(code: grpc.StatusCode, kind: type[FastmarketError]) -> None:
    error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=None)
    assert type(error_of(error, "host:1")) is kind
