"""Every method of every service of the gRPC port: who may call it, and what is never parsed."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from fastmarket.config import AccessConfig
from fastmarket.market.access import AccessScope
from fastmarket.pb import market_pb2
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1
from tests.net.loopback import until
from tests.net.test_access import CONFIG, READ, WRITE, bearer, serving

FILES = (market_pb2, v1, reflection_pb2, health_pb2)
METHODS = {
    f"/{service.full_name}/{method.name}": method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
# What looks and changes nothing, by its name; whatever is called otherwise asks for a token to write, and so
# does what tells of money.
LOOKS = re.compile(
    r"(?!GetLedger|ListTabs|GetStatement)(Get|List|Find|Watch|Check|Closest|ServerReflection)[A-Za-z]*"
)
OPEN = "/grpc.health.v1.Health/"
REFUSALS = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


async def call(channel: grpc.aio.Channel, path: str, raw: bytes, token: str | None) -> grpc.StatusCode:
    """What the server ends it with. Where a call has ended before its message was written, gRPC's client
    says INTERNAL in the server's place: then it is made again."""
    for _ in range(20):
        code = await called(channel, path, raw, token)
        if not (METHODS[path].client_streaming and code is grpc.StatusCode.INTERNAL):
            break
    return code


async def called(channel: grpc.aio.Channel, path: str, raw: bytes, token: str | None) -> grpc.StatusCode:
    """What it ends with; one that goes on is left after its first answer."""
    method: Any = METHODS[path]
    sides = ("stream" if many else "unary" for many in (method.client_streaming, method.server_streaming))
    sent = iter([raw]) if method.client_streaming else raw
    metadata = None if token is None else bearer(token)
    made = getattr(channel, "_".join(sides))(path)(sent, metadata=metadata, timeout=20)
    try:
        if method.server_streaming:
            async for _ in made:
                made.cancel()
                return grpc.StatusCode.OK
        else:
            await made
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize("path", METHODS)
def test_who_may_call(run: Any, tmp_path: Path, path: str) -> None:
    tokens = tmp_path / "tokens"
    tokens.touch(0o600)
    tokens.write_text(f"read {READ}\nwrite {WRITE}\n")
    writes = not LOOKS.fullmatch(path.rpartition("/")[2])

    async def main() -> None:
        async with (
            serving(AccessConfig(tokens=str(tokens))) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            codes = [await call(channel, path, b"", token) for token in (None, "x" * 16, READ, WRITE)]
        if path.startswith(OPEN):
            assert not REFUSALS & set(codes)
            return
        assert codes[:2] == [grpc.StatusCode.UNAUTHENTICATED] * 2
        assert (codes[2] is grpc.StatusCode.PERMISSION_DENIED) is writes
        assert codes[3] not in {*REFUSALS, grpc.StatusCode.UNIMPLEMENTED}

    run(main())


def test_a_row_of_the_table_says_who_may_call() -> None:
    from fastmarket.market.calls import Method

    with pytest.raises(TypeError, match="scope"):
        Method(handler=object())  # type: ignore[call-arg, arg-type]
    assert AccessScope.WRITE.allows(AccessScope.READ)
    assert not AccessScope.READ.allows(AccessScope.WRITE)


@pytest.mark.parametrize("path", [path for path in METHODS if "arket" in path])
def test_what_is_too_long_or_too_much_is_not_parsed(run: Any, path: str) -> None:
    """A few bytes may be a field that takes a hundred of memory."""
    batch = path.endswith(("FindHoldersBatch", "RegisterFiles"))
    # Of a batch empty entries, else an unknown field that is long.
    tag = {"FindHoldersBatch": b"\x1a\x00", "RegisterFiles": b"\x0a\x00"}.get(path.rpartition("/")[2], b"")
    raw = tag * 500_000 if batch else b"\xfa\x7f\xc0\x84\x3d" + bytes(1_000_000)

    async def main() -> None:
        async with serving(AccessConfig()) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert await call(channel, path, raw, None) is grpc.StatusCode.INVALID_ARGUMENT

    run(main())


@pytest.mark.parametrize("path", [path for path in METHODS if not METHODS[path].client_streaming])
def test_a_call_whose_message_does_not_come_ends(run: Any, path: str) -> None:
    """gRPC would wait for it as long as the connection lasts, before it asks anybody whether the call may be
    made; so many of them would be all the calls that there may be."""
    config = replace(CONFIG, message_timeout_s=0.2)
    answers = "stream" if METHODS[path].server_streaming else "unary"

    async def main() -> None:
        async with (
            serving(AccessConfig(), config=config) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            made = getattr(channel, f"stream_{answers}")(path)(timeout=20)
            assert await made.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert "message" in await made.details()

    run(main())


def test_calls_whose_message_does_not_come_are_bounded_by_caller(run: Any) -> None:
    """One caller's are no more than its part, and nobody's health is hidden by them."""
    # Room for all that are refused, too: they count until the server has sent its refusal, a moment later
    # than the caller has it.
    config = replace(CONFIG, max_concurrent_rpcs=64, max_calls_per_caller=4, health_rpcs=2)

    async def main() -> None:
        async with serving(AccessConfig(), config=config) as port, AsyncExitStack() as stack:
            apart = (("grpc.use_local_subchannel_pool", 1),)  # callers of this machine are connections
            ours, theirs = [
                await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=apart))
                for _ in range(2)
            ]
            made = [theirs.stream_unary("/market.Market/CheckHolders")() for _ in range(40)]
            await until(lambda: sum(one.done() for one in made) == len(made) - 4)
            check = market_pb2.CheckHoldersRequest(fileHash="a").SerializeToString()
            for path, raw in (("/market.Market/CheckHolders", check), (f"{OPEN}Check", b"")):
                assert await call(ours, path, raw, None) is grpc.StatusCode.OK
            for one in made:
                one.cancel()
            await until(lambda: all(one.done() for one in made))
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            while code is grpc.StatusCode.RESOURCE_EXHAUSTED:  # until the server has heard of it, too
                code = await call(theirs, "/market.Market/CheckHolders", check, None)
            assert code is grpc.StatusCode.OK

    run(main())
