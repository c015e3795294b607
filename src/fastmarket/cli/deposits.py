"""A buyer's deposits of the settlement `x402`: made, looked at, and taken back.

    python -m fastmarket.cli.deposits x402.toml --data-dir DIR status
    python -m fastmarket.cli.deposits x402.toml --data-dir DIR deposit PEER_ID AMOUNT
    python -m fastmarket.cli.deposits x402.toml --data-dir DIR withdraw PEER_ID

A deposit is for the tab with one seller, whose newest receipt says how that seller settles: so something has
to be bought of it first, as a stranger. Amounts are in units of the currency, as receipts count them. The
first `withdraw` begins to take a deposit back; the second one, after its notice, ends that.
"""

from __future__ import annotations

import argparse
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from fastmarket.errors import CallerFault, FastmarketError, PeerFault
from fastmarket.formats.identity import PeerId
from fastmarket.payments.receipt import Receipt, open_receipt
from fastmarket.payments.rows import BuyerRow
from fastmarket.secret_files import OWNER_ALONE
from fastmarket.settlement.x402.chain import DepositState, EscrowChain
from fastmarket.settlement.x402.channels import (
    APPROVE,
    DEPOSIT,
    FINALIZE_WITHDRAW,
    INITIATE_WITHDRAW,
    EscrowChannel,
    EscrowDomain,
    EscrowVoucher,
)
from fastmarket.settlement.x402.encoding import MAX_UINT128, word
from fastmarket.settlement.x402.keys import EvmKey
from fastmarket.settlement.x402.rpc import ChainRpc
from fastmarket.settlement.x402.settings import X402Settings, read_settings
from fastmarket.storage.tab_text import DamagedTab, row_of
from fastmarket.storage.tabs import FILE


@dataclass(frozen=True, slots=True)
class OwnChannel:
    """What the newest receipt for a seller says."""

    receipt: Receipt
    channel: EscrowChannel


class OwnDeposits:
    """The deposits of one buyer, by its file of tabs and its key."""

    def __init__(self, settings: X402Settings, key: EvmKey, database: Path) -> None:
        self._settings = settings
        self._key = key
        self._database = database
        self._domain = EscrowDomain(settings.chain_id, settings.contract)
        rpc = ChainRpc(settings.rpc)
        self._chain = EscrowChain(rpc, self._domain, key, settings.block, settings.max_fee)

    def status(self) -> Iterator[str]:
        """A line for each seller that takes vouchers."""
        for one in self._channels():
            state = self._state(one)
            units = self._settings.units
            left = (state.balance - state.claimed) // units
            leaving = f", {state.leaving // units} leaving" if state.leaving else ""
            signed = one.receipt.cumulative_amount
            yield (
                f"{one.receipt.tab.seller} deposited {state.balance // units}, signed {signed}, "
                f"claimed {state.claimed // units}, left {left}{leaving}"
            )

    def deposit(self, seller: str, amount: int) -> str:
        """Adds to one. Raises CallerFault, NetworkFault."""
        one, value = self._of(seller), amount * self._settings.units
        if not 0 < value <= MAX_UINT128:
            raise CallerFault("amount", "expects at least 1")
        token = self._settings.token
        approval = APPROVE + word(self._settings.contract) + word(value)
        self._chain.send([(approval, self._chain.estimate(approval, token))], token)
        self._send(DEPOSIT + one.channel.encode() + word(value))
        return f"deposited {amount} for {seller}"

    def withdraw(self, seller: str, now: float) -> str:
        """Begins to take one back, or ends that. Raises CallerFault, NetworkFault."""
        one = self._of(seller)
        state, notice_s = self._state(one), one.channel.notice_s
        if not state.leaving:
            if state.balance == state.claimed:
                raise CallerFault("withdraw", "nothing is left of it")
            left = state.balance - state.claimed
            self._send(INITIATE_WITHDRAW + one.channel.encode() + word(left))
            return f"{left // self._settings.units} can be taken back in {notice_s} s: withdraw again then"
        wait = state.leaving_since + notice_s - now
        if wait > 0:
            raise CallerFault("withdraw", f"its notice ends in {int(wait) + 1} s")
        self._send(FINALIZE_WITHDRAW + one.channel.encode())
        return "taken back, but for what was claimed meanwhile"

    def _send(self, call: bytes) -> None:
        self._chain.send([(call, self._chain.estimate(call))])

    def _state(self, one: OwnChannel) -> DepositState:
        return self._chain.deposits([one.channel.id(self._domain)])[0]

    def _of(self, seller: str) -> OwnChannel:
        wanted = PeerId.from_text(seller)
        for one in self._channels():
            if one.receipt.tab.seller == wanted:
                return one
        raise CallerFault("seller", f"no receipt for {seller} has a voucher: buy something of it first")

    def _channels(self) -> Iterator[OwnChannel]:
        """Of this contract and key."""
        uri = f"{self._database.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            texts = connection.execute("SELECT row FROM sellers ORDER BY peer, currency").fetchall()
        for (text,) in texts:
            try:
                receipt = open_receipt(row_of(BuyerRow, text).receipt)
                voucher = EscrowVoucher.decode(receipt.voucher, receipt.tab.id)
            except (DamagedTab, PeerFault):
                continue  # another settlement's, or none
            is_ours = voucher.channel_id == voucher.channel.id(self._domain)
            if is_ours and voucher.channel.payer == self._key.address:
                yield OwnChannel(receipt, voucher.channel)


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 1 if it was refused, with the reason on stderr."""
    parser = argparse.ArgumentParser(description="Deposits of the settlement x402.")
    parser.add_argument("file", type=Path, help="settings, as for --settlement x402=FILE")
    parser.add_argument("--data-dir", type=Path, required=True, help="the buyer's")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("status")
    for name in ("deposit", "withdraw"):
        command = commands.add_parser(name)
        command.add_argument("seller", metavar="PEER_ID")
        if name == "deposit":
            command.add_argument("amount", type=int, metavar="AMOUNT")
    told = parser.parse_args(arguments)
    try:
        settings = read_settings(told.file)
        key = EvmKey.read(settings.key, OWNER_ALONE)
        deposits = OwnDeposits(settings, key, told.data_dir / FILE)
        if told.command == "deposit":
            print(deposits.deposit(told.seller, told.amount))
        elif told.command == "withdraw":
            print(deposits.withdraw(told.seller, time.time()))
        else:
            for line in deposits.status():
                print(line)
    except (FastmarketError, sqlite3.Error, ModuleNotFoundError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
