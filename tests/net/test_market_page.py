"""The market of the page over real nodes: a file is sold at one, found, got and saved at another."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from fastmarket.config import (
    AccessConfig,
    ContentConfig,
    FetchConfig,
    HolderConfig,
    HostConfig,
    MarketConfig,
    NodeConfig,
    PaymentConfig,
    WebConfig,
)
from fastmarket.formats.cid import Cid, Codec, sha256_multihash
from fastmarket.net.gateways import gateway_url
from fastmarket.node import Node
from fastmarket.offers.model.metadata import FileMetadata, Way
from tests.conftest import Run
from tests.net.fetching.gateway import head, serving
from tests.net.loopback import DEADLINE_S, identity
from tests.net.test_access import READ, WRITE
from tests.net.test_read_tokens import with_tokens

DATA = random.Random(17).randbytes(3_000_017)
PRICE = "3"
COST = str(-(-len(DATA) * 3 // 1_000_000))
JSON = {"Content-Type": "application/json"}


def config(directory: Path, **web: Any) -> NodeConfig:
    return NodeConfig(
        host=HostConfig(listen=("/ip4/127.0.0.1/tcp/0",)),
        market=MarketConfig(port=0),
        web=WebConfig(port=0, **web),
        content=ContentConfig(port=0, allow_paths=(str(directory),)),
        holders=HolderConfig(progress_interval_s=0.0),
        # So little that a reader who does not read holds up the fetch.
        fetching=FetchConfig(max_ordered_bytes=512 * 1024),
    )


@asynccontextmanager
async def started(made: NodeConfig, number: int) -> AsyncIterator[tuple[Node, httpx.AsyncClient]]:
    async with (
        Node(made, identity(number)) as node,
        httpx.AsyncClient(base_url=f"http://{node.http_address}", timeout=DEADLINE_S) as http,
    ):
        yield node, http


def goods(tmp_path: Path) -> Path:
    """A directory of goods."""
    directory = tmp_path / "goods"
    (directory / "album").mkdir(parents=True)
    (directory / "holiday.mkv").write_bytes(DATA)
    (directory / "album" / "one.txt").write_bytes(b"one")
    (directory / "album" / "two.txt").write_bytes(b"two")
    return directory


@asynccontextmanager
async def two(
    tmp_path: Path, **web: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient, Path, Node]]:
    """A seller's page and a buyer's, the directory that both may sell from, and the buyer."""
    directory = goods(tmp_path)
    made = config(directory, **web)
    async with started(made, 1) as (seller, selling):
        joining = replace(made, bootstrap=tuple(str(addr) for addr in seller.listen_addrs))
        async with started(joining, 2) as (buyer, buying):
            yield selling, buying, directory, buyer


async def lines(http: httpx.AsyncClient, path: str, body: object = None) -> list[dict[str, Any]]:
    """The lines of a stream to its end."""
    # As browsers write it, names that are not UTF-8 included.
    answer = await (
        http.get(path) if body is None else http.post(path, content=json.dumps(body), headers=JSON)
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


async def sold(http: httpx.AsyncClient, path: Path, **more: object) -> str:
    """The CID of what is put up for sale."""
    told = await lines(http, "/market/sell", {"path": str(path), "price": PRICE, "name": "Ann", **more})
    *_, sale, end = told
    assert end == {"end": "complete"}
    assert "error" not in sale, sale
    return str(sale["cid"])


async def got(http: httpx.AsyncClient, content: str, **more: object) -> dict[str, Any]:
    """A get that waits for its file to be taken."""
    answer = await http.post("/market/get", json={"content": content, **more})
    assert answer.status_code == 200, answer.text
    assert answer.json()["state"] == "waiting"
    return dict(answer.json())


async def known(http: httpx.AsyncClient, key: str) -> dict[str, Any]:
    gets = (await http.get("/market/gets")).json()["gets"]
    return next(get for get in gets if get["key"] == key)


def test_a_file_is_sold_found_got_and_no_longer_sold(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        async with two(tmp_path) as (selling, buying, directory, _):
            path = directory / "holiday.mkv"
            told = await lines(selling, "/market/sell", {"path": str(path), "price": PRICE, "name": "Ann"})
            *progress, sale, _ = told
            assert {(line["done"], line["total"]) for line in progress[-1:]} == {(len(DATA), len(DATA))}
            assert (sale["path"], sale["size"], sale["acknowledged"]) == (str(path), len(DATA), 1)
            *found, end = await lines(buying, f"/find?content={sale['cid']}")
            (offer,) = [line for line in found if "provider" in line]
            assert (offer["holder"], offer["price_per_mb"], offer["file"]) == ("Ann", PRICE, "holiday.mkv")
            (probe,) = [line for line in found if "probed" in line]
            assert (probe["probed"], probe["liveness"]) == (offer["url"], "live")
            assert probe["ms"] > 0
            *plans, end = await lines(buying, "/market/plan", {"content": sale["cid"]})
            assert end == {"end": "complete"}
            assert (plans[-1]["size"], plans[-1]["most_cost"]) == (len(DATA), COST)
            assert [holder["name"] for holder in plans[-1]["holders"]] == ["Ann"]
            get = await got(buying, sale["cid"], name="holiday.mkv", max_cost=COST)
            watching = asyncio.ensure_future(lines(buying, f"/market/get/{get['key']}/progress"))
            file = await buying.get(f"/market/get/{get['key']}")
            assert (file.status_code, file.content == DATA) == (200, True)
            assert file.headers["content-disposition"] == "attachment; filename*=UTF-8''holiday.mkv"
            assert file.headers["content-length"] == str(len(DATA))
            *seen, last, _ = await watching
            assert {one["state"] for one in seen} <= {"waiting", "running"}
            assert (last["state"], last["done"], last["cost"]) == ("done", len(DATA), COST)
            assert last["holders"][0]["bytes"] == len(DATA)
            assert await known(buying, get["key"]) == last
            (good,) = (await selling.get("/market/goods")).json()["goods"]
            assert (good["cid"], good["state"], good["price"]) == (sale["cid"], "selling", PRICE)
            assert good["sent_bytes"] >= len(DATA)
            answer = await selling.post("/market/unsell", json={"content": good["path"]})
            assert answer.json() == {"cids": [sale["cid"]]}
            assert (await selling.get("/market/goods")).json() == {"goods": [], "more": None}
            answer = await selling.post("/market/unsell", json={"content": good["path"]})
            assert answer.status_code == 404
            assert "is not sold here" in answer.json()["error"]

    run(main())


def test_a_file_in_a_directory_is_got_by_its_path(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        async with two(tmp_path) as (selling, buying, directory, _):
            root = await sold(selling, directory / "album")
            get = await got(buying, f"/ipfs/{root}/two.txt")
            assert (get["name"], get["content"]) == ("two.txt", f"{root}/two.txt")
            assert (await buying.get(f"/market/get/{get['key']}")).content == b"two"
            get = await got(buying, f"{root}/three.txt")
            answer = await buying.get(f"/market/get/{get['key']}")
            assert answer.status_code >= 400
            assert "content-disposition" not in answer.headers
            failed = await known(buying, get["key"])
            assert failed["state"] == "failed"
            assert "three.txt" in failed["error"]

    run(main())


def test_a_file_is_taken_once(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        async with two(tmp_path) as (selling, buying, directory, _):
            get = await got(buying, await sold(selling, directory / "holiday.mkv"))
            path = f"/market/get/{get['key']}"
            assert (await buying.head(path)).status_code == 405
            assert (await buying.get(path)).content == DATA
            again = await buying.get(path)
            assert again.status_code == 409
            assert "taken before" in again.json()["error"]
            assert (await buying.get(f"/market/get/{'0' * 32}")).status_code == 404

    run(main())


def test_a_get_that_is_stopped_is_cut_off(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        async with two(tmp_path) as (selling, buying, directory, _):
            root = await sold(selling, directory / "holiday.mkv")
            get = await got(buying, root)
            async with buying.stream("GET", f"/market/get/{get['key']}") as file:
                parts = file.aiter_raw(1024)
                await anext(parts)
                await buying.post(f"/market/get/{get['key']}/stop", json={})
                with pytest.raises(httpx.TransportError):
                    assert len(b"".join([part async for part in parts])) < 0, "it came to its end"
            assert (await known(buying, get["key"]))["state"] == "stopped"
            waiting = await got(buying, root)
            stopped = await buying.post(f"/market/get/{waiting['key']}/stop", json={})
            assert stopped.json()["state"] == "stopped"
            assert (await buying.get(f"/market/get/{waiting['key']}")).status_code == 409

    run(main())


def test_a_reader_that_leaves_stops_its_get(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        async with two(tmp_path) as (selling, buying, directory, _):
            get = await got(buying, await sold(selling, directory / "holiday.mkv"))
            watching = asyncio.ensure_future(lines(buying, f"/market/get/{get['key']}/progress"))
            async with buying.stream("GET", f"/market/get/{get['key']}") as file:
                await anext(file.aiter_raw(1024))
            *_, last, end = await watching
            assert last["state"] == "stopped"
            assert end == {"end": "complete"}

    run(main())


def test_a_holder_that_ends_midway_leaves_no_file_that_looks_whole(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        directory = goods(tmp_path)
        made = config(directory)
        async with started(made, 2) as (buyer, buying), started(made, 1) as (seller, selling):
            cid = Cid.from_text(await sold(selling, directory / "holiday.mkv"))
            port = int(seller.content_url.rpartition(":")[2])
            served = 0

            async def reply(name: str, writer: asyncio.StreamWriter) -> None:
                """Of the seller's blocks the first three, then none."""
                nonlocal served
                served += 1
                async with httpx.AsyncClient() as http:
                    block = await http.get(f"http://127.0.0.1:{port}/ipfs/{name}?format=raw")
                if served > 3:
                    writer.write(head("404 Not Found", "Content-Length: 0"))
                    return
                writer.write(head("200 OK", f"Content-Length: {len(block.content)}") + block.content)

            async with serving(reply) as gateway:
                terms = FileMetadata("127.0.0.1", gateway.port, 3, ways=Way.HTTP)
                await buyer.dht.register_offer(cid.multihash, b"liar", "Liar", terms, 1.0, cid.form)
                get = await got(buying, str(cid))
                with pytest.raises(httpx.TransportError):
                    await buying.get(f"/market/get/{get['key']}")
                failed = await known(buying, get["key"])
                assert failed["state"] == "failed"
                assert f"http://127.0.0.1:{gateway.port}" in failed["error"], "the holder is named"
                assert 0 < failed["done"] < len(DATA)
                assert int(failed["cost"]) > 0, "what came is paid"

    run(main())


def test_a_cost_above_the_limit_is_refused(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        async with two(tmp_path) as (selling, buying, directory, _):
            root = await sold(selling, directory / "holiday.mkv")
            get = await got(buying, root, max_cost=str(int(COST) - 1))
            with pytest.raises(httpx.TransportError):
                await buying.get(f"/market/get/{get['key']}")
            failed = await known(buying, get["key"])
            assert (failed["state"], failed["cost"]) == ("failed", "0")
            assert "max_cost" in failed["error"]
            (end,) = await lines(buying, "/market/plan", {"content": root, "max_price": "2"})
            assert end["end"] == "failed"

    run(main())


def test_so_many_files_are_got_at_once(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        async with two(tmp_path, max_gets=2, max_known_gets=3) as (selling, buying, directory, _):
            root = await sold(selling, directory / "album")
            first, second = await got(buying, f"{root}/one.txt"), await got(buying, f"{root}/one.txt")
            answer = await buying.post("/market/get", json={"content": root})
            assert answer.status_code == 429
            (end,) = await lines(buying, "/market/plan", {"content": root})
            assert "2 files are being got" in end["error"]
            await buying.post(f"/market/get/{first['key']}/stop", json={})
            keys = [second["key"]]
            for _ in range(3):
                get = await got(buying, f"{root}/one.txt")
                assert (await buying.get(f"/market/get/{get['key']}")).content == b"one"
                keys.append(get["key"])
            gets = (await buying.get("/market/gets")).json()["gets"]
            assert [get["key"] for get in gets] == keys[:0:-1], "the newest"

    run(main())


def test_a_get_whose_file_nobody_takes_makes_room(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        async with two(tmp_path, max_gets=1, get_wait_s=0.0) as (_, buying, _, _):
            cid = str(Cid(1, Codec.RAW, sha256_multihash(b"nobody's")))
            first = await got(buying, cid)
            await got(buying, cid)
            assert (await known(buying, first["key"]))["error"] == "the browser did not come for the file"

    run(main())


def test_what_may_be_sold_is_listed_and_nothing_else(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        directory = goods(tmp_path)
        (directory / ".hidden").write_bytes(b"x")
        (directory / "out").symlink_to(tmp_path)
        (directory / "in").symlink_to(directory / "album")
        os.mkfifo(directory / "pipe")
        odd = os.fsdecode(b"n\xffme<b>")
        (directory / odd).write_bytes(b"odd")
        async with started(config(directory), 1) as (_, http):

            async def listed(path: str) -> dict[str, Any]:
                return dict((await http.post("/market/paths", json={"in": path})).json())

            (top,) = (await listed(""))["entries"]
            assert (top["path"], top["directory"]) == (str(directory), True)
            entries = (await listed(top["path"]))["entries"]
            assert [(one["name"], one["directory"]) for one in entries] == [
                ("album", True),
                ("in", True),
                ("holiday.mkv", False),
                ("n\\xffme<b>", False),
            ]
            assert [one["size"] for one in entries[2:]] == [len(DATA), 3]
            assert (await listed(entries[1]["path"]))["path"] == str(directory / "album")
            assert (await listed(entries[0]["path"]))["parent"] == str(directory)
            assert (await listed(top["path"]))["parent"] == ""
            sale = await lines(http, "/market/sell", {"path": entries[3]["path"], "price": "0"})
            assert sale[-2]["size"] == 3
            for path, status in (("/etc", 403), (str(tmp_path), 403), (f"{directory}/out", 403)):
                answer = await http.post("/market/paths", json={"in": path})
                assert answer.status_code == status
                assert answer.json()["error"].startswith(f"path: {path} may not be sold")
                assert answer.json()["plain"].startswith(f"{path} may not be sold")
                answer = await http.post("/market/sell", json={"path": path, "price": "1"})
                assert answer.status_code == status
            answer = await http.post("/market/paths", json={"in": f"{directory}/no"})
            assert answer.status_code == 404
            answer = await http.post("/market/paths", json={"in": f"{directory}/holiday.mkv"})
            assert answer.status_code == 422

    run(main())


WRONG = [
    ("/market/sell", {}, 422),
    ("/market/sell", {"path": "relative", "price": "1"}, 422),
    ("/market/sell", {"path": 7, "price": "1"}, 422),
    ("/market/sell", {"path": "/x"}, 422),
    ("/market/sell", {"path": "/x", "price": 1}, 422),
    ("/market/sell", {"path": "/x", "price": "-1"}, 422),
    ("/market/sell", {"path": "/x", "price": "9" * 40}, 422),
    ("/market/sell", {"path": "/x", "price": "1", "watch": "yes"}, 422),
    ("/market/sell", {"path": "/x\0", "price": "1"}, 422),
    ("/market/unsell", {"content": ""}, 422),
    ("/market/plan", {"content": "a name"}, 422),
    ("/market/plan", {"content": "x" * 9000}, 422),
    ("/market/get", {"content": "a name"}, 422),
    ("/market/get", {"content": "bafy", "max_cost": "1e3"}, 422),
    ("/market/get", {"content": f"{Cid(1, Codec.RAW, sha256_multihash(b'x'))}/" + "a/" * 100}, 409),
    ("/market/get", [], 400),
    ("/market/get", "x", 400),
]


@pytest.mark.parametrize(("path", "body", "status"), WRONG)
def test_a_wrong_request_says_what_is_wrong(
    run: Run[Any], tmp_path: Path, path: str, body: object, status: int
) -> None:
    async def main() -> None:
        async with started(config(goods(tmp_path)), 1) as (_, http):
            answer = await http.post(path, json=body)
            if status == 409:  # only the fetch itself finds that
                key = answer.json()["key"]
                answer = await http.get(f"/market/get/{key}")
                assert answer.status_code >= 400
                return
            assert answer.status_code == status
            assert answer.json()["error"]

    run(main())


def test_a_node_that_sells_nothing_says_so(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        made = replace(config(goods(tmp_path)), content=ContentConfig())
        async with started(made, 1) as (_, http):
            state = (await http.get("/market")).json()
            assert state == {"sells": False, "gets": True, "chooses": False, "from_here": True, "pays": False}
            answer = await http.post("/market/sell", json={"path": "/x", "price": "1"})
            assert answer.status_code == 409
            assert "--content-port" in answer.json()["error"]

    run(main())


WRITES = [f"/market/{name}" for name in ("sell", "unsell", "paths", "plan", "get", "get/0/stop")]
READS = ["/market", "/market/goods", "/market/gets", "/market/get/0/progress"]


def test_no_other_site_reaches_the_market(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        async with started(config(goods(tmp_path)), 1) as (_, http):

            async def status(path: str, **headers: str) -> int:
                if path in WRITES:
                    sent = {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
                    return (await http.post(path, content=b"{}", headers=sent)).status_code
                sent = {name.replace("_", "-"): value for name, value in headers.items()}
                return (await http.get(path, headers=sent)).status_code

            for path in (*WRITES, *READS, "/market/get/0"):
                for site in ("cross-site", "same-site"):
                    assert await status(path, Sec_Fetch_Site=site) == 403, path
                assert await status(path, Host="rebound.example.org") == 421, path
            for path in (*WRITES, *READS):
                assert await status(path, Origin="http://evil.example") == 403, path
                assert await status(path, Origin="null") == 403, path
                assert await status(path, Host="192.0.2.1") == 421, "a name that resolves to us"
                assert await status(path, X_Forwarded_For="192.0.2.1") == 403, path
            for path in WRITES:
                for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
                    assert await status(path, Content_Type=kind) == 415, path
                assert (await http.get(path)).status_code in (404, 405), path
                assert (await http.post(path, content=b"{}")).status_code == 415, path

    run(main())


def test_with_tokens_the_market_needs_one_that_may_write(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        directory = goods(tmp_path)
        tokens = tmp_path / "tokens"
        tokens.write_text("write a-token-that-may-write\nread a-token-that-may-read\n")
        tokens.chmod(0o600)
        made = replace(config(directory), access=AccessConfig(tokens=str(tokens)))
        async with started(made, 1) as (_, http):
            for path in READS:
                assert (await http.get(path)).status_code == 401, path
                reader = {"Authorization": "Bearer a-token-that-may-read"}
                assert (await http.get(path, headers=reader)).status_code == 403, path
            for path in WRITES:
                assert (await http.post(path, json={})).status_code == 401, path
            assert (await http.get("/status.json")).status_code == 200
            http.headers["Authorization"] = "Bearer a-token-that-may-write"
            get = await got(http, await sold(http, directory / "holiday.mkv"))
            del http.headers["Authorization"]
            file = await http.get(f"/market/get/{get['key']}")
            assert file.content == DATA, "a browser sends no token for a file; the key is secret"

    run(main())


def test_holders_are_probed_for_the_node_s_owner_alone(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        content = Cid(1, Codec.RAW, sha256_multihash(b"a content"))
        asked = 0

        async def reply(name: str, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            asked += 1
            writer.write(head("404 Not Found", "Content-Length: 0"))

        async with started(config(goods(tmp_path)), 1) as (node, http), serving(reply) as gateway:
            for user in (b"a", b"b"):
                terms = FileMetadata("127.0.0.1", gateway.port, 5, ways=Way.HTTP)
                await node.dht.register_offer(content.multihash, user, "A", terms, 1.0, content.form)
            path = f"/find?content={content}"
            answer = await http.get(path, headers={"X-Forwarded-For": "192.0.2.1"})
            *found, _ = [json.loads(line) for line in answer.text.splitlines()]
            assert (len(found), asked) == (2, 0)
            *found, _ = await lines(http, path)
            offer, _ = node.dht.own_offers()
            (probe,) = [line for line in found if "probed" in line]
            assert (probe["probed"], probe["liveness"]) == (gateway_url(offer), "missing")
            assert asked == 1, "each place once"

    run(main())


def test_what_is_sent_is_what_was_sold(run: Run[Any], tmp_path: Path) -> None:
    """Bytes and name of a file whose name a stranger chose."""

    async def main() -> None:
        async with two(tmp_path) as (selling, buying, directory, _):
            root = await sold(selling, directory / "holiday.mkv")
            name = '../..\u202e"fdp\r\nSet-Cookie: a=b;.exe'
            get = await got(buying, root, name=name)
            file = await buying.get(f"/market/get/{get['key']}")
            assert hashlib.sha256(file.content).digest() == hashlib.sha256(DATA).digest()
            assert "set-cookie" not in file.headers
            assert file.headers["content-type"] == "application/octet-stream"
            assert file.headers["x-content-type-options"] == "nosniff"
            assert get["name"] == "_.._fdpSet-Cookie_ a=b;.exe"

    run(main())


def test_the_ledger_is_for_those_that_may_write(run: Run[None], tmp_path: Path) -> None:
    made = config(goods(tmp_path))
    paid = replace(made, payments=PaymentConfig(required=True, budget_per_day=2**60))
    tokens = with_tokens(tmp_path)

    async def main() -> None:
        async with started(made, 1) as (_, http):
            refused = await http.get("/market/ledger")
            assert (refused.status_code, "--payments" in refused.json()["error"]) == (409, True)
            assert (await http.get("/market")).json()["pays"] is False
        async with started(paid, 1) as (_, http):
            told = (await http.get("/market/ledger")).json()
            assert (told["currency"], told["budget_per_day"], told["spent_today"]) == (
                "unit",
                str(2**60),
                "0",
            )
            assert told["totals"] == told["months"] == told["tabs"] == []
            assert (await http.get("/market")).json()["pays"] is True
        async with started(replace(paid, access=AccessConfig(tokens=tokens)), 1) as (_, http):
            codes = []
            for token in ("", READ, WRITE):
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                codes.append((await http.get("/market/ledger", headers=headers)).status_code)
            assert codes == [401, 403, 200]

    run(main())
