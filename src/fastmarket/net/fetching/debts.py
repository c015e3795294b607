"""Pays what a purchase left unpaid: its seller was away for a moment, or this program ended before.

A purchase pays for itself; what is due when none is under way is offered to its seller on a stream of libp2p,
at growing intervals, by its peer id alone: it is looked for in the network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from fastmarket.errors import CallerFault, NetworkFault, NodeFault, PeerFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.net.bitswap.outbox import FindPeer
from fastmarket.net.fetching.payer import Payer, pay_rest
from fastmarket.net.fetching.wallet import Wallet
from fastmarket.net.host import Host
from fastmarket.net.tab_calls import TabCall
from fastmarket.payments.purse import Purse

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
            self._wallet.purse(PeerId.from_bytes(seller))

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
        payer = Payer(self._wallet, purse)
        if payer.take(await call.price(b"")) is None:
            await pay_rest(payer, call.pay)
        return not purse.is_owing
