"""The status page's sources over real sockets: what they tell, and whom not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from fastmarket.config import WebConfig
from fastmarket.formats.cid import Cid, new_cidv0
from fastmarket.net.dht_node import DhtNode
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.web.search import PageSearch
from fastmarket.web.server import WebServer
from fastmarket.web.status import StatusPage
from fastmarket.web.write_access import WriteAccess
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, nodes, seed, until

CONTENT = new_cidv0(b"a file with holders")
CONFIG = WebConfig(port=0, max_shown=3)


@asynccontextmanager
async def page() -> AsyncIterator[tuple[list[DhtNode], httpx.AsyncClient]]:
    """Two nodes with an offer each for one content; the page is the second one's."""
    async with nodes(2) as made:
        holder, asked = made
        await asked.bootstrap([seed(holder)], DEADLINE_S)
        for node, price in ((holder, 2**60), (asked, 5)):
            metadata = FileMetadata("192.0.2.7", 9000, price, 12, "a.txt")
            await node.register_offer(CONTENT.multihash, b"u", "bob", metadata, DEADLINE_S)
        search = PageSearch(asked, CONFIG, WriteAccess())
        routes = [*StatusPage(asked, CONFIG).routes(), *search.routes()]
        server = WebServer(routes, CONFIG, "127.0.0.1", 0)
        port = await server.start()
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_S) as http:
                yield made, http
        finally:
            await server.stop()


def test_the_page_tells_of_the_node_its_peers_and_offers(run: Run[None]) -> None:
    async def main() -> None:
        async with page() as ((holder, asked), http):
            status = (await http.get("/status.json")).json()
            assert status["peer_id"] == str(asked.peer_id)
            assert status["listen"] == [str(addr) for addr in asked.listen_addrs]
            assert status["counts"] | {"jobs": 0} == {
                "peers": 1,
                "connections": 1,
                "offers": 2,
                "own_offers": 1,
                "jobs": 0,
            }
            assert status["totals"]["received_bytes"] > 1000
            (peer,) = status["peers"]
            assert (peer["id"], peer["connected"]) == (str(holder.peer_id), True)
            assert [(offer["own"], offer["price_per_mb"]) for offer in status["offers"]] == [
                (True, "5"),
                (False, str(2**60)),
            ]
            assert {offer["cid"] for offer in status["offers"]} == {str(Cid(1, 0x55, CONTENT.multihash))}

    run(main())


def test_a_withdrawn_offer_is_not_counted_as_stored(run: Run[None]) -> None:
    async def main() -> None:
        async with page() as ((holder, asked), http):
            await holder.withdraw_offer(CONTENT.multihash, b"u", DEADLINE_S)
            await until(lambda: asked.offers.store.offer_count == 1)
            assert len(asked.offers.store) == 2, "the tombstone stays"
            assert (await http.get("/status.json")).json()["counts"]["offers"] == 1

    run(main())


def test_a_search_streams_a_line_for_each_offer_and_its_end(run: Run[None]) -> None:
    async def main() -> None:
        async with page() as ((holder, asked), http):
            answer = await http.get("/find", params={"content": str(CONTENT)})
            *found, end = [json.loads(line) for line in answer.text.splitlines()]
            assert {offer["provider"] for offer in found} == {str(holder.peer_id), str(asked.peer_id)}
            assert {offer["at"] for offer in found} == {"192.0.2.7:9000"}
            assert end == {"end": "complete"}
            answer = await http.get("/find", params={"content": ""})
            assert (answer.status_code, answer.json()) == (
                422,
                {"error": "content: is empty", "plain": "is empty"},
            )

    run(main())


def test_a_search_says_what_it_took_the_text_for_and_who_has_no_price(run: Run[None]) -> None:
    async def main() -> None:
        async with page() as ((holder, _), http):
            cid = Cid(1, 0x55, CONTENT.multihash)
            copied = f" https://ipfs.io/ipfs/{cid}\n"
            *found, _ = (await http.get("/find", params={"content": copied})).text.splitlines()
            assert len(found) == 2
            await holder.register_offer(
                cid.multihash, b"u", "bob", FileMetadata("192.0.2.7", 1, 1), DEADLINE_S, cid.form
            )
            *found, _ = (await http.get("/find", params={"content": str(CONTENT)})).text.splitlines()
            assert {json.loads(line)["cid"] for line in found} == {str(cid)}
            below = (await http.get("/find", params={"content": f"ipfs://{cid}/a%20b.txt"})).text.splitlines()
            assert len(below) == 3
            assert json.loads(below[-1]) == {"end": "complete", "path": "a b.txt"}
            (end,) = (await http.get("/find", params={"content": "some name"})).text.splitlines()
            assert json.loads(end) == {"end": "complete", "named_by": "TEXT_HASH"}
            unsold = new_cidv0(b"provided, not sold")
            await holder.provide(unsold.multihash, deadline_s=DEADLINE_S)
            (end,) = (await http.get("/find", params={"content": str(unsold)})).text.splitlines()
            assert json.loads(end) == {"end": "complete", "providers_without_price": 1}

    run(main())


@pytest.mark.parametrize("path", ["/", "/page.js", "/style.css", "/status.json", "/find?content=x"])
def test_no_other_site_gets_anything(run: Run[None], path: str) -> None:
    async def main() -> None:
        async with page() as (_, http):
            ours = await http.get(path, headers={"Sec-Fetch-Site": "same-origin"})
            assert ours.status_code == 200
            assert "access-control-allow-origin" not in ours.headers
            assert "frame-ancestors 'none'" in ours.headers["content-security-policy"]
            for site in ("cross-site", "same-site"):
                assert (await http.get(path, headers={"Sec-Fetch-Site": site})).status_code == 403
            assert (await http.get(path, headers={"Host": "rebound.example.org"})).status_code == 421
            assert (await http.get(path, headers={"Host": "localhost"})).status_code == 200
            assert (await http.post(path)).status_code == 405

    run(main())
