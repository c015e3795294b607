"""A priced file is bought with receipts, by real programs: what both sides have on disk afterwards, also when
either is killed on the way, and what programs that cannot pay are told."""

from __future__ import annotations

import random
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest

from fastmarket.cli.processes import ServerProcess, environment, executable
from fastmarket.config import PaymentConfig
from fastmarket.formats.cid import Cid, Codec
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.unixfs.importer import cid_of_bytes
from fastmarket.payments.buyer import BuyerTabs
from fastmarket.payments.purse import Purse
from fastmarket.payments.reasons import Reason
from fastmarket.payments.receipt import open_receipt
from fastmarket.payments.rows import BuyerRow, SellerRow
from fastmarket.payments.tab import PricedOffer
from fastmarket.payments.x402 import Payment, decode_terms, encode_payment
from fastmarket.storage.tabs import TabDatabase
from tests.e2e.conftest import Run, Servers
from tests.redis_cluster import PROGRAM, engine_cluster
from tests.virtual.payments import BuyerDisk

SIZE = 20 * 256 * 1024 + 77
LARGE = 96 * 1024 * 1024
KILLED_AT = (0.2, 0.5)  # when that part of it is there; each kill costs a side one window at most
STORE_DEADLINE_S = 30.0  # until a store on a busy machine has granted a share


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    path = tmp_path / "movie.mkv"
    path.write_bytes(random.Random(1).randbytes(SIZE))
    return path


def sold(run_client: Run, seller: ServerProcess, path: Path, price: int) -> str:
    done = run_client("-p", seller.port, "sell", str(path), "--price", str(price))
    assert done.status == 0, done
    return done.out.strip()


def rows_of(seller: Path, buyer: Path) -> tuple[SellerRow, BuyerRow]:
    """What both have on disk of each other, who are the only ones."""
    theirs, ours = TabDatabase(seller), TabDatabase(buyer)
    try:
        (at_seller,), (at_buyer,) = theirs.buyers(), ours.sellers()
        return at_seller, at_buyer
    finally:
        theirs.close()
        ours.close()


def test_a_priced_file_is_paid_for_with_receipts(
    run_client: Run, servers: Servers, movie: Path, tmp_path: Path
) -> None:
    seller_dir, buyer_dir = tmp_path / "seller", tmp_path / "buyer"
    seller = servers.start("--payments", "--content-port", "0", "--data-dir", str(seller_dir))
    buyer = servers.start("--payments", "--data-dir", str(buyer_dir), join=seller)
    cid = sold(run_client, seller, movie, 3)
    done = run_client("-p", buyer.port, "get", cid, "-o", "got.mkv", "--json")
    assert done.status == 0, done
    assert (tmp_path / "got.mkv").read_bytes() == movie.read_bytes()
    assert (seller.terminate(), buyer.terminate()) == (0, 0)
    at_seller, at_buyer = rows_of(seller_dir, buyer_dir)
    assert at_seller.paid_bytes == at_buyer.paid_bytes == SIZE
    assert at_seller.paid_amount == at_buyer.paid_amount == done.json["cost"] == 16
    assert (at_seller.owed, at_buyer.due, at_buyer.is_accepted, at_buyer.is_open) == ((), (), True, False)
    assert open_receipt(at_seller.receipt).sums == (SIZE, 16)


def id_of(node: ServerProcess) -> str:
    return node.address.rpartition("/")[2]


def test_both_sides_see_a_purchase_in_their_ledgers(
    run_client: Run, servers: Servers, movie: Path, tmp_path: Path
) -> None:
    homes = {name: ("--payments", "--data-dir", str(tmp_path / name)) for name in ("seller", "buyer")}
    seller = servers.start("--content-port", "0", *homes["seller"])
    buyer = servers.start(*homes["buyer"], join=seller)
    cid = sold(run_client, seller, movie, 3)
    assert run_client("-p", buyer.port, "get", cid, "-o", "got.mkv", "-y").status == 0
    earned = run_client("-p", seller.port, "earnings", "--json").json
    spent = run_client("-p", buyer.port, "spending", "--json").json
    for told in (earned, spent):
        (total,), (month,) = told["totals"], told["months"]
        assert total["signed"] == {"bytes": SIZE, "amount": 16}
        assert (total["unpaid"]["bytes"], total["lost"]["bytes"], total["defaults"]) == (0, 0, 0)
        assert (month["month"], month["bytes"], month["amount"]) == (told["month"], SIZE, 16)
    assert (spent["spent_today"], spent["budget_per_day"]) == (16, None)
    lines = [run_client("-p", node.port, "statement", "--csv").out.splitlines() for node in (seller, buyer)]
    names = "month,side,peer_id,currency,receipts,bytes,amount"
    receipts = earned["months"][0]["receipts"]
    assert lines == [
        [names, f"{earned['month']},sold,{id_of(buyer)},unit,{receipts},{SIZE},16"],
        [names, f"{earned['month']},bought,{id_of(seller)},unit,{receipts},{SIZE},16"],
    ]
    (row,) = run_client("-p", seller.port, "statement", "all", "--json").json["rows"]
    assert (row["side"], row["peer_id"], row["amount"]) == ("sold", id_of(buyer), 16)
    (tab,) = run_client("-p", seller.port, "owed", "--json").json["tabs"]
    assert (tab["peer_id"], tab["signed"]["amount"], tab["blocked"]) == (id_of(buyer), 16, False)
    assert run_client("-p", seller.port, "owed", "--unpaid").out == "Nothing is owed\n"
    assert run_client("-p", buyer.port, "earnings").out == "Nothing is sold for money yet\n"
    assert run_client("-p", seller.port, "statement", "2026-13").status == 2

    assert run_client("-p", seller.port, "block", id_of(buyer)).status == 0
    Path(tmp_path / "got.mkv").unlink()
    refused = run_client("-p", buyer.port, "get", cid, "-o", "got.mkv", "-y")
    assert (refused.status, "it has blocked this node as a buyer" in refused.err) == (3, True)
    assert run_client("-p", seller.port, "unblock", id_of(buyer)).status == 0
    forgiven = run_client("-p", seller.port, "forgive", id_of(buyer))
    assert forgiven.out == f"forgave {id_of(buyer)} 0 B that cost 0\n"
    assert run_client("-p", buyer.port, "get", cid, "-o", "got.mkv", "-y").status == 0
    assert run_client("-p", seller.port, "earnings").out.split("\t")[1:3] == ["32", "unit"]


def status_of(url: str, agent: str, method: str = "GET") -> int:
    request = urllib.request.Request(url, headers={"User-Agent": agent}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code if error.code != 402 or error.headers["PAYMENT-REQUIRED"] else 0


def test_who_cannot_pay_is_told_that_it_is_not_here(
    run_client: Run, servers: Servers, tmp_path: Path
) -> None:
    seller = servers.start("--payments", "--content-port", "0")
    small, free = tmp_path / "small", tmp_path / "free"
    small.write_bytes(b"a small file of one block")
    free.write_bytes(b"a free one")
    place = str(seller.ready["content"])
    paid, given = (f"{place}/ipfs/{sold(run_client, seller, *one)}" for one in ((small, 3), (free, 0)))
    raw = f"{paid}?format=raw"
    assert [status_of(raw, agent) for agent in ("kubo/0.43", "fastmarket/1")] == [404, 402]
    assert [status_of(raw, agent, "HEAD") for agent in ("kubo/0.43", "fastmarket/1")] == [404, 200]
    assert [status_of(f"{paid}{form}", "curl/8") for form in ("", "?format=car")] == [404, 404]
    assert [status_of(f"{given}{form}", "curl/8") for form in ("", "?format=raw", "?format=car")] == [200] * 3


@pytest.mark.parametrize("killed", ["buyer", "seller"])
def test_sigkill_of_either_side_loses_no_receipt(
    run_client: Run, servers: Servers, tmp_path: Path, killed: str
) -> None:
    large = tmp_path / "large.mkv"
    large.write_bytes(random.Random(2).randbytes(LARGE))
    dirs = {name: tmp_path / name for name in ("seller", "buyer")}
    options = {name: ("--payments", "--data-dir", str(path)) for name, path in dirs.items()}
    running = {"seller": servers.start("--content-port", "0", *options["seller"])}
    running["buyer"] = servers.start(*options["buyer"], join=running["seller"])
    cid = sold(run_client, running["seller"], large, 3)
    for at in KILLED_AT:
        part = tmp_path / "got.mkv.part"
        command = [*executable("client"), "-p", running["buyer"].port, "get", cid, "-o", "got.mkv", "-y"]
        with subprocess.Popen(
            command, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as client:
            while client.poll() is None and not (part.exists() and part.stat().st_blocks * 512 > at * LARGE):
                pass
            running[killed].process.send_signal(signal.SIGKILL)
            running[killed].wait()
            client.wait(60)
        extra = ("--content-port", "0") if killed == "seller" else ()
        other = running["seller" if killed == "buyer" else "buyer"]
        running[killed] = servers.start(*extra, *options[killed], join=other)
    done = run_client("-p", running["buyer"].port, "get", cid, "-o", "got.mkv", "-y", "--json")
    assert done.status == 0, done
    assert (tmp_path / "got.mkv").read_bytes() == large.read_bytes()
    assert (running["buyer"].terminate(), running["seller"].terminate()) == (0, 0)
    at_seller, at_buyer = rows_of(dirs["seller"], dirs["buyer"])
    assert (at_seller.seq, at_seller.paid_bytes, at_seller.paid_amount) == (
        at_buyer.seq,
        at_buyer.paid_bytes,
        at_buyer.paid_amount,
    )
    assert at_seller.proof == ()
    window = PaymentConfig().window(LARGE)
    assert LARGE - len(KILLED_AT) * window <= at_seller.paid_bytes
    assert at_buyer.unverified <= 3 * window
    assert sum(one.served + one.lost for one in at_seller.owed) <= len(KILLED_AT) * window


class Thief:
    """Has a tab with each server, takes blocks, and signs no receipt."""

    def __init__(self, content: bytes) -> None:
        self.tabs = BuyerTabs(Identity.from_seed(bytes(32)), PaymentConfig(), BuyerDisk())
        self.content = content

    def take(self, seller: ServerProcess, cids: Sequence[Cid]) -> int:
        """File bytes that came before the server refused for good."""
        purse = self.tabs.purse(PeerId.from_text(id_of(seller)), bytes(16))
        offer = self.tabs.offer(self.content, purse.tab.seller, 3)
        got = 0
        for cid in cids:
            size = self._block(f"{seller.ready['content']}/ipfs/{cid}?format=raw", purse, offer, cid)
            if size is None:
                return got
            got += size
        return got

    def _block(self, url: str, purse: Purse, offer: PricedOffer, cid: Cid) -> int | None:
        deadline = time.monotonic() + STORE_DEADLINE_S
        while time.monotonic() < deadline:  # while the store is asked
            headers = {"User-Agent": "fastmarket/1"}
            if purse.secret is not None:
                ticket = self.tabs.ticket(purse, offer, self.content, cid.multihash).encode()
                headers["PAYMENT-SIGNATURE"] = encode_payment(Payment(ticket, b"", purse.opening))
            try:
                with urllib.request.urlopen(
                    urllib.request.Request(url, headers=headers), timeout=10
                ) as answer:
                    return len(answer.read())
            except urllib.error.HTTPError as error:
                terms = decode_terms(error.headers["PAYMENT-REQUIRED"])
            if terms.reason is Reason.SESSION:
                self.tabs.open_session(purse, terms.session_key, bytes(range(1, 33)), time.time())
            elif terms.reason is not Reason.PENDING:
                assert terms.reason is Reason.CREDIT
                return None
        raise AssertionError("the store was asked for ever")


@pytest.mark.skipif(PROGRAM is None, reason="no redis-server or valkey-server")
def test_servers_that_share_a_store_give_a_buyer_one_credit(
    run_client: Run, servers: Servers, tmp_path: Path
) -> None:
    data = random.Random(3).randbytes(40 * 256 * 1024)
    path = tmp_path / "movie.mkv"
    path.write_bytes(data)
    starts = range(0, len(data), 256 * 1024)
    leaves = [cid_of_bytes(data[at : at + 256 * 1024]) for at in starts]
    credit = PaymentConfig().credit.stranger_bytes
    with engine_cluster(tmp_path, primaries=1) as engine:
        options = ("--payments", "--content-port", "0", "--store", engine.url)
        sellers = [servers.start(*options, "--data-dir", str(tmp_path / name)) for name in ("one", "two")]
        cids = {sold(run_client, seller, path, 3) for seller in sellers}
        thief = Thief(Cid.from_text(cids.pop()).multihash)
        first = thief.take(sellers[0], leaves[:10])
        second = thief.take(sellers[1], leaves)
        assert first == 10 * (256 * 1024 + 14)  # the leaves are wrapped
        assert 0 < second < credit
        rest = thief.take(sellers[0], leaves[10:])
        assert (first + second + rest) * 0.99 <= credit
        tabs = [run_client("-p", seller.port, "owed", "--json").json["tabs"] for seller in sellers]
        unpaid = [tab["unpaid"]["bytes"] for (tab,) in tabs]
        assert credit // 2 < sum(unpaid) <= credit
        assert min(unpaid) > 0
        # Whoever pays is served, by the one that has the offer now.
        buyer = servers.start("--payments", "--data-dir", str(tmp_path / "buyer"), join=sellers[1])
        done = run_client(
            "-p", buyer.port, "get", str(Cid(0, Codec.DAG_PB, thief.content)), "-o", "got", "-y"
        )
        assert done.status == 0, done
        assert (tmp_path / "got").read_bytes() == data


def test_a_budget_of_the_day_ends_a_purchase(
    run_client: Run, servers: Servers, movie: Path, tmp_path: Path
) -> None:
    seller = servers.start("--payments", "--content-port", "0", "--currency", "shells")
    cid = sold(run_client, seller, movie, 3)
    buyers = {
        name: servers.start("--payments", *options, join=seller)
        for name, options in {
            "poor": ("--budget", "5", "--currency", "shells"),
            "rich": ("--budget", "50", "--currency", "shells"),
            "foreign": (),
        }.items()
    }
    poor = run_client("-p", buyers["poor"].port, "get", cid, "-o", "poor.mkv", "-y")
    assert (poor.status, "budget" in poor.err) == (3, True), poor
    assert run_client("-p", buyers["poor"].port, "spending", "--json").json["spent_today"] <= 5
    assert run_client("-p", buyers["rich"].port, "get", cid, "-o", "rich.mkv", "-y").status == 0
    told = run_client("-p", buyers["rich"].port, "spending", "--json").json
    assert (told["spent_today"], told["budget_per_day"]) == (16, 50)
    assert [one["currency"] for one in told["totals"]] == ["shells"]
    foreign = run_client("-p", buyers["foreign"].port, "get", cid, "-o", "foreign.mkv", "-y")
    assert (foreign.status, "it asks for shells" in foreign.err) == (3, True), foreign
