"""The plug-in: what backs tabs, and claims of their vouchers, several in a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastmarket.errors import PeerFault
from fastmarket.payments.backing import Backing, NewestReceipt
from fastmarket.payments.reasons import Reason
from fastmarket.settlement.interface import ClaimOutcome, ClaimResult, SettlementContext, SettlementStatus
from fastmarket.settlement.x402.chain import DepositState, EscrowChain
from fastmarket.settlement.x402.channels import CLAIM, SETTLE, EscrowVoucher
from fastmarket.settlement.x402.encoding import array_of, checksummed, word
from fastmarket.settlement.x402.keys import EvmKey
from fastmarket.settlement.x402.rpc import ChainRpc, RpcRefused
from fastmarket.settlement.x402.settings import X402Settings, read_settings
from fastmarket.settlement.x402.vouchers import EscrowVouchers

MAX_CLAIMS = 50
"""In a transaction: some 60,000 gas each. The contract takes 64."""


@dataclass(frozen=True, slots=True)
class _Due:
    """A voucher of which `amount`, in all, is to be claimed. `reason`: why not all of it."""

    receipt: NewestReceipt
    voucher: EscrowVoucher
    amount: int
    claimed: int
    reason: str

    def encoded(self) -> bytes:
        return self.voucher.claim(self.amount)


class X402Settlement:
    """See `SettlementPlugin`."""

    def __init__(self, settings: X402Settings, key: EvmKey) -> None:
        self._settings = settings
        self.vouchers = EscrowVouchers(settings, key)
        self.chain = EscrowChain(
            ChainRpc(settings.rpc), self.vouchers.domain, key, settings.block, settings.max_fee
        )

    def backed(self, receipts: Sequence[NewestReceipt], now: float) -> Sequence[Backing | None]:
        """See `SettlementPlugin`. Half the notice is for us to look again, half to claim."""
        found = [_decoded(one) for one in receipts]
        ids = [voucher.channel_id for voucher in found if voucher is not None]
        states = iter(self.chain.deposits(ids))
        backings: list[Backing | None] = []
        for voucher in found:
            if voucher is None:
                backings.append(None)
                continue
            state = next(states)
            amount = max(state.balance - state.leaving, 0) // self._settings.units
            until = now + voucher.channel.notice_s / 2
            backings.append(Backing(amount, until, state.leaving > 0))
        return backings

    def claim(self, receipts: Sequence[NewestReceipt], now: float) -> Sequence[ClaimOutcome]:
        """See `SettlementPlugin`."""
        outcomes: list[ClaimOutcome] = []
        right: list[tuple[NewestReceipt, EscrowVoucher]] = []
        for one in receipts:
            why = self._why_not(one, now)
            voucher = _decoded(one)
            if why is not None or voucher is None:
                reason = (why or Reason.VOUCHER).value
                outcomes.append(ClaimOutcome(one.tab.id, ClaimResult.REFUSED, 0, reason))
            else:
                right.append((one, voucher))
        due: list[_Due] = []
        states = self.chain.deposits([voucher.channel_id for _, voucher in right])
        for (one, voucher), state in zip(right, states, strict=True):
            found = self._due(one, voucher, state)
            if isinstance(found, _Due):
                due.append(found)
            else:
                outcomes.append(found)
        return [*outcomes, *self._send(due)]

    def status(self) -> SettlementStatus:
        """See `SettlementPlugin`."""
        place = f"eip155:{self._settings.chain_id}, contract {checksummed(self._settings.contract)}"
        return SettlementStatus("x402", place)

    def _why_not(self, one: NewestReceipt, now: float) -> Reason | None:
        if one.valid_until <= now:
            return Reason.EXPIRED
        return self.vouchers.check(one.tab, one.amount, one.voucher)

    def _due(self, one: NewestReceipt, voucher: EscrowVoucher, state: DepositState) -> _Due | ClaimOutcome:
        # What is more than the receipt says is a gift that nobody meant to give.
        wanted = one.amount * self._settings.units
        amount = min(wanted, state.balance)
        reason = Reason.DEPOSIT.value if amount < wanted else ""
        if amount <= state.claimed:
            result = ClaimResult.REFUSED if reason else ClaimResult.CURRENT
            return ClaimOutcome(one.tab.id, result, 0, reason)
        if amount - state.claimed < self._settings.claim_min:
            return ClaimOutcome(one.tab.id, ClaimResult.CURRENT, 0, "claim_min")
        return _Due(one, voucher, amount, state.claimed, reason)

    def _send(self, due: Sequence[_Due]) -> list[ClaimOutcome]:
        calls: list[tuple[bytes, int]] = []
        sent: list[_Due] = []
        outcomes: list[ClaimOutcome] = []
        for at in range(0, len(due), MAX_CLAIMS):
            for some, gas in self._estimated(due[at : at + MAX_CLAIMS]):
                if gas:
                    calls.append((_claim_call(some), gas))
                    sent.extend(some)
                else:
                    outcomes.append(ClaimOutcome(some[0].receipt.tab.id, ClaimResult.LATER, 0, "contract"))
        if calls:
            self.chain.send(calls)
        self._pay_out()
        for one in sent:
            paid = (one.amount - one.claimed) // self._settings.units
            outcomes.append(ClaimOutcome(one.receipt.tab.id, ClaimResult.CLAIMED, paid, one.reason))
        return outcomes

    def _estimated(self, due: Sequence[_Due]) -> list[tuple[Sequence[_Due], int]]:
        """Claims that go into one call, with its gas. One that the contract refuses is left alone, with 0:
        a deposit may have left since it was looked at."""
        try:
            return [(due, self.chain.estimate(_claim_call(due)))]
        except RpcRefused:
            if len(due) == 1:
                return [(due, 0)]
        half = len(due) // 2
        return [*self._estimated(due[:half]), *self._estimated(due[half:])]

    def _pay_out(self) -> None:
        """What was claimed, now or earlier, goes to its receiver."""
        call = SETTLE + word(self.vouchers.receiver) + word(self._settings.token)
        if self.chain.unsettled(self.vouchers.receiver, self._settings.token):
            self.chain.send([(call, self.chain.estimate(call))])


def _decoded(one: NewestReceipt) -> EscrowVoucher | None:
    try:
        return EscrowVoucher.decode(one.voucher, one.tab.id)
    except PeerFault:
        return None


def _claim_call(due: Sequence[_Due]) -> bytes:
    return CLAIM + word(32) + array_of([one.encoded() for one in due])


def open_settlement(context: SettlementContext) -> X402Settlement:
    """The entry point. Raises CallerFault, ModuleNotFoundError."""
    settings = read_settings(context.file)
    return X402Settlement(settings, EvmKey.read(settings.key, context.secrets_mode))
