"""A buyer and a seller in virtual time: what passes between them is headers, what they keep is rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from fastmarket.config.payments import PaymentConfig
from fastmarket.errors import NodeFault
from fastmarket.formats.cid import sha256_multihash
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.payments.backing import Backings, VoucherScheme, sign_terms
from fastmarket.payments.buyer import BuyerTabs, Permission, SignedReceipt
from fastmarket.payments.paying import Declined, Paying
from fastmarket.payments.purse import Purse
from fastmarket.payments.reasons import Reason
from fastmarket.payments.rows import BuyerRow, SellerRow
from fastmarket.payments.seller import CheckedReceipt, SellerTabs
from fastmarket.payments.tab import PricedOffer
from fastmarket.payments.till import Admitted, NotAdmitted, Till, Wanted, ticket_of
from fastmarket.payments.x402 import (
    Payment,
    PaymentTerms,
    TabState,
    decode_payment,
    decode_state,
    decode_terms,
    encode_payment,
    encode_state,
    encode_terms,
)

START = 1_800_000_000.0
CONTENT = sha256_multihash(b"a content")
BLOCK_BYTES = 256 * 1024
MAX_TRIES = 6  # for one block


def identity(number: int) -> Identity:
    return Identity.from_seed(number.to_bytes(32, "big"))


class SellerDisk:
    """Rows of a seller by buyer and currency; `is_full`: nothing is written."""

    def __init__(self) -> None:
        self.rows: dict[tuple[bytes, str], SellerRow] = {}
        self.is_full = False

    def find(self, buyer: bytes, currency: str) -> SellerRow | None:
        return self.rows.get((buyer, currency))

    def takes_new(self) -> bool:
        return not self.is_full

    def put(self, row: SellerRow) -> bool:
        if not self.is_full:
            self.rows[row.buyer, row.currency] = row
        return not self.is_full


class BuyerDisk:
    """Rows of a buyer by seller and currency."""

    def __init__(self) -> None:
        self.rows: dict[tuple[bytes, str], BuyerRow] = {}
        self.is_full = False

    def find(self, seller: bytes, currency: str) -> BuyerRow | None:
        return self.rows.get((seller, currency))

    def spent(self, day: int) -> int:
        return sum(row.day_amount for row in self.rows.values() if row.day == day)

    def put(self, row: BuyerRow) -> None:
        if self.is_full:
            raise NodeFault("the disk is full")
        self.rows[row.seller, row.currency] = row


class VirtualSeller:
    """A till with its disk. `prices` by content; what it served and was paid is counted here, too."""

    def __init__(
        self,
        number: int = 1,
        config: PaymentConfig | None = None,
        price: int = 3,
        vouchers: VoucherScheme | None = None,
    ) -> None:
        self.vouchers = vouchers
        self.identity = identity(number)
        self.config = config or PaymentConfig()
        self.disk = SellerDisk()
        self.prices = {CONTENT: price}
        self.served_bytes = 0
        self.runs = 0
        self.till = self._begin()

    @property
    def peer_id(self) -> PeerId:
        return self.identity.peer_id

    @property
    def tabs(self) -> SellerTabs:
        return self.till.tabs

    def _begin(self) -> Till:
        self.runs += 1
        private = Random(f"seller {self.peer_id} {self.runs}").randbytes(32)
        terms = b"" if self.vouchers is None else sign_terms(self.identity, self.vouchers.terms)
        backings = Backings(self.config.settling, self.vouchers, terms)
        return Till(SellerTabs(self.peer_id, self.config, self.disk, private, backings))

    def crash(self) -> None:
        """What is not on disk is gone."""
        self.till = self._begin()

    def flush(self) -> None:
        rows = self.tabs.poll_changes()
        for row in rows:
            self.disk.put(row)
        self.tabs.on_written(rows)

    def request(
        self, header: str, block: bytes, size: int, now: float, host: str = "192.0.2.1"
    ) -> tuple[str, str]:
        """The answer to a request for a block: PAYMENT-RESPONSE or "", PAYMENT-REQUIRED or ""."""
        payment = decode_payment(header)
        wanted = Wanted(block, CONTENT, self.prices[CONTENT], size)
        found = self.take(payment, host, now)
        admitted = (
            NotAdmitted(found) if found is not None else self.till.admit(ticket_of(payment), wanted, now)
        )
        if isinstance(admitted, NotAdmitted):
            terms = self.till.terms(admitted, wanted)
            return "", encode_terms(terms, "/ipfs/x", PricedOffer(b"", wanted.price).cost(size))
        self.served_bytes += size
        state = self.till.state(admitted.account, wanted, admitted.count)
        return encode_state(state, admitted.account.buyer), ""

    def take(self, payment: Payment, host: str, now: float) -> Reason | None:
        found = self.till.take(payment, host, now)
        if not isinstance(found, CheckedReceipt):
            return found
        if found.row is not None:
            if not self.disk.put(found.row):
                self.tabs.drop_receipt(found.account)
                return Reason.DISK
            self.tabs.confirm_receipt(found.account, now)
        return None

    def paid_bytes(self, buyer: PeerId) -> int:
        row = self.disk.find(buyer.raw, self.config.currency)
        return 0 if row is None else row.paid_bytes + row.total_bytes


@dataclass(slots=True)
class Purchase:
    """What came of one fetch: bytes that were verified, and why it ended early."""

    verified: int = 0
    why: str = ""
    asks: int = 0
    refusals: list[Reason] = field(default_factory=list)


class VirtualBuyer:
    """Buys blocks, one at a time, as an honest buyer does; `cheats` override its steps."""

    def __init__(
        self,
        number: int = 1000,
        config: PaymentConfig | None = None,
        host: str = "",
        vouchers: VoucherScheme | None = None,
    ) -> None:
        self.vouchers = vouchers
        self.identity = identity(number)
        self.config = config or PaymentConfig()
        self.host = host or f"10.{number % 200}.{number // 200 % 200}.1"
        self.disk = BuyerDisk()
        self.entropy = Random(f"buyer {number}")
        self.tabs = BuyerTabs(self.identity, self.config, self.disk, vouchers)

    @property
    def peer_id(self) -> PeerId:
        return self.identity.peer_id

    def crash(self) -> None:
        self.tabs = BuyerTabs(self.identity, self.config, self.disk, self.vouchers)

    def flush(self, *, closing: bool = False) -> None:
        rows = self.tabs.poll_changes(closing=closing)
        for row in rows:
            self.disk.put(row)
        self.tabs.on_written(rows)

    def purse(self, seller: VirtualSeller) -> Purse:
        return self.tabs.purse(seller.peer_id, self.entropy.randbytes(16))

    def fetch(self, seller: VirtualSeller, blocks: int, now: float, price: int = 3) -> Purchase:
        """So many blocks, each paid for in time, and all at the end."""
        done = Purchase()
        offer = self.tabs.offer(CONTENT, seller.peer_id, price)
        for number in range(blocks):
            if not self.fetch_block(seller, number, offer, now, done):
                return done
            self.pay(seller, now)
        self.finish(seller, offer, now, done)
        return done

    def fetch_block(
        self, seller: VirtualSeller, number: int, offer: PricedOffer, now: float, done: Purchase
    ) -> bool:
        """Whether it came."""
        purse, block = self.purse(seller), sha256_multihash(number.to_bytes(4, "big"))
        for _ in range(MAX_TRIES):
            asking = self.tabs.may_ask(purse, offer, BLOCK_BYTES, now)
            if asking is Permission.BUDGET:
                done.why = asking.value
                return False
            done.asks += 1
            if purse.secret is not None:
                payment = Payment(self.ticket(purse, offer, block), self.receipt(purse), purse.opening)
            else:
                payment = Payment(b"")
            self.tabs.on_asked(purse, offer, BLOCK_BYTES)
            told, required = seller.request(encode_payment(payment), block, BLOCK_BYTES, now, self.host)
            if told and self.gives_up(number):  # the answer is late, or the connection lost
                self.tabs.on_given_up(purse, offer, BLOCK_BYTES, may_have_come=True)
                continue
            if told:
                return self.on_block(purse, offer, number, decode_state(told), done)
            self.tabs.on_given_up(purse, offer, BLOCK_BYTES, may_have_come=False)
            terms = decode_terms(required)
            done.refusals.append(terms.reason)
            if not self.settle(purse, offer, terms, now):
                break
        done.why = done.refusals[-1].value
        return False

    def on_block(
        self, purse: Purse, offer: PricedOffer, number: int, state: TabState, done: Purchase
    ) -> bool:
        """Whether it is right."""
        right = self.verify(number)
        if right:
            self.tabs.on_verified(purse, offer, BLOCK_BYTES, right)
        else:
            self.tabs.on_given_up(purse, offer, BLOCK_BYTES, may_have_come=True)
            done.why = "garbage"
        done.verified += right
        self.on_state(purse, state)
        return right > 0

    def paying(self, purse: Purse, offer: PricedOffer) -> Paying:
        return Paying(self.tabs, purse, offer, self.entropy.randbytes)

    def settle(self, purse: Purse, offer: PricedOffer, terms: PaymentTerms, now: float) -> bool:
        """After a refusal: whether it is worth asking again."""
        step = self.paying(purse, offer).on_told(terms, purse.secret, now, is_writing=False)
        if isinstance(step, SignedReceipt):
            self.write(step)
        return not isinstance(step, Declined)

    def sign(self, purse: Purse, now: float, *, final: bool = False) -> None:
        """Signs and writes a receipt if one is due."""
        if (signed := self.tabs.next_receipt(purse, now, final=final)) is not None:
            self.write(signed)

    def write(self, signed: SignedReceipt) -> None:
        self.disk.put(signed.row)
        self.tabs.confirm_written(signed.purse)

    def pay(self, seller: VirtualSeller, now: float) -> None:
        """Between two blocks."""
        self.sign(self.purse(seller), now)

    def finish(self, seller: VirtualSeller, offer: PricedOffer, now: float, done: Purchase) -> None:
        """Pays the rest on last small requests: what was verified, and what the seller misses beside."""
        purse = self.purse(seller)
        block = sha256_multihash(b"root")
        for _ in range(MAX_TRIES):
            self.sign(purse, now, final=True)
            receipt = self.receipt(purse)
            if not receipt:
                return
            payment = Payment(self.ticket(purse, offer, block), receipt)
            told, required = seller.request(encode_payment(payment), block, 0, now, self.host)
            if told:
                state = decode_state(told)
                self.on_state(purse, state)
                self.tabs.on_claim(purse, offer, state.offer_unpaid)
            else:
                done.refusals.append(decode_terms(required).reason)

    # --- what a cheat does otherwise

    def ticket(self, purse: Purse, offer: PricedOffer, block: bytes) -> bytes:
        return self.tabs.ticket(purse, offer, CONTENT, block).encode()

    def receipt(self, purse: Purse) -> bytes:
        return self.tabs.sendable(purse) or b""

    def verify(self, number: int) -> int:
        return BLOCK_BYTES

    def gives_up(self, number: int) -> bool:
        return False

    def on_state(self, purse: Purse, state: TabState) -> None:
        if state.seq <= purse.seq:
            self.tabs.on_accepted(purse, state.seq, state.credit)


def admitted(found: object) -> Admitted:
    assert isinstance(found, Admitted)
    return found
