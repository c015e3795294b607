"""How servers that share a store give a buyer one credit together: each serves within its share. Sans-IO.

A share covers what the buyer has unpaid and lost at this server. The store grants it, and adds up those of
all servers: together never more than the highest credit that one of them gives the buyer. A server asks for
a little more than it needs, and gives back what it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastmarket.bounded_map import BoundedMap, Eviction
from fastmarket.config.payments import CreditPolicy
from fastmarket.payments.account import Account
from fastmarket.payments.reasons import Reason

_AHEAD = 4  # a part of the credit is asked for beyond what is needed
_REFUSED_S = 1.0  # before a share that was not granted whole is asked for again
_IDLE_S = 5.0  # with nothing served and nothing paid, what is not needed is given back


@dataclass(frozen=True, slots=True)
class ShareWanted:
    """To be asked of the store: `count` bytes of a credit, of which `held` are used or granted already."""

    buyer: bytes
    count: int
    held: int
    credit: int


@dataclass(slots=True)
class _Share:
    granted: int = 0
    asked_at: float = 0.0
    credit: int = 0  # of the buyer, when it was asked for
    is_asked: bool = False
    is_refused: bool = False  # the last answer was less than was wanted
    has_failed: bool = False  # there was none


class CreditShares:
    """The shares of one server."""

    def __init__(self, policy: CreditPolicy, wake: Callable[[], None]) -> None:
        """`wake` is called when `poll_wanted` has something."""
        self._policy = policy
        self._wake = wake
        self._shares: BoundedMap[bytes, _Share] = BoundedMap(
            policy.max_accounts, eviction=Eviction.LEAST_RECENTLY_USED
        )
        self._wanted: dict[bytes, ShareWanted] = {}

    def why_not(self, account: Account, count: int, now: float) -> Reason | None:
        """Why so many bytes more may not be served now; None: they may."""
        share = self._shares.get(account.buyer.raw)
        if share is None:
            share = _Share()
            self._shares.put(account.buyer.raw, share)
        need = account.unpaid + account.lost + count
        ahead = account.credit // _AHEAD
        if need + ahead // 2 > share.granted:
            self._want(account, share, need + ahead, now)
        if need <= share.granted:
            return None
        if share.has_failed:
            return Reason.DISK
        return Reason.PENDING if share.is_asked else Reason.CREDIT

    def poll_wanted(self) -> Sequence[ShareWanted]:
        """What is to be asked now; `on_granted` or `on_failed` follows for each."""
        wanted, self._wanted = self._wanted, {}
        return list(wanted.values())

    def on_granted(self, wanted: ShareWanted, granted: int) -> None:
        """The store's answer."""
        share = self._answered(wanted)
        share.granted, share.has_failed = granted, False
        share.is_refused = granted < wanted.count

    def on_failed(self, wanted: ShareWanted) -> None:
        """It did not answer: what was granted before holds."""
        share = self._answered(wanted)
        share.is_refused = share.has_failed = True

    def give_back(self, find: Callable[[bytes], Account | None], now: float) -> None:
        """What idle buyers do not need. `find`: an account in memory."""
        for buyer, share in self._shares.items():
            account = find(buyer)
            if account is None or share.is_asked or now - account.active_at < _IDLE_S:
                continue
            need = account.unpaid + account.lost
            if need < share.granted:
                share.granted = need  # first here: nothing is served on it while the store is asked
                self._want(account, share, need, now)

    def _answered(self, wanted: ShareWanted) -> _Share:
        share = self._shares.peek(wanted.buyer)
        if share is None:  # it has left meanwhile
            share = _Share()
        share.is_asked = False
        return share

    def _want(self, account: Account, share: _Share, count: int, now: float) -> None:
        is_soon = share.is_refused and 0 <= now - share.asked_at < _REFUSED_S
        if share.is_asked or (is_soon and account.credit <= share.credit):
            return
        # What was granted is not taken away: meanwhile it is served on.
        held = max(account.unpaid + account.lost, share.granted)
        share.is_asked, share.asked_at, share.credit = True, now, account.credit
        self._wanted[account.buyer.raw] = ShareWanted(account.buyer.raw, count, held, account.credit)
        self._wake()
