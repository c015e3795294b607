"""Pays what a purchase left unpaid: its seller was away for a moment, or this program ended before.

A purchase pays for itself; what is due when none is under way is offered to its seller on a stream of libp2p,
at growing intervals, by its peer id alone: it is looked for in the network.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from dataclasses import dataclass

from fastmarket.errors import CallerFault, NetworkFault, NodeFault, PeerFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.net.bitswap.outbox import FindPeer
from fastmarket.net.fetching.wallet import FOR_GOOD, SESSION_REASONS, UNVOUCHED, Wallet
from fastmarket.net.host import Host
from fastmarket.net.tab_calls import TabCall
from fastmarket.payments.frames import Told
from fastmarket.payments.purse import Purse
from fastmarket.payments.reasons import Reason
from fastmarket.payments.tab import SALT_BYTES
from fastmarket.payments.x402 import Payment, PaymentTerms

DEBTS_LOOK_S = 15.0
"""Between looks at what is due."""

FIRST_WAIT_S = 15.0
"""After which a debt is paid that was seen; twice as long after each failure."""

LONGEST_WAIT_S = 3600.0
"""A seller counts a default after an hour, and takes the receipt afterwards, too."""

MAX_KEPT_DEBTS = 256
"""Sellers that are owed something from an earlier run, and are tried in this one; others are at the next
purchase."""

MAX_AT_ONCE = 4
"""Sellers that are paid at a time."""

MAX_ROUNDS = 128
"""With one seller: a receipt for each offer with unpaid bytes, and what has to be mended."""


@dataclass(slots=True)
class _Debt:
    """When a seller is paid."""

    at: float
    wait_s: float = FIRST_WAIT_S


class DebtPayer:
    """Of one wallet."""

    def __init__(self, wallet: Wallet, host: Host, find_peer: FindPeer) -> None:
        self._wallet = wallet
        self._tabs = wallet.tabs
        self._host = host
        self._find_peer = find_peer
        self._debts: dict[bytes, _Debt] = {}  # of purses in memory
        self.paid = 0
        """Debts paid since the start."""

    def remember(self, sellers: Iterable[bytes]) -> None:
        """These are owed something from an earlier run. Raises NodeFault."""
        for seller in sellers:
            self._tabs.purse(PeerId.from_bytes(seller), os.urandom(SALT_BYTES))

    async def look(self) -> None:
        """Pays whose time has come."""
        now = self._wallet.clock.now()
        owing = {purse.tab.seller.raw: purse for purse in self._tabs.owing()}
        self._debts = {seller: self._debts.get(seller) or _Debt(now + FIRST_WAIT_S) for seller in owing}
        due = [seller for seller, debt in self._debts.items() if debt.at <= now]
        await asyncio.gather(*(self._try(owing[seller], now) for seller in due[:MAX_AT_ONCE]))

    async def _try(self, purse: Purse, now: float) -> None:
        debt = self._debts[purse.tab.seller.raw]
        debt.wait_s = min(debt.wait_s * 2, LONGEST_WAIT_S)
        debt.at = now + debt.wait_s
        call = TabCall(self._host, PeerInfo(purse.tab.seller, ()), self._find_peer)
        try:
            await call.open()
            self.paid += await self._pay(purse, call)
        except (NetworkFault, PeerFault, NodeFault, CallerFault, TimeoutError):
            return  # later
        except Exception as error:  # noqa: BLE001 - others are paid
            self._host.faults.tell("paying what is due", error, purse.tab.seller)
        finally:
            call.close()

    async def _pay(self, purse: Purse, call: TabCall) -> bool:
        """Whether all is paid."""
        told = await call.price(b"")
        for number in range(MAX_ROUNDS):
            if not purse.is_owing:
                return True
            if not self._take(purse, told, was_paid=number > 0) or not await self._signed(purse):
                return False
            receipt = self._tabs.sendable(purse)
            if receipt is None:
                return not purse.is_owing
            told = await call.pay(Payment(b"", receipt, purse.opening))
        return False

    def _take(self, purse: Purse, told: Told, *, was_paid: bool) -> bool:
        """What the seller says, to a payment or, in the beginning, to a question; False: it takes nothing
        now."""
        tabs = self._tabs
        if not isinstance(told, PaymentTerms):
            if told.seq > purse.seq:
                return tabs.on_refused(purse, Reason.SEQ, os.urandom(SALT_BYTES))
            tabs.on_accepted(purse, told.seq, told.credit)
            tabs.on_opened(purse, purse.secret)
            return True
        if told.seller != purse.tab.seller or told.currency != purse.tab.currency:
            return False
        try:
            tabs.on_terms(purse, told.settlement)
        except PeerFault:
            return False
        if told.reason is Reason.EXPIRED or (tabs.makes_vouchers and told.reason in UNVOUCHED):
            signed = tabs.renew_receipt(purse, self._wallet.clock.now())
            if signed is not None:
                self._wallet.write(signed, _nothing)
            return signed is not None
        if told.reason in FOR_GOOD and not tabs.on_refused(purse, told.reason, os.urandom(SALT_BYTES)):
            return False
        if told.reason not in FOR_GOOD | SESSION_REASONS:
            return False
        if was_paid or purse.secret is None or purse.seller_key != told.session_key:
            now, private = self._wallet.clock.now(), os.urandom(32)
            was_refused = told.reason is Reason.NUMBER
            opened = tabs.open_session(purse, told.session_key, private, now, was_refused=was_refused)
            return opened is not None
        return True

    async def _signed(self, purse: Purse) -> bool:
        """Whether a receipt for what is due is on disk, if there is no older one."""
        written = asyncio.Event()
        if not self._wallet.wait(purse, written.set):
            signed = self._tabs.next_receipt(purse, self._wallet.clock.now(), final=True)
            if signed is None:
                return True
            self._wallet.write(signed, written.set)
        await written.wait()
        return purse.is_written


def _nothing() -> None:
    """Who waits asks again by itself."""
