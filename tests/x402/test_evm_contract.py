"""The contract on a real EVM: nobody gets more than was deposited for it, signed for it, and only once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from eth_tester.exceptions import TransactionFailed

from fastmarket.payments.tab import Tab
from fastmarket.settlement.x402.channels import (
    DEPOSIT,
    FINALIZE_WITHDRAW,
    INITIATE_WITHDRAW,
    SETTLE,
    EscrowDomain,
    EscrowVoucher,
)
from fastmarket.settlement.x402.encoding import word
from tests.virtual.payments import identity
from tests.x402.chain import NOTICE_S, LocalChain, Parties, key, signed

SELLER = identity(1).peer_id
FILE = Path("key")


def tab(number: int) -> Tab:
    return Tab(identity(100 + number).peer_id, SELLER, "unit", bytes(16))


def test_what_was_compiled_is_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from contracts import build

    monkeypatch.setattr("sys.argv", ["build.py", "--check"])
    build.main()


def test_many_vouchers_are_claimed_at_once(chain: LocalChain) -> None:
    parties = Parties(chain, FILE)
    claims = []
    for number in range(20):
        owner, buyer = parties.buyer(number)
        voucher = parties.voucher(buyer, tab(number), 100 + number)
        chain.deposit(owner, voucher.channel, 1000)
        claims.append((voucher, 100 + number))
    gas = chain.claim(parties.seller_key, *claims)
    assert gas < 20 * 90_000
    total = sum(amount for _, amount in claims)
    assert chain.balance(chain.contract) == 20_000
    chain.send(
        key(100), chain.contract, SETTLE + word(parties.seller.receiver) + word(chain.token)
    )  # anybody
    assert chain.balance(parties.seller.receiver) == total
    assert chain.balance(chain.contract) == 20_000 - total
    again = parties.voucher(parties.buyer(0)[1], tab(0), 150)
    chain.claim(parties.seller_key, *claims, (again, 150))  # what was claimed is not claimed twice
    chain.send(key(100), chain.contract, SETTLE + word(parties.seller.receiver) + word(chain.token))
    assert chain.balance(parties.seller.receiver) == total + 50


Change = Callable[[EscrowVoucher, LocalChain], EscrowVoucher]

WRONG: dict[str, tuple[Change, int, str]] = {
    "above the deposit": (lambda one, chain: one, 101, "above the deposit"),
    "above the voucher": (lambda one, chain: one, 501, "above the voucher"),
    "a voucher that says more": (lambda one, chain: replace(one, amount=600), 100, "signature"),
    "of another key": (
        lambda one, chain: signed(chain.domain, one.channel, one.amount, key(7)),
        100,
        "signature",
    ),
    "for another chain": (
        lambda one, chain: signed(EscrowDomain(1, chain.contract), one.channel, 500, key(100)),
        100,
        "signature",
    ),
    "for another contract": (
        lambda one, chain: signed(EscrowDomain(chain.chain_id, chain.token), one.channel, 500, key(100)),
        100,
        "signature",
    ),
    "for another tab": (
        lambda one, chain: replace(one, channel=replace(one.channel, salt=bytes(32))),
        100,
        "above the deposit",  # of which there is none
    ),
    "for another seller": (
        lambda one, chain: replace(one, channel=replace(one.channel, receiver=key(7).address)),
        100,
        "above the deposit",
    ),
    "with a high s": (
        lambda one, chain: replace(
            one,
            signature=one.signature[:32]
            + (
                0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
                - int.from_bytes(one.signature[32:64], "big")
            ).to_bytes(32, "big")
            + bytes([55 - one.signature[64]]),
        ),
        100,
        "signature",
    ),
    "with a short signature": (
        lambda one, chain: replace(one, signature=one.signature[:64]),
        100,
        "signature",
    ),
    "without one": (lambda one, chain: replace(one, signature=bytes(65)), 100, "signature"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_voucher_is_refused_and_so_is_its_batch(chain: LocalChain, name: str) -> None:
    parties = Parties(chain, FILE)
    owner, buyer = parties.buyer(0)
    other, right = parties.buyer(1)
    voucher, good = parties.voucher(buyer, tab(0), 500), parties.voucher(right, tab(1), 100)
    chain.deposit(owner, voucher.channel, 100)
    chain.deposit(other, good.channel, 100)
    change, amount, why = WRONG[name]
    with pytest.raises(TransactionFailed, match=why):
        chain.claim(parties.seller_key, (good, 100), (change(voucher, chain), amount))
    chain.claim(parties.seller_key, (good, 100), (voucher, 100))


def test_only_the_receivers_side_claims(chain: LocalChain) -> None:
    receiver = key(50)
    parties = Parties(chain, FILE, receiver=receiver.address)
    owner, buyer = parties.buyer(0)
    chain.fund(receiver)
    voucher = parties.voucher(buyer, tab(0), 100)
    chain.deposit(owner, voucher.channel, 100)
    with pytest.raises(TransactionFailed, match="not the receiver"):
        chain.claim(owner, (voucher, 100))
    chain.claim(parties.seller_key, (voucher, 60))
    chain.claim(receiver, (voucher, 100))
    chain.send(owner, chain.contract, SETTLE + word(receiver.address) + word(chain.token))
    assert chain.balance(receiver.address) == 100


def test_a_deposit_is_taken_back_after_its_notice(chain: LocalChain) -> None:
    parties = Parties(chain, FILE)
    owner, buyer = parties.buyer(0)
    voucher = parties.voucher(buyer, tab(0), 300)
    chain.deposit(owner, voucher.channel, 1000)
    chain.claim(parties.seller_key, (voucher, 100))
    begin = INITIATE_WITHDRAW + voucher.channel.encode()
    end = FINALIZE_WITHDRAW + voucher.channel.encode()
    for who, data, why in (
        (parties.seller_key, begin + word(1), "not the payer"),
        (owner, begin + word(0), "nothing"),
        (owner, begin + word(901), "above what is left"),
        (owner, end, "not pending"),
    ):
        with pytest.raises(TransactionFailed, match=why):
            chain.send(who, chain.contract, data)
    chain.send(owner, chain.contract, begin + word(900))
    with pytest.raises(TransactionFailed, match="already pending"):
        chain.send(owner, chain.contract, begin + word(1))
    chain.wait(NOTICE_S - 60)
    with pytest.raises(TransactionFailed, match="too soon"):
        chain.send(owner, chain.contract, end)
    chain.claim(parties.seller_key, (voucher, 300))  # meanwhile
    chain.wait(120)
    with pytest.raises(TransactionFailed, match="not the payer"):
        chain.send(parties.seller_key, chain.contract, end)
    chain.send(owner, chain.contract, end)
    assert chain.balance(owner.address) == 700
    with pytest.raises(TransactionFailed, match="not pending"):
        chain.send(owner, chain.contract, end)
    with pytest.raises(TransactionFailed, match="above the deposit"):
        chain.claim(parties.seller_key, (parties.voucher(buyer, tab(0), 301), 301))
    chain.send(owner, chain.contract, SETTLE + word(parties.seller.receiver) + word(chain.token))
    assert chain.balance(parties.seller.receiver) == 300
    assert chain.balance(chain.contract) == 0


def test_channels_that_protect_nobody_take_no_deposit(chain: LocalChain) -> None:
    parties = Parties(chain, FILE)
    owner, buyer = parties.buyer(0)
    channel = parties.voucher(buyer, tab(0), 1).channel
    nobody = bytes(20)
    for wrong, why in (
        (replace(channel, payer=nobody), "no payer"),
        (replace(channel, payer_authorizer=nobody), "no payer"),
        (replace(channel, receiver=nobody), "no receiver"),
        (replace(channel, receiver_authorizer=nobody), "no receiver"),
        (replace(channel, notice_s=899), "too short"),
        (replace(channel, notice_s=30 * 86_400 + 1), "too long"),
    ):
        with pytest.raises(TransactionFailed, match=why):
            chain.deposit(owner, wrong, 5)
    with pytest.raises(TransactionFailed, match="nothing"):
        chain.send(owner, chain.contract, DEPOSIT + channel.encode() + word(0))
    with pytest.raises(TransactionFailed):  # more than it has allowed
        chain.send(owner, chain.contract, DEPOSIT + channel.encode() + word(10**9))
