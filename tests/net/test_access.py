"""TLS, tokens and call rates on real sockets; health and reflection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from fastmarket.config import AccessConfig, MarketConfig
from fastmarket.market.grpc_errors import RETRY_AFTER_KEY
from fastmarket.market.grpc_server import MARKET, V1, MarketServer
from fastmarket.market.service import MarketService
from fastmarket.net.interfaces import interface_addresses
from fastmarket.pb import market_pb2, market_pb2_grpc
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1
from fastmarket.pb.fastmarket.v1 import market_pb2_grpc as v1_grpc
from tests.certificates import Authority
from tests.net.loopback import until
from tests.virtual import VirtualNetwork
from tests.virtual.dht import VirtualDht

CONFIG = MarketConfig(port=0, find_budget_s=0.1, register_budget_s=0.1, reply_margin_s=0.05)
READ, WRITE = "r" * 16, "w" * 20
USER = market_pb2.User(id=b"me", name="Ann", ip="192.0.2.1", port=4000, price=3)
REGISTER = market_pb2.RegisterFileRequest(user=USER, fileHash="ab" * 32)
CHECK = market_pb2.CheckHoldersRequest(fileHash="ab" * 32)
SMALL_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16_384))
Call = tuple[str, str, float]


@asynccontextmanager
async def serving(
    access: AccessConfig,
    host: str = "127.0.0.1",
    seen: list[Call] | None = None,
    config: MarketConfig = CONFIG,
) -> AsyncIterator[int]:
    net = VirtualNetwork.immediate()
    service = MarketService(VirtualDht(net.mesh(3)[0]), config, now=lambda: net.now)
    calls = [] if seen is None else seen
    server = MarketServer(service, config, access, lambda *call: calls.append(call))
    port = await server.start(host)
    try:
        yield port
    finally:
        await server.stop()


def stub(channel: grpc.aio.Channel) -> Any:
    return market_pb2_grpc.MarketStub(channel)  # type: ignore[no-untyped-call]


def bearer(token: str) -> Sequence[tuple[str, str]]:
    return (("authorization", f"Bearer {token}"),)


async def code_of(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def answers_of(call: Any) -> list[Any]:
    return [answer async for answer in call]


def test_tls_with_and_without_certificates_of_callers(run: Any, tmp_path: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    server, ours, theirs = authority.issue("server"), authority.issue("ours"), other.issue("theirs")
    ca = authority.ca.read_bytes()
    config = AccessConfig(tls_cert=str(server.cert), tls_key=str(server.key))
    mutual = AccessConfig(tls_cert=str(server.cert), tls_key=str(server.key), tls_client_ca=str(authority.ca))

    async def check(port: int, credentials: grpc.ChannelCredentials) -> grpc.StatusCode:
        async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
            return await code_of(stub(channel).CheckHolders(CHECK, timeout=10))

    def client(roots: bytes, pair: Any = None) -> grpc.ChannelCredentials:
        if pair is None:
            return grpc.ssl_channel_credentials(roots)
        return grpc.ssl_channel_credentials(roots, pair.key.read_bytes(), pair.cert.read_bytes())

    async def main() -> None:
        async with serving(config) as port:
            assert await check(port, client(ca)) is grpc.StatusCode.OK
            assert await check(port, client(other.ca.read_bytes())) is grpc.StatusCode.UNAVAILABLE
            async with grpc.aio.insecure_channel(f"localhost:{port}") as channel:
                assert await code_of(stub(channel).CheckHolders(CHECK)) is grpc.StatusCode.UNAVAILABLE
            renewed = other.issue("renewed")
            server.key.write_bytes(renewed.key.read_bytes())
            server.cert.write_bytes(renewed.cert.read_bytes())
            assert await check(port, client(other.ca.read_bytes())) is grpc.StatusCode.OK, "renewed"
            server.key.write_bytes(ours.key.read_bytes())
            server.cert.write_bytes(ours.cert.read_bytes())
        async with serving(mutual) as port:
            assert await check(port, client(ca, ours)) is grpc.StatusCode.OK
            assert await check(port, client(ca)) is grpc.StatusCode.UNAVAILABLE
            assert await check(port, client(ca, theirs)) is grpc.StatusCode.UNAVAILABLE

    run(main())


def test_tokens_read_and_write(run: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "tokens"
    path.touch(0o600)
    path.write_text(f"read {READ}\nwrite {WRITE}\n")
    codes = grpc.StatusCode
    seen: list[Call] = []

    async def main() -> None:
        async with (
            serving(AccessConfig(tokens=str(path)), seen=seen) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            market = stub(channel)
            for metadata, checked, registered in (
                (None, codes.UNAUTHENTICATED, codes.UNAUTHENTICATED),
                (bearer("x" * 16), codes.UNAUTHENTICATED, codes.UNAUTHENTICATED),
                ((("authorization", f"Basic {WRITE}"),), codes.UNAUTHENTICATED, codes.UNAUTHENTICATED),
                (bearer(READ), codes.OK, codes.PERMISSION_DENIED),
                (bearer(WRITE), codes.OK, codes.OK),
            ):
                assert await code_of(market.CheckHolders(CHECK, metadata=metadata)) is checked
                assert await code_of(market.RegisterFile(REGISTER, metadata=metadata)) is registered
            asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
            for metadata, code in ((None, codes.UNAUTHENTICATED), (bearer(READ), codes.OK)):
                call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
                    iter(asked), metadata=metadata
                )
                assert await code_of(answers_of(call)) is code
            health = health_pb2_grpc.HealthStub(channel)
            answer = await health.Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.SERVING, "health needs no token"

    run(main())
    assert READ not in caplog.text
    assert WRITE not in caplog.text
    assert [
        record.message.partition(" (")[0] for record in caplog.records if "refused" in record.message
    ] == [
        "refused a call: 127.0.0.1 has no valid token",
        f"refused a call: {caplog_name(caplog)} may not call /market.Market/RegisterFile",
    ], "one line a caller a minute"
    assert sorted({(method.rpartition("/")[2], code) for method, code, _ in seen}) == [
        ("CheckHolders", "OK"),
        ("CheckHolders", "UNAUTHENTICATED"),
        ("RegisterFile", "OK"),
        ("RegisterFile", "PERMISSION_DENIED"),
        ("RegisterFile", "UNAUTHENTICATED"),
        ("ServerReflectionInfo", "OK"),
        ("ServerReflectionInfo", "UNAUTHENTICATED"),
    ]
    assert all(0.0 < seconds < 30.0 for _, _, seconds in seen)


def caplog_name(caplog: pytest.LogCaptureFixture) -> str:
    return next(r.message.split(": ")[1].partition(" may")[0] for r in caplog.records if " may " in r.message)


def test_a_caller_from_elsewhere_is_held_to_its_rate(run: Any) -> None:
    elsewhere = [addr for addr in interface_addresses() if "." in addr and not addr.startswith("127.")]
    if not elsewhere:
        pytest.skip("this machine has no address but loopback")
    config = AccessConfig(insecure=True, calls_per_second=0.001, burst_calls=3)

    async def main() -> None:
        async with serving(config, "0.0.0.0") as port:
            async with grpc.aio.insecure_channel(f"{elsewhere[0]}:{port}") as channel:
                for _ in range(3):
                    await stub(channel).CheckHolders(CHECK)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub(channel).CheckHolders(CHECK)
                assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                hint = dict(caught.value.trailing_metadata() or ())[RETRY_AFTER_KEY]
                assert 900_000 < int(hint) <= 1_000_000
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                for _ in range(5):
                    await stub(channel).CheckHolders(CHECK)

    run(main())


def test_health_follows_the_server_and_reflection_names_the_services(run: Any) -> None:
    async def main() -> None:
        async with (
            serving(AccessConfig()) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            health = health_pb2_grpc.HealthStub(channel)
            for name in ("", MARKET, V1):
                answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            if hasattr(health, "List"):
                listed = await health.List(health_pb2.HealthListRequest())
                assert {"", MARKET, V1} <= set(listed.statuses)
                assert {one.status for one in listed.statuses.values()} == {
                    health_pb2.HealthCheckResponse.SERVING
                }
            asked = reflection_pb2.ServerReflectionRequest(list_services="")
            about = reflection_pb2.ServerReflectionRequest(file_containing_symbol=MARKET)
            calls = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
                iter([asked, about])
            )
            answers = [answer async for answer in calls]
            assert {service.name for service in answers[0].list_services_response.service} >= {MARKET, V1}
            assert answers[1].file_descriptor_response.file_descriptor_proto

    run(main())


def test_compressed_calls_are_answered(run: Any) -> None:
    async def main() -> None:
        async with (
            serving(AccessConfig()) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}", compression=grpc.Compression.Gzip) as channel,
        ):
            assert await code_of(stub(channel).CheckHolders(CHECK)) is grpc.StatusCode.OK

    run(main())


def test_health_is_answered_beside_callers_who_fill_everything(run: Any) -> None:
    """Its own watches have a bound, too: they need no token."""
    config = replace(CONFIG, max_concurrent_rpcs=4, max_calls_per_caller=4, health_rpcs=8)

    async def main() -> None:
        async with (
            serving(AccessConfig(), config=config) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            watch = v1_grpc.MarketStub(channel).WatchHolders  # type: ignore[no-untyped-call]
            watches = [watch(v1.WatchHoldersRequest(content="x")) for _ in range(20)]
            open_ones = [call for call in watches if await first_of(call)]
            assert 0 < len(open_ones) <= 4
            health = health_pb2_grpc.HealthStub(channel)
            looks = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(20)]
            assert 0 < len([look for look in looks if await first_of(look)]) <= 4
            for _ in range(3):
                answer = await health.Check(health_pb2.HealthCheckRequest())
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            for call in (*watches, *looks):
                call.cancel()

    run(main())


async def first_of(call: Any) -> bool:
    """Whether an answer comes."""
    try:
        return await call.read() is not grpc.aio.EOF
    except grpc.aio.AioRpcError:
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        return False


def test_a_stream_whose_answers_nobody_reads_ends(run: Any) -> None:
    """And gives back what it held."""
    config = replace(CONFIG, unread_timeout_s=0.2)
    seen: list[Call] = []

    async def main() -> None:
        async with (
            serving(AccessConfig(), seen=seen, config=config) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=SMALL_WINDOW) as channel,
        ):
            message = v1.FindHoldersBatchRequest(searches=[v1.FindHoldersRequest()] * 1000)  # 40 KB of faults

            async def endless() -> AsyncIterator[v1.FindHoldersBatchRequest]:
                while True:
                    yield message

            call = v1_grpc.MarketStub(channel).FindHoldersBatch(endless())  # type: ignore[no-untyped-call]
            await until(lambda: bool(seen))
            assert seen[0][:2] in (
                ("/fastmarket.v1.Market/FindHoldersBatch", code)
                for code in ("RESOURCE_EXHAUSTED", "CANCELLED")  # a status may wait behind what is not read
            )
            call.cancel()

    run(main())
