"""What a priced block costs who did not get all of it, and requests that wait for the disk."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from random import Random
from typing import Any

import h2.errors

from fastmarket.config import ContentConfig
from fastmarket.content.port.fields import CORS
from fastmarket.content.port.gateway import Gateway
from fastmarket.content.port.messages import GatewayRequest
from fastmarket.content.port.server import ContentServer
from fastmarket.content.port.speaker import not_held
from fastmarket.formats.cid import Cid
from fastmarket.formats.unixfs.profile import UNIXFS_V1_2025
from fastmarket.payments.reasons import Reason
from tests.conftest import Run
from tests.content.port.paying import Customer, SmallTill
from tests.content.port.shop import Shop
from tests.content.port.test_http2 import Talk
from tests.content.port.test_server import small_buffers
from tests.net.loopback import until

MIB = 1 << 20
LEAF_BYTES = MIB  # more than the buffers of a small socket take
_RESET = socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
CONFIG = ContentConfig(port=0, stop_grace_s=0.2)


def sold(shop: Shop, till: SmallTill, tmp_path: Path) -> list[Cid]:
    path = tmp_path / "priced.bin"
    path.write_bytes(Random(3).randbytes(3 * LEAF_BYTES))
    shop.sell(path, UNIXFS_V1_2025)
    till.sell(shop.leaves)
    return shop.leaves


class Visit:
    """A customer that has a block, which is not paid yet, and asks for more on the same connection."""

    def __init__(self, shop: Shop, tmp_path: Path) -> None:
        self.till = SmallTill()
        leaf, self.other, _ = sold(shop, self.till, tmp_path)
        self.customer = Customer(self.till)
        self.talk = Talk(shop, cashier=self.till.cashier)
        self.ask(leaf)

    def ask(self, cid: Cid, receipt: bytes = b"") -> int:
        header = self.customer.header(cid.multihash, receipt)
        number = self.talk.ask(raw(cid), **{"payment-signature": header})
        self.talk.run()
        return number


def raw(cid: Cid) -> str:
    return f"/ipfs/{cid}?format=raw"


def request(cid: Cid, payment: str, *more: str) -> bytes:
    lines = [f"GET {raw(cid)} HTTP/1.1", "Host: x", f"PAYMENT-SIGNATURE: {payment}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def test_a_socket_cut_amid_a_block_pays_for_what_the_system_took(
    run: Run[Any], shop: Shop, tmp_path: Path
) -> None:
    till = SmallTill()
    leaf, *_ = sold(shop, till, tmp_path)
    customer = Customer(till)

    async def main() -> None:
        server = ContentServer(shop, CONFIG, sweep_s=0.02, cashier=till.cashier)
        port = await server.start()
        sock = small_buffers(port, request(leaf, customer.header(leaf.multihash)))
        await until(lambda: server.tally.bytes_sent > 64 * 1024)
        assert till.account(customer).unpaid == LEAF_BYTES  # while it may still be sent
        sock.close()
        await until(lambda: server.tally.aborted == 1)
        (sent,) = server.tally.take_sent().values()
        assert 0 < sent < LEAF_BYTES
        assert till.account(customer).unpaid == sent
        await server.stop()

    run(main())


def test_a_stream_that_is_reset_amid_a_block_pays_for_what_was_in_frames(shop: Shop, tmp_path: Path) -> None:
    till = SmallTill()
    leaf, other, _ = sold(shop, till, tmp_path)
    customer = Customer(till)
    talk = Talk(shop, windows=False, cashier=till.cashier)
    number = talk.ask(raw(leaf), **{"payment-signature": customer.header(leaf.multihash)})
    talk.run()
    assert till.account(customer).unpaid == LEAF_BYTES
    talk.client.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
    talk.run()
    (sent,) = talk.tally.take_sent().values()
    assert 0 < sent < LEAF_BYTES
    assert till.account(customer).unpaid == sent == len(talk.bodies[number])
    talk.ask(raw(other), **{"payment-signature": customer.header(other.multihash)})
    talk.run()  # the connection's window is used up: nothing of it was sent
    assert till.account(customer).unpaid == sent + LEAF_BYTES
    talk.speaker.drop()
    assert till.account(customer).unpaid == sent


def test_a_file_that_changes_amid_a_block_costs_what_was_sent(shop: Shop, tmp_path: Path) -> None:
    till = SmallTill()
    leaf, *_ = sold(shop, till, tmp_path)
    customer = Customer(till)
    talk = Talk(shop, windows=False, cashier=till.cashier)
    number = talk.ask(raw(leaf), **{"payment-signature": customer.header(leaf.multihash)})
    talk.run()
    (tmp_path / "priced.bin").write_bytes(b"another")
    for stream in (0, number):
        talk.client.increment_flow_control_window(LEAF_BYTES, stream or None)
    talk.run()
    assert talk.reset == {number: h2.errors.ErrorCodes.INTERNAL_ERROR}
    assert 0 < till.account(customer).unpaid == len(talk.bodies[number]) < LEAF_BYTES


def test_what_is_not_answered_with_the_block_costs_nothing(shop: Shop, tmp_path: Path) -> None:
    till = SmallTill()
    leaf, *_ = sold(shop, till, tmp_path)
    customer, gateway = Customer(till), Gateway(shop, till.cashier)

    def got(method: str = "GET", **headers: str) -> int:
        kept = {name.replace("_", "-"): value for name, value in headers.items()}
        kept["payment-signature"] = customer.header(leaf.multihash)
        asked = GatewayRequest(method, raw(leaf), kept)
        assert not gateway.holds(asked, not_held)
        return gateway.answer(asked).status

    assert got(range=f"bytes={9 * MIB}-") == 416
    assert got(if_none_match=f'"{leaf}.raw"') == 304
    assert got("HEAD") == 200
    assert till.tabs.unpaid_bytes == 0
    assert got(range="bytes=0-0") == 206  # which costs the whole block
    assert till.tabs.unpaid_bytes == LEAF_BYTES


def test_a_block_for_a_ticket_alone_tells_nothing_of_the_tab(
    run: Run[Any], shop: Shop, tmp_path: Path
) -> None:
    """Nothing changed that the buyer does not know; what came with a ticket is answered."""

    async def main() -> None:
        visit = Visit(shop, tmp_path)
        talk = visit.talk
        visit.customer.purse.opening = b""  # the seller has it
        alone = visit.ask(visit.other)
        paid = visit.ask(visit.other, visit.customer.receipt(LEAF_BYTES))
        await visit.till.disk.told()
        talk.run()
        assert [talk.status(number) for number in (1, alone, paid)] == [200, 200, 200]
        told = ["payment-response" in talk.headers[number] for number in (1, alone, paid)]
        assert told == [True, False, True]

    run(main())


def test_a_page_may_pay() -> None:
    cors = dict(CORS)
    assert "Payment-Signature" in cors["Access-Control-Allow-Headers"]
    assert {"Payment-Required", "Payment-Response"} <= {*cors["Access-Control-Expose-Headers"].split(", ")}


# --- held


def test_a_request_that_is_reset_while_its_receipt_is_written_has_still_paid(
    run: Run[Any], shop: Shop, tmp_path: Path
) -> None:
    async def main() -> None:
        visit = Visit(shop, tmp_path)
        till, customer, talk = visit.till, visit.customer, visit.talk
        till.disk.is_held = True
        held = visit.ask(visit.other, customer.receipt(LEAF_BYTES))
        assert talk.speaker.is_busy
        assert held not in talk.headers
        talk.client.reset_stream(held, h2.errors.ErrorCodes.CANCEL)
        free = talk.ask("/ipfs/bafkqabtimvwgy3yk?format=raw")
        talk.run()
        assert not talk.speaker.is_busy
        assert talk.status(free) == 200
        till.disk.let_go()
        await till.disk.told()
        talk.run()
        assert held not in talk.headers
        account = till.account(customer)
        assert (account.seq, account.paid_bytes, account.unpaid) == (1, LEAF_BYTES, 0)
        assert talk.tally.running == 0

    run(main())


def test_nor_is_a_receipt_lost_with_its_connection(run: Run[Any], shop: Shop, tmp_path: Path) -> None:
    till = SmallTill()
    leaf, other, _ = sold(shop, till, tmp_path)
    customer = Customer(till)

    async def main() -> None:
        server = ContentServer(shop, CONFIG, sweep_s=0.02, cashier=till.cashier)
        port = await server.start()
        first = small_buffers(port, request(leaf, customer.header(leaf.multihash), "Range: bytes=0-9"))
        await until(lambda: server.tally.requests.get(206) == 1)
        till.disk.is_held = True
        paid = customer.header(other.multihash, customer.receipt(LEAF_BYTES))
        second = small_buffers(port, request(other, paid))
        await until(lambda: bool(till.disk.waiting))
        second.setsockopt(*_RESET)
        second.close()
        await until(lambda: server.tally.open_connections == 1)
        till.disk.let_go()
        await until(lambda: till.account(customer).seq == 1)
        assert till.account(customer).unpaid == 0
        first.close()
        await server.stop()

    run(main())


def test_a_receipt_that_cannot_be_written_is_refused_and_may_come_again(
    run: Run[Any], shop: Shop, tmp_path: Path
) -> None:
    async def main() -> None:
        visit = Visit(shop, tmp_path)
        till, customer, talk = visit.till, visit.customer, visit.talk
        receipt = customer.receipt(LEAF_BYTES)
        seen = []
        for is_full in (True, False):
            till.disk.is_full = is_full
            number = visit.ask(visit.other, receipt)
            await till.disk.told()
            talk.run()
            seen.append(talk.status(number))
            if is_full:
                assert customer.reason(talk.headers[number]) is Reason.DISK
        assert seen == [402, 200]
        assert till.account(customer).seq == 1

    run(main())
