"""Servers of a fleet: together they give a buyer no more than one of them would."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.config.payments import PaymentConfig
from fastmarket.payments.reasons import Reason
from fastmarket.payments.seller import SellerTabs
from fastmarket.payments.shares import CreditShares, ShareWanted
from fastmarket.payments.till import Till
from tests.virtual.payments import (
    BLOCK_BYTES,
    CONTENT,
    START,
    Purchase,
    SellerDisk,
    VirtualBuyer,
    VirtualSeller,
)

POLICY = PaymentConfig().credit


class VirtualStore:
    """The shares of one buyer, as the engine adds them up."""

    def __init__(self) -> None:
        self.fields: dict[int, tuple[int, int]] = {}
        self.is_away = False

    def grant(self, server: int, wanted: ShareWanted) -> int:
        others = [field for number, field in self.fields.items() if number != server]
        most = max([wanted.credit, *(credit for _, credit in others)])
        granted = max(min(wanted.count, most - sum(share for share, _ in others)), wanted.held)
        self.fields[server] = granted, wanted.credit
        return granted


class FleetSeller(VirtualSeller):
    """A server with a store."""

    def __init__(self, number: int, store: VirtualStore) -> None:
        self.store, self.number = store, number
        super().__init__(number)

    def _begin(self) -> Till:
        self.shares = CreditShares(self.config.credit, lambda: None)
        self.disk = getattr(self, "disk", None) or SellerDisk()
        private = bytes([self.number]) * 32
        return Till(SellerTabs(self.peer_id, self.config, self.disk, private, shares=self.shares))

    def ask(self) -> None:
        """What the shell does."""
        for wanted in self.shares.poll_wanted():
            if self.store.is_away:
                self.shares.on_failed(wanted)
            else:
                self.shares.on_granted(wanted, self.store.grant(self.number, wanted))


def taken(sellers: list[FleetSeller], buyer: VirtualBuyer, blocks: int, now: float) -> list[Reason]:
    """Blocks of all of them in turns, by a buyer that never pays; why each was refused."""
    refusals = []
    for number in range(blocks):
        seller = sellers[number % len(sellers)]
        done = Purchase()
        offer = buyer.tabs.offer(CONTENT, seller.peer_id, 3)
        for _ in range(4):
            if buyer.fetch_block(seller, number, offer, now, done):
                break
            seller.ask()
        refusals += done.refusals[-1:]
    return refusals


class Thief(VirtualBuyer):
    """Asks whatever it owes, and pays nothing."""

    def receipt(self, purse: object) -> bytes:
        return b""


def unpaid(sellers: list[FleetSeller]) -> int:
    accounts = [account for seller in sellers if (account := seller.tabs.find(Thief().peer_id))]
    return sum(account.unpaid + account.lost for account in accounts)


def fleet(count: int) -> list[FleetSeller]:
    store = VirtualStore()
    return [FleetSeller(number + 1, store) for number in range(count)]


def test_a_thief_takes_one_credit_of_all_servers_together() -> None:
    sellers, thief = fleet(3), Thief()
    now = START
    for _ in range(5):
        taken(sellers, thief, 60, now)
        assert unpaid(sellers) <= POLICY.stranger_bytes
        now += 2.0
    assert unpaid(sellers) > POLICY.stranger_bytes // 2
    for seller in sellers:  # nor after it has defaulted everywhere
        seller.tabs.handle_timer(now + 7200)
        seller.ask()
    taken(sellers, thief, 60, now + 7300)
    assert unpaid(sellers) <= POLICY.stranger_bytes


def test_alone_it_takes_the_same() -> None:
    """What the fleet bounds is there without it, once a server."""
    sellers, thief = [VirtualSeller(1), VirtualSeller(2)], Thief()
    for number in range(60):
        seller = sellers[number % 2]
        thief.fetch_block(seller, number, thief.tabs.offer(CONTENT, seller.peer_id, 3), START, Purchase())
    assert sum(seller.served_bytes for seller in sellers) > POLICY.stranger_bytes


def test_who_pays_is_served_by_all_of_them() -> None:
    sellers, buyer = fleet(2), VirtualBuyer()
    got = 0
    for number in range(200):
        seller = sellers[number % 2]
        offer = buyer.tabs.offer(CONTENT, seller.peer_id, 3)
        for _ in range(4):
            if buyer.fetch_block(seller, number, offer, START, Purchase()):
                got += 1
                break
            seller.ask()
        buyer.pay(seller, START)
    assert got == 200
    for seller in sellers:
        buyer.finish(seller, buyer.tabs.offer(CONTENT, seller.peer_id, 3), START, Purchase())
        for now in (START + 60, START + 62):  # what was asked for ahead comes before
            seller.tabs.handle_timer(now)
            seller.ask()
    assert [share for share, _ in sellers[0].store.fields.values()] == [0, 0]  # given back


def test_without_the_store_nothing_is_served_beyond_what_was_granted() -> None:
    sellers, thief = fleet(1), Thief()
    sellers[0].store.is_away = True
    assert set(taken(sellers, thief, 10, START)) == {Reason.DISK}
    sellers[0].store.is_away = False
    assert Reason.DISK not in taken(sellers, thief, 4, START + 2)[1:]
    assert unpaid(sellers) == 4 * BLOCK_BYTES


def test_a_store_that_grants_too_much_changes_nothing() -> None:
    sellers, thief = fleet(1), Thief()
    for number in range(60):
        done = Purchase()
        offer = thief.tabs.offer(CONTENT, sellers[0].peer_id, 3)
        for _ in range(4):
            if thief.fetch_block(sellers[0], number, offer, START, done):
                break
            for wanted in sellers[0].shares.poll_wanted():
                sellers[0].shares.on_granted(wanted, 1 << 62)
    assert unpaid(sellers) == POLICY.stranger_bytes


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 30), st.sampled_from(["", "", "crash", "wait"])),
        max_size=20,
    )
)
def test_whatever_happens_the_sum_is_bounded(steps: list[tuple[int, int, str]]) -> None:
    sellers, thief, now = fleet(3), Thief(), START
    for which, blocks, happens in steps:
        seller = sellers[which]
        if happens == "crash":
            seller.flush()
            seller.crash()
        if happens == "wait":
            now += 4000
            for one in sellers:
                one.tabs.handle_timer(now)
                one.ask()
        taken([seller], thief, blocks, now)
        now += 1.5
        rows = [one.disk.rows.values() for one in sellers if not one.flush()]
        owed = sum(part.served + part.lost for some in rows for row in some for part in row.owed)
        assert owed <= POLICY.stranger_bytes
