"""A market of which a part cheats, each in one way: `run` plays so many sessions, and says what came of them.
Honest buyers give up a request now and then, which their sellers have answered.

`python -m tests.virtual.cheats 10000` plays as many.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random

from fastmarket.config.payments import CreditPolicy
from fastmarket.payments.purse import Purse
from fastmarket.payments.reasons import Reason
from fastmarket.payments.receipt import open_receipt
from fastmarket.payments.tab import MAX_SUM, PricedOffer
from fastmarket.payments.x402 import PaymentTerms, TabState, encode_state, encode_terms
from tests.virtual.payments import (
    BLOCK_BYTES,
    CONTENT,
    START,
    Purchase,
    VirtualBuyer,
    VirtualSeller,
    identity,
)

PRICE = 3
MAX_BLOCKS = 24  # of a session
GIVEN_UP = 0.01  # of all blocks, by any buyer: the answer was late
SESSION_S = 0.25  # from one to the next: 10,000 of them within an hour


# --- buyers


class Replaying(VirtualBuyer):
    """Sends its first receipt again and again."""

    first = b""

    def receipt(self, purse: Purse) -> bytes:
        self.first = self.first or super().receipt(purse)
        return self.first


class TwoFaced(VirtualBuyer):
    """Signs two receipts of each number."""

    turns = 0

    def receipt(self, purse: Purse) -> bytes:
        raw = super().receipt(purse)
        self.turns += 1
        if raw and self.turns % 2:
            receipt = open_receipt(raw)
            return replace(receipt, cumulative_amount=receipt.cumulative_amount + 1).sign(self.identity)
        return raw


class PayingAnother(VirtualBuyer):
    """Pays with receipts for itself as the seller."""

    def receipt(self, purse: Purse) -> bytes:
        raw = super().receipt(purse)
        if not raw:
            return raw
        receipt = open_receipt(raw)
        return replace(receipt, tab=replace(receipt.tab, seller=identity(7777).peer_id)).sign(self.identity)


class Overflowing(VirtualBuyer):
    """Pays with the largest bytes that there are."""

    def receipt(self, purse: Purse) -> bytes:
        raw = super().receipt(purse)
        receipt = open_receipt(raw) if raw else None
        return replace(receipt, cumulative_bytes=MAX_SUM).sign(self.identity) if receipt else raw


class Expiring(VirtualBuyer):
    """Its receipts are valid no more when they come."""

    def receipt(self, purse: Purse) -> bytes:
        raw = super().receipt(purse)
        receipt = open_receipt(raw) if raw else None
        return replace(receipt, valid_until=int(START) - 86_400).sign(self.identity) if receipt else raw


class Leaving(VirtualBuyer):
    """Pays nothing, and is gone before it has to."""

    def receipt(self, purse: Purse) -> bytes:
        return b""


class Forgetful(VirtualBuyer):
    """Writes nothing to its disk, and crashes in the middle."""

    def fetch(self, seller: VirtualSeller, blocks: int, now: float, price: int = PRICE) -> Purchase:
        super().fetch(seller, blocks // 2, now, price)
        self.disk.rows.clear()
        self.crash()
        return super().fetch(seller, blocks // 2, now + 0.01, price)


class Insisting(VirtualBuyer):
    """Asks on and on, whatever it is told."""

    def receipt(self, purse: Purse) -> bytes:
        return b""

    def settle(self, purse: Purse, offer: PricedOffer, terms: PaymentTerms, now: float) -> bool:
        super().settle(purse, offer, terms, now)
        return True


class Underpaying(VirtualBuyer):
    """Signs the bytes, and one unit less."""

    def receipt(self, purse: Purse) -> bytes:
        raw = super().receipt(purse)
        receipt = open_receipt(raw) if raw else None
        if receipt is None:
            return raw
        return replace(receipt, cumulative_amount=max(receipt.cumulative_amount - 1, 0)).sign(self.identity)


# --- sellers


class Garbling(VirtualSeller):
    """Sends garbage once it was paid."""

    def is_garbled(self, buyer: VirtualBuyer) -> bool:
        return self.paid_bytes(buyer.peer_id) > 0


class Raising(VirtualSeller):
    """Asks for more from the fifth request on."""

    asked = 0

    def request(self, *args: object) -> tuple[str, str]:
        self.asked += 1
        self.prices[CONTENT] = PRICE if self.asked % 10 < 5 else PRICE * 1000
        return super().request(*args)  # type: ignore[arg-type]


class NeverContent(VirtualSeller):
    """Takes receipts, and then says that everything is unpaid."""

    def request(self, *args: object) -> tuple[str, str]:
        told, required = super().request(*args)  # type: ignore[arg-type]
        if told and self.served_bytes > 8 * BLOCK_BYTES:
            state = TabState(0, 1 << 20, 1 << 50, 1 << 50, 0)
            terms = PaymentTerms(Reason.CREDIT, self.peer_id, "unit", PRICE, self.tabs.session_key, state)
            return "", encode_terms(terms, "/ipfs/x", 1)
        return told, required


class Overclaiming(VirtualSeller):
    """Says that more is unpaid than was sent."""

    def request(self, *args: object) -> tuple[str, str]:
        told, required = super().request(*args)  # type: ignore[arg-type]
        if told:
            return encode_state(TabState(0, 1 << 40, 1 << 50, 1 << 50, 1 << 50), self.peer_id), ""
        return told, required


class LosingReceipts(VirtualSeller):
    """Crashes after each tenth request, with a disk that keeps nothing."""

    asked = 0

    def request(self, *args: object) -> tuple[str, str]:
        self.asked += 1
        if self.asked % 10 == 0:
            self.disk.rows.clear()
            self.crash()
        return super().request(*args)  # type: ignore[arg-type]


BUYERS = (
    Replaying,
    TwoFaced,
    PayingAnother,
    Overflowing,
    Expiring,
    Leaving,
    Forgetful,
    Insisting,
    Underpaying,
)
SELLERS = (Garbling, Raising, NeverContent, Overclaiming, LosingReceipts)


@dataclass(slots=True)
class Outcome:
    """Of all sessions: how many pairs were honest, and which of them did not finish; the greatest losses."""

    sessions: int = 0
    honest: int = 0
    unfinished: list[str] = field(default_factory=list)
    seller_loss: int = 0
    seller_bound_broken: list[str] = field(default_factory=list)
    buyer_loss: int = 0
    refused: Counter[Reason] = field(default_factory=Counter)
    lost_by: Counter[str] = field(default_factory=Counter)


class Verifying:
    """What an honest buyer sees of the blocks of a seller."""

    def __init__(self, buyer: VirtualBuyer, seller: VirtualSeller) -> None:
        self.buyer, self.seller = buyer, seller
        self.right = 0

    def __call__(self, number: int) -> int:
        if isinstance(self.seller, Garbling) and self.seller.is_garbled(self.buyer):
            return 0
        self.right += BLOCK_BYTES
        return BLOCK_BYTES


def run(sessions: int, seed: int = 1, cheating: float = 0.3, sellers: int = 50) -> Outcome:
    """Each session is one fetch by one buyer; some buyers come again."""
    random = Random(f"cheats {seed}")
    shops = [
        (random.choice(SELLERS) if random.random() < cheating else VirtualSeller)(number + 1)
        for number in range(sellers)
    ]
    outcome = Outcome(sessions)
    regulars: list[VirtualBuyer] = []
    for number in range(sessions):
        now = START + number * SESSION_S
        if regulars and random.random() < 0.3:
            buyer = random.choice(regulars)
        else:
            is_cheat = random.random() < cheating
            kind = random.choice(BUYERS) if is_cheat else VirtualBuyer
            block = "198.51" if is_cheat else f"10.{number % 250}"
            buyer = kind(10_000 + number, host=f"{block}.{number // 250 % 250}.{number % 250}")
            regulars.append(buyer)
            del regulars[:-200]
        _play(random, buyer, random.choice(shops), now, outcome)
    for shop in shops:
        outcome.refused += shop.tabs.refused
    return outcome


def _play(random: Random, buyer: VirtualBuyer, shop: VirtualSeller, now: float, outcome: Outcome) -> None:
    blocks = random.randint(1, MAX_BLOCKS)
    verifying = Verifying(buyer, shop)
    buyer.verify = verifying  # type: ignore[method-assign,assignment]
    buyer.gives_up = lambda number: random.random() < GIVEN_UP  # type: ignore[method-assign]
    is_honest_shop, is_honest_buyer = type(shop) is VirtualSeller, type(buyer) is VirtualBuyer
    purse, served = buyer.purse(shop), shop.served_bytes
    paid = purse.paid_bytes
    before = shop.paid_bytes(buyer.peer_id)
    done = buyer.fetch(shop, blocks, now, PRICE)
    if is_honest_shop and is_honest_buyer:
        outcome.honest += 1
        owed = shop.served_bytes - served - (shop.paid_bytes(buyer.peer_id) - before)
        if done.why or done.verified != blocks * BLOCK_BYTES or owed:
            outcome.unfinished.append(f"{buyer.host}: {done}, {owed} unpaid")
    if is_honest_buyer:
        loss = max(purse.paid_bytes - paid - verifying.right, purse.unverified)
        outcome.buyer_loss = max(outcome.buyer_loss, loss)
    if is_honest_shop:
        loss = shop.served_bytes - served - (shop.paid_bytes(buyer.peer_id) - before)
        outcome.seller_loss = max(outcome.seller_loss, loss)
        outcome.lost_by[type(buyer).__name__] += max(loss, 0)
        _check_account(buyer, shop, outcome)


def _check_account(buyer: VirtualBuyer, shop: VirtualSeller, outcome: Outcome) -> None:
    """What a buyer owes in all is within its credit, which is within what it paid and a stranger's."""
    policy: CreditPolicy = shop.config.credit
    shop.flush()
    row = shop.disk.find(buyer.peer_id.raw, "unit")
    if row is None:
        return
    owed = sum(one.served + one.lost for one in row.owed)
    if owed > row.credit or row.credit > row.paid_bytes + row.total_bytes + policy.stranger_bytes:
        outcome.seller_bound_broken.append(f"{type(buyer).__name__}: {owed} of {row.credit}")


if __name__ == "__main__":
    found = run(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
    print(f"{found.sessions} sessions, {found.honest} of honest pairs, {len(found.unfinished)} unfinished")
    print(f"greatest loss of a seller in a session {found.seller_loss} bytes, of a buyer {found.buyer_loss}")
    print(f"accounts beyond their bounds: {len(found.seller_bound_broken)}")
    print("lost by sellers:", dict(found.lost_by))
    print("refused:", {reason.value: count for reason, count in found.refused.items()})
