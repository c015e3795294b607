"""The contract, as a node of the chain shows it: deposits are read, transactions sent. It waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastmarket.errors import NetworkFault
from fastmarket.settlement.x402.channels import CHANNELS, PENDING_WITHDRAWALS, RECEIVERS, EscrowDomain
from fastmarket.settlement.x402.encoding import WORD, Transaction, word
from fastmarket.settlement.x402.keys import EvmKey
from fastmarket.settlement.x402.rpc import ChainRpc, RpcRefused

MINED_WITHIN_S = 45.0
"""Blocks come every two seconds, or twelve; of what takes longer, the next look sees what became of it."""

_POLL_S = 0.5
_MAX_GAS = 30_000_000  # of a block of most chains
_TIP = 10**9  # wei, where the node does not say


@dataclass(frozen=True, slots=True)
class DepositState:
    """Of one channel, in the token's smallest unit. `balance`: claimed sums included; `leaving`: what its
    payer has begun to take back, `leaving_since` then, Unix seconds."""

    balance: int
    claimed: int
    leaving: int
    leaving_since: int


class EscrowChain:
    """A contract by way of one node, with a key that pays for what is sent."""

    def __init__(self, rpc: ChainRpc, domain: EscrowDomain, key: EvmKey, block: str, max_fee: int) -> None:
        """`block`: up to which what is read is believed; `max_fee`: wei for a unit of gas."""
        self.rpc = rpc
        self._domain = domain
        self._key = key
        self._block = block
        self._max_fee = max_fee
        self._is_checked = False

    def deposits(self, channel_ids: Sequence[bytes]) -> list[DepositState]:
        """In their order. Raises NetworkFault."""
        self._check_chain()
        asked = [
            ("eth_call", [{"to": _hex(self._domain.contract), "data": _hex(call + one)}, self._block])
            for one in channel_ids
            for call in (CHANNELS, PENDING_WITHDRAWALS)
        ]
        told = self.rpc.batch(asked)
        return [DepositState(*_pair(told[at]), *_pair(told[at + 1])) for at in range(0, len(told), 2)]

    def unsettled(self, receiver: bytes, token: bytes) -> int:
        """What was claimed for a receiver and not paid out yet. Raises NetworkFault."""
        asked = {"to": _hex(self._domain.contract), "data": _hex(RECEIVERS + word(receiver) + word(token))}
        claimed, settled = _pair(self.rpc.call("eth_call", asked, "latest"))
        return claimed - settled

    def estimate(self, data: bytes, to: bytes | None = None) -> int:
        """Gas for a call, with room for what changes meanwhile. Raises NetworkFault; RpcRefused: it would
        fail."""
        self._check_chain()
        asked = {"from": _hex(self._key.address), "to": _hex(to or self._domain.contract), "data": _hex(data)}
        return min(_number(self.rpc.call("eth_estimateGas", asked)) * 5 // 4, _MAX_GAS)

    def send(self, calls: Sequence[tuple[bytes, int]], to: bytes | None = None) -> None:
        """Sends calls with so much gas each, one after the other, and returns when all are mined. Raises
        NetworkFault: a fee above the bound, one that failed, or was not mined in time."""
        self._check_chain()
        # Of the last block: what is pending for longer is replaced, and nothing is ever sent beside it.
        first = _number(self.rpc.call("eth_getTransactionCount", _hex(self._key.address), "latest"))
        max_fee, tip = self._fees()
        hashes = []
        for nonce, (data, gas) in enumerate(calls, first):
            wanted = Transaction(
                self._domain.chain_id, nonce, tip, max_fee, gas, to or self._domain.contract, data
            )
            raw = wanted.signed(self._key.sign(wanted.digest()))
            hashes.append(self.rpc.call("eth_sendRawTransaction", _hex(raw)))
        self._wait_for(hashes)

    def _fees(self) -> tuple[int, int]:
        block = self.rpc.call("eth_getBlockByNumber", "latest", False)
        base = _number(block.get("baseFeePerGas") if isinstance(block, dict) else None)
        try:
            tip = _number(self.rpc.call("eth_maxPriorityFeePerGas"))
        except RpcRefused:
            tip = _TIP
        max_fee = 2 * base + tip
        if max_fee > self._max_fee:
            raise NetworkFault(f"a unit of gas costs up to {max_fee} wei, of at most {self._max_fee}")
        return max_fee, tip

    def _wait_for(self, hashes: Sequence[Any]) -> None:
        until, pause = time.monotonic() + MINED_WITHIN_S, threading.Event()
        waiting = list(hashes)
        while waiting:
            found = self.rpc.batch([("eth_getTransactionReceipt", [one]) for one in waiting])
            if any(isinstance(one, dict) and one.get("status") != "0x1" for one in found):
                raise NetworkFault("a transaction failed")
            waiting = [one for one, told in zip(waiting, found, strict=True) if told is None]
            if waiting:
                if time.monotonic() > until:
                    raise NetworkFault(f"a transaction was not mined within {MINED_WITHIN_S:g} s")
                pause.wait(_POLL_S)

    def _check_chain(self) -> None:
        if not self._is_checked:
            told = _number(self.rpc.call("eth_chainId"))
            if told != self._domain.chain_id:
                raise NetworkFault(f"the chain's node is of chain {told}, not {self._domain.chain_id}")
            if _raw(self.rpc.call("eth_getCode", _hex(self._domain.contract), "latest")) == b"":
                raise NetworkFault(f"there is no contract at {_hex(self._domain.contract)}")
            self._is_checked = True


def _hex(raw: bytes) -> str:
    return "0x" + raw.hex()


def _raw(told: object) -> bytes:
    try:
        return bytes.fromhex(str(told).removeprefix("0x")) if isinstance(told, str) else _wrong()
    except ValueError:
        return _wrong()


def _number(told: object) -> int:
    try:
        return int(told, 16) if isinstance(told, str) and told.startswith("0x") else int(_wrong())
    except ValueError:
        return int(_wrong())


def _pair(told: object) -> tuple[int, int]:
    raw = _raw(told)
    if len(raw) != 2 * WORD:
        _wrong()
    return int.from_bytes(raw[:WORD], "big"), int.from_bytes(raw[WORD:], "big")


def _wrong() -> bytes:
    raise NetworkFault("the chain's node answered something else than was asked")
