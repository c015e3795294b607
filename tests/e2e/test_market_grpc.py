"""market.Market as the existing OrcaNet clients call it, served by real processes."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf import empty_pb2

from fastmarket.cli.processes import ServerProcess
from fastmarket.pb import market_pb2
from fastmarket.pb.market_pb2_grpc import MarketStub
from tests.e2e.conftest import Servers

CLIENT_DEADLINE_S = 1.0  # the Go client's
CONTENT = "ef" * 32


def stub_of(server: ServerProcess) -> MarketStub:
    return MarketStub(grpc.insecure_channel(f"127.0.0.1:{server.port}"))  # type: ignore[no-untyped-call]


def user(**fields: object) -> market_pb2.User:
    told: dict[str, object] = {
        "id": b"\x30\x82\xff",
        "name": "old",
        "ip": "192.0.2.1",
        "port": 416,
        "price": 7,
    }
    return market_pb2.User(**(told | fields))  # type: ignore[arg-type]


@pytest.fixture
def stub(node: ServerProcess) -> Iterator[MarketStub]:
    with grpc.insecure_channel(f"127.0.0.1:{node.port}") as channel:
        yield MarketStub(channel)  # type: ignore[no-untyped-call]


def test_register_and_check(stub: MarketStub) -> None:
    request = market_pb2.RegisterFileRequest(user=user(), fileHash=CONTENT)
    assert stub.RegisterFile(request, timeout=CLIENT_DEADLINE_S) == empty_pb2.Empty()
    assert stub.RegisterFile(request, timeout=CLIENT_DEADLINE_S) == empty_pb2.Empty()
    reply = stub.CheckHolders(market_pb2.CheckHoldersRequest(fileHash=CONTENT), timeout=CLIENT_DEADLINE_S)
    assert list(reply.holders) == [user()]


def test_unknown_content_has_no_holders(stub: MarketStub) -> None:
    reply = stub.CheckHolders(
        market_pb2.CheckHoldersRequest(fileHash="never seen"), timeout=CLIENT_DEADLINE_S
    )
    assert list(reply.holders) == []


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (market_pb2.RegisterFileRequest(user=user()), "fileHash"),
        (market_pb2.RegisterFileRequest(fileHash=CONTENT), "user"),
        (market_pb2.RegisterFileRequest(user=user(port=0), fileHash=CONTENT), "user.port"),
        (market_pb2.RegisterFileRequest(user=user(port=416320), fileHash=CONTENT), "user.port"),
        (market_pb2.RegisterFileRequest(user=user(price=-1), fileHash=CONTENT), "user.price"),
        (market_pb2.RegisterFileRequest(user=user(ip="no host"), fileHash=CONTENT), "user.ip"),
        (market_pb2.RegisterFileRequest(user=user(), fileHash="x" * 1025), "fileHash"),
        (market_pb2.CheckHoldersRequest(), "fileHash"),
    ],
)
def test_a_wrong_field_is_named(
    stub: MarketStub, request_: market_pb2.RegisterFileRequest | market_pb2.CheckHoldersRequest, field: str
) -> None:
    is_check = isinstance(request_, market_pb2.CheckHoldersRequest)
    method = stub.CheckHolders if is_check else stub.RegisterFile
    with pytest.raises(grpc.RpcError) as caught:
        method(request_, timeout=CLIENT_DEADLINE_S)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (caught.value.details() or "").startswith(f"{field}: ")


def test_an_answer_comes_in_time_though_nodes_hang(servers: Servers) -> None:
    first = servers.start()
    second = servers.start(join=first)
    third = servers.start(join=first)
    request = market_pb2.RegisterFileRequest(user=user(), fileHash=CONTENT)
    stub_of(second).RegisterFile(request, timeout=5)
    for server in (first, second):  # their connections stay open, and not a byte comes any more
        server.process.send_signal(signal.SIGSTOP)
    stub = stub_of(third)
    for _ in range(2):
        started = time.monotonic()
        reply = stub.CheckHolders(market_pb2.CheckHoldersRequest(fileHash=CONTENT), timeout=CLIENT_DEADLINE_S)
        assert time.monotonic() - started < CLIENT_DEADLINE_S
        assert list(reply.holders) == [user()]  # from the third node's own store
