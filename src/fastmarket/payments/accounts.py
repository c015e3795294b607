"""The accounts of a seller in memory: never two of one buyer, of which one would forget what it owes."""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakValueDictionary

from fastmarket.bounded_map import BoundedMap, Eviction
from fastmarket.config.payments import CreditPolicy
from fastmarket.formats.identity import PeerId
from fastmarket.payments.account import Account
from fastmarket.payments.in_flight import InFlight
from fastmarket.payments.rows import SellerRow, SellerRows
from fastmarket.payments.tab import Tab


class Accounts:
    """Those used last. One that leaves is still found while it is not on disk as it is, or somebody holds it:
    a request that it was admitted for, a receipt that is being written."""

    def __init__(self, seller: PeerId, currency: str, policy: CreditPolicy, rows: SellerRows) -> None:
        self._seller = seller
        self._currency = currency
        self._policy = policy
        self._rows = rows
        self._used: BoundedMap[bytes, Account] = BoundedMap(
            policy.max_accounts, eviction=Eviction.LEAST_RECENTLY_USED
        )
        self._by_tab: dict[bytes, Account] = {}  # those of `_used`
        self._changed: dict[bytes, Account] = {}  # not yet written as they are
        self._written: InFlight[Account] = InFlight()
        self._held: WeakValueDictionary[bytes, Account] = WeakValueDictionary()

    @property
    def unpaid_bytes(self) -> int:
        """Of all of them."""
        return sum(account.unpaid for account in self._used.values())

    @property
    def credit_in_use(self) -> int:
        """Bytes of credit of those with something unpaid."""
        return sum(account.credit for account in self._used.values() if account.unpaid)

    @property
    def is_full(self) -> bool:
        """Whether there is no room for buyers that are not known: here, or on disk. Raises NodeFault."""
        # Identities cost nothing, and a row is written for each that was served a byte or sent a receipt.
        return len(self._changed) >= self._policy.max_accounts or not self._rows.takes_new()

    def peek(self, buyer: bytes) -> Account | None:
        """One that was used lately."""
        return self._used.peek(buyer)

    def of_tab(self, tab_id: bytes) -> Account | None:
        """One that was used lately, by its tab."""
        return self._by_tab.get(tab_id)

    def find(self, buyer: bytes) -> Account | None:
        """One in memory, which counts as used."""
        account = self._used.get(buyer)
        if account is None and (account := self._held.get(buyer)) is not None:
            self.keep(account)
        return account

    def fetch(self, buyer: bytes) -> Account | None:
        """One that is not in memory, from the disk. Raises NodeFault."""
        row = self._rows.find(buyer, self._currency)
        if row is None:
            return None
        account = Account.of(row, self._seller, self._policy)
        self.keep(account)
        return account

    def keep(self, account: Account) -> None:
        """It was used."""
        self._held[account.buyer.raw] = account
        self._by_tab[account.tab.id] = account
        for _, gone in self._used.put(account.buyer.raw, account):
            del self._by_tab[gone.tab.id]

    def begin_tab(self, account: Account, tab: Tab) -> None:
        """It goes on with another tab."""
        self._by_tab.pop(account.tab.id, None)
        account.begin_tab(tab)
        self._by_tab[tab.id] = account
        self.change(account)

    # --- the disk

    def change(self, account: Account) -> None:
        """It is not on disk as it is."""
        self._changed[account.buyer.raw] = account

    def poll_changes(self) -> list[SellerRow]:
        """Rows to be written. Each is told of with `on_written` or `on_write_failed`."""
        # While a receipt is being written, what was read before it must not be written after it.
        ready = [one for one in self._changed.values() if one.checked is None]
        for account in ready:
            del self._changed[account.buyer.raw]
            self._written.add(account.buyer.raw, account)
        return [account.row() for account in ready]

    def on_written(self, rows: Iterable[SellerRow]) -> None:
        """These are on disk."""
        for row in rows:
            self._written.end(row.buyer)

    def on_write_failed(self, rows: Iterable[SellerRow]) -> None:
        """These are not."""
        for row in rows:
            if (account := self._written.end(row.buyer)) is not None:
                self.change(account)
