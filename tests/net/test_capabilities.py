"""What each token may do, method by method, as the services' own descriptions list them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor

from fastmarket.config import AccessConfig
from fastmarket.pb import market_pb2
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1
from tests.net.test_access import READ, WRITE, bearer, serving

# Each changes what others see, or writes on this machine. Whoever adds a method says here which kind it is.
CHANGES = {
    "/market.Market/RegisterFile",
    "/fastmarket.v1.Market/RegisterFile",
    "/fastmarket.v1.Market/RegisterFiles",
    "/fastmarket.v1.Market/WithdrawFile",
    "/fastmarket.v1.Market/PutRecord",
    "/fastmarket.v1.Market/Sell",
    "/fastmarket.v1.Market/Unsell",
    "/fastmarket.v1.Market/Fetch",
    "/fastmarket.v1.Market/GetLedger",
    "/fastmarket.v1.Market/ListTabs",
    "/fastmarket.v1.Market/GetStatement",
    "/fastmarket.v1.Market/ForgivePeer",
    "/fastmarket.v1.Market/BlockPeer",
}
READS = {
    "/market.Market/CheckHolders",
    "/fastmarket.v1.Market/GetNode",
    "/fastmarket.v1.Market/ListPeers",
    "/fastmarket.v1.Market/ClosestPeers",
    "/fastmarket.v1.Market/FindHolders",
    "/fastmarket.v1.Market/FindHoldersBatch",
    "/fastmarket.v1.Market/WatchHolders",
    "/fastmarket.v1.Market/ListOffers",
    "/fastmarket.v1.Market/GetRecord",
    "/fastmarket.v1.Market/ListGoods",
}


def methods() -> dict[str, MethodDescriptor]:
    found = {}
    for file in (market_pb2.DESCRIPTOR, v1.DESCRIPTOR):
        for service in file.services_by_name.values():
            found |= {f"/{service.full_name}/{method.name}": method for method in service.methods}
    return found


async def code(
    channel: grpc.aio.Channel, path: str, method: MethodDescriptor, metadata: Any
) -> grpc.StatusCode:
    """Of a call with one empty message; what it answers does not matter."""
    kind = "_".join("stream" if s else "unary" for s in (method.client_streaming, method.server_streaming))
    made = getattr(channel, kind)(path, request_serializer=bytes, response_deserializer=bytes)
    call = made(iter([b""]) if method.client_streaming else b"", metadata=metadata, timeout=10.0)
    try:
        if method.server_streaming:
            async for _ in call:
                call.cancel()  # admitted: more is not asked
                return grpc.StatusCode.OK
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_a_method_that_changes_something_wants_a_token_that_may_write(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.touch(0o600)
    path.write_text(f"read {READ}\nwrite {WRITE}\n")
    found = methods()
    assert set(found) == CHANGES | READS
    refused: dict[str, set[str]] = {"none": set(), READ: set(), WRITE: set()}

    async def main() -> None:
        async with (
            serving(AccessConfig(tokens=str(path))) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            for name, method in found.items():
                for token, names in refused.items():
                    metadata = None if token == "none" else bearer(token)
                    got = await code(channel, name, method, metadata)
                    if got in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED):
                        names.add(name)

    run(main())
    assert refused == {"none": set(found), READ: CHANGES, WRITE: set()}
