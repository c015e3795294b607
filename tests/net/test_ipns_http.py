"""Names over HTTP: what is put by way of one node is in the DHT, and found by way of another."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from multiformats import multibase

from fastmarket.config import AccessConfig, HostConfig, KadConfig, MarketConfig, NodeConfig, WebConfig
from fastmarket.formats.cid import Cid, Codec
from fastmarket.formats.dag_cbor import encode_map
from fastmarket.formats.identity import Identity
from fastmarket.kad.maintenance import Own
from fastmarket.kad.records.record import Record
from fastmarket.kad.records.signed_values import ipns_key
from fastmarket.net.dht_node import DhtNode
from fastmarket.node import Node
from fastmarket.pb.libp2p import ipns_pb2
from fastmarket.web.media_types import IPNS_RECORD
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, identity, nodes, seed, until
from tests.net.test_web import CONFIG, EMPTY_CACHE, served

WRITER = identity(901)
PUT = {"Content-Type": IPNS_RECORD}
GET = {"Accept": IPNS_RECORD}


def signed(
    sequence: int,
    ends: float,
    *,
    ttl_s: int | None = 300,
    writer: Identity = WRITER,
    value: bytes = b"/ipfs/bafy",
    validity: bytes = b"",
) -> bytes:
    """A record as Kubo makes it, without the old fields."""
    end = validity or datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000000Z").encode()
    fields: dict[str, bytes | int] = {
        "Value": value,
        "Validity": end,
        "ValidityType": 0,
        "Sequence": sequence,
    }
    if ttl_s is not None:
        fields["TTL"] = ttl_s * 10**9
    data = encode_map(fields)
    entry = ipns_pb2.IpnsEntry(data=data, signatureV2=writer.sign(b"ipns-signature:" + data))
    if writer.peer_id.public_key() is None:
        entry.pubKey = writer.public_key.encode()
    return entry.SerializeToString()


def url(writer: Identity = WRITER, base: str = "base36") -> str:
    if base == "multihash":
        return f"/routing/v1/ipns/{writer.peer_id}"
    return "/routing/v1/ipns/" + multibase.encode(Cid(1, Codec.LIBP2P_KEY, writer.peer_id.raw).raw, base)


def held(node: DhtNode, writer: Identity = WRITER) -> bytes | None:
    record = node.records.get(ipns_key(writer.peer_id), node.now())
    return None if record is None else record.value


async def joined(made: list[DhtNode]) -> None:
    for node in made[1:]:
        await node.bootstrap([seed(made[0])], DEADLINE_S)


async def put(http: httpx.AsyncClient, record: bytes, status: int, **more: object) -> httpx.Response:
    headers = {**PUT, **more.pop("headers", {})}  # type: ignore[dict-item]
    answer = await http.put(str(more.pop("to", url())), content=record, headers=headers)
    assert answer.status_code == status, answer.text
    return answer


@pytest.mark.parametrize("base", ["base36", "base32", "multihash"])
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_published_name_is_in_the_network(run: Run[None], base: str, kind: str) -> None:
    """By each of its texts; of keys that stand in their names, and of others."""

    async def scenario() -> None:
        writer = WRITER if kind == "ed25519" else Identity(ec.generate_private_key(ec.SECP256R1()))
        async with nodes(4) as made:
            await joined(made)
            record = signed(1, made[0].now() + 3600, writer=writer)
            async with served(made[1]) as http:
                await put(http, record, 200, to=url(writer, base))
            # A majority of the others has it; the rest are about to.
            await until(lambda: all(held(node, writer) == record for node in made))
            async with served(made[3]) as http:
                answer = await http.get(url(writer, base), headers=GET)
            assert (answer.status_code, answer.content) == (200, record)
            assert answer.headers["content-type"] == IPNS_RECORD
            assert not made[1].engine.maintenance.own(Own.VALUE)

    run(scenario())


def test_the_latest_of_the_network_is_told_however_old_the_copy_here(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(3) as made:
            await joined(made)
            ends = made[0].now() + 3600
            old, new = signed(1, ends), signed(2, ends)
            await made[0].put_record(ipns_key(WRITER.peer_id), old, deadline_s=DEADLINE_S)
            await until(lambda: all(held(node) == old for node in made))
            store_at(made[1], new)
            async with served(made[2]) as http:
                assert (await http.get(url(), headers=GET)).content == new
                # ... and who publishes an older one is told so, wherever the later one is.
                assert "higher sequence" in (await put(http, old, 409)).text

    run(scenario())


def store_at(node: DhtNode, record: bytes) -> None:
    """As if another peer had put it there."""
    key, now = ipns_key(WRITER.peer_id), node.now()
    node.engine.handlers.store_record(Record(key, record, now, now + 3600), now)


@pytest.mark.parametrize(
    ("ttl_s", "left_s", "max_age", "stale"),
    [
        (300, 7200, 300, 6900),
        (None, 7200, 60, 7140),
        (0, 7200, 60, 7140),
        (86_400, 7200, 7200, 0),
        (300, 20 * 86_400, 300, 172_800),
    ],
)
def test_caches_keep_a_record_as_long_as_it_says(
    run: Run[None], ttl_s: int | None, left_s: int, max_age: int, stale: int
) -> None:
    async def scenario() -> None:
        async with nodes(1) as (node,):
            ends = int(node.now()) + left_s
            record = signed(1, ends, ttl_s=ttl_s)
            store_at(node, record)
            async with served(node) as http:
                answer = await http.get(url())  # without Accept, or with any, it is the record
                directives = dict(
                    part.strip().partition("=")[::2] for part in answer.headers["cache-control"].split(",")
                )
                # Seconds may have passed since; both ages count them off the same end.
                assert int(directives["max-age"]) in range(max_age - 5, max_age + 1)
                assert int(directives["stale-while-revalidate"]) in range(stale - 5, stale + 1)
                assert directives["stale-if-error"] == directives["stale-while-revalidate"]
                assert int(directives["max-age"]) + int(directives["stale-if-error"]) <= left_s
                end = datetime.strptime(answer.headers["expires"], "%a, %d %b %Y %H:%M:%S GMT")
                assert end.replace(tzinfo=UTC).timestamp() == ends
                assert answer.headers["last-modified"]
                assert answer.headers["vary"] == "Accept"
                assert str(WRITER.peer_id) in answer.headers["content-disposition"]
                tag = answer.headers["etag"]
                again = await http.get(url(), headers={"If-None-Match": f'"other", {tag}'})
                assert (again.status_code, again.content) == (304, b"")
                assert again.headers["etag"] == tag
                assert again.headers["cache-control"]
                assert (await http.get(url(), headers={"If-None-Match": '"other"'})).content == record

    run(scenario())


@pytest.mark.parametrize("validity", [b"9999-12-31T23:59:59.999999999Z", b"9999-12-31T23:59:59-23:59"])
def test_a_record_for_ever_is_told(run: Run[None], validity: bytes) -> None:
    async def scenario() -> None:
        async with nodes(1) as (node,):
            record = signed(1, 0, validity=validity)
            store_at(node, record)
            async with served(node) as http:
                answer = await http.get(url())
                assert (answer.status_code, answer.content) == (200, record)
                assert answer.headers["expires"].endswith(" 9999 23:59:59 GMT")
                tag = answer.headers["etag"]
                for held in (f"W/{tag}", f'"a", W/{tag}', "*"):  # a proxy that compresses makes it weak
                    assert (await http.get(url(), headers={"If-None-Match": held})).status_code == 304

    run(scenario())


def test_a_name_without_a_record_is_answered_in_another_type(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as made:
            await joined(made)
            async with served(made[1]) as http:
                answer = await http.get(url(), headers=GET)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.headers["cache-control"] == EMPTY_CACHE

    run(scenario())


def test_what_is_no_record_of_the_name_is_refused(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as made:
            await joined(made)
            ends = made[0].now() + 3600
            good = signed(1, ends)
            async with served(made[1]) as http:
                for body in (
                    b"",
                    b"rubbish",
                    good[:-1],
                    signed(1, ends, writer=identity(902)),
                    signed(1, made[0].now() - 1),
                ):
                    await put(http, body, 400)
                await put(http, good, 400, to=url(identity(902)))
                await put(http, signed(1, ends, value=bytes(11 * 1024)), 413)
                await put(http, good, 406, headers={"Content-Type": "application/json"})
                await put(http, good, 400, to="/routing/v1/ipns/bafkqaaa")
                assert all(held(node) is None for node in made)
                assert "acknowledged" not in (await put(http, good, 200)).text

    run(scenario())


@pytest.mark.parametrize("others", [0, 1])
def test_what_nobody_acknowledged_is_not_published(run: Run[None], others: int) -> None:
    """Nobody is there, or who is there hangs."""

    async def scenario() -> None:
        async with nodes(1 + others) as made:
            await joined(made)
            made[0].host.request = lambda *request: None  # type: ignore[method-assign]
            async with served(made[0], replace(CONFIG, lookup_budget_s=0.3)) as http:
                answer = await put(http, signed(1, made[0].now() + 3600), 503)
            assert "not published" in json.loads(answer.text)["error"]

    run(scenario())


def test_a_node_without_room_says_that_it_is_its_own_fault(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2, NodeConfig(kad=KadConfig(max_records=0))) as made, served(made[1]) as http:
            await joined(made)
            answer = await put(http, signed(1, made[0].now() + 3600), 503)
            assert "cannot hold" in answer.text

    run(scenario())


def test_strangers_and_their_pages_may_not_write(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as made:
            await joined(made)
            record = signed(1, made[0].now() + 3600)
            async with served(made[1]) as http:
                for headers in (
                    {"Sec-Fetch-Site": "cross-site"},
                    {"Origin": "https://elsewhere.example"},
                    {"X-Forwarded-For": "192.0.2.7"},
                ):
                    await put(http, record, 403, headers=headers)
                await put(http, record, 421, headers={"Host": "rebound.example"})
                preflight = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "PUT"}
                asked = await http.options(url(), headers=preflight)
                assert "PUT" not in asked.headers["access-control-allow-methods"]
            assert all(held(node) is None for node in made)

    run(scenario())


def test_with_tokens_a_server_takes_names_from_those_that_may_write(run: Run[None], tmp_path: Path) -> None:
    """The tokens of gRPC; Kubo has room for one in the address of its router."""
    path = tmp_path / "tokens"
    path.write_text("write a-token-to-write-with\nread a-token-to-read-with\n")
    path.chmod(0o600)

    async def scenario() -> None:
        config = NodeConfig(
            host=HostConfig(listen=("/ip4/127.0.0.1/tcp/0",)),
            market=MarketConfig(port=0),
            access=AccessConfig(tokens=str(path)),
            web=WebConfig(port=0),
        )
        async with nodes(1) as (other,), Node(config, identity(903)) as node:
            await node.dht.bootstrap([seed(other)], DEADLINE_S)
            record = signed(1, other.now() + 3600)
            async with httpx.AsyncClient(base_url=f"http://{node.http_address}", timeout=DEADLINE_S) as http:
                assert (await put(http, record, 401)).headers["www-authenticate"] == "Bearer"
                await put(http, record, 403, headers={"Authorization": "Bearer a-token-to-read-with"})
                assert held(other) is None
                assert (await http.get(url())).headers["content-type"].startswith("text/plain")
                await put(http, record, 200, headers={"Authorization": "Bearer a-token-to-write-with"})
            login = f"http://kubo:a-token-to-write-with@{node.http_address}"
            async with httpx.AsyncClient(base_url=login, timeout=DEADLINE_S) as http:
                await put(http, record, 200)
            await until(lambda: held(other) == record)

    run(scenario())


def test_a_body_that_does_not_come_is_not_waited_for(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(1) as (node,), served(node, replace(CONFIG, write_timeout_s=0.05)) as http:
            where = http.base_url
            reader, writer = await asyncio.open_connection(where.host, where.port)
            head = f"PUT {url()} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {IPNS_RECORD}\r\n"
            writer.write(f"{head}Content-Length: 400\r\n\r\nhalf".encode())
            assert b" 408 " in await reader.readline()
            writer.close()

    run(scenario())
