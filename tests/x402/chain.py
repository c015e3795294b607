"""A chain in this process (py-evm), with our contracts on it, and a node's JSON-RPC over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.exceptions import TransactionFailed

from fastmarket.payments.tab import Tab
from fastmarket.settlement.x402.channels import (
    APPROVE,
    CLAIM,
    DEPOSIT,
    EscrowChannel,
    EscrowDomain,
    EscrowVoucher,
    voucher_digest,
)
from fastmarket.settlement.x402.encoding import array_of, checksummed, selector, word
from fastmarket.settlement.x402.keys import EvmKey
from fastmarket.settlement.x402.settings import X402Settings
from fastmarket.settlement.x402.vouchers import EscrowVouchers

CONTRACTS = Path(__file__).parents[2] / "contracts"
ETHER = 10**18
GWEI = 10**9
NOTICE_S = 86_400
MINT = selector("mint(address,uint256)")
BALANCE_OF = selector("balanceOf(address)")


def key(number: int) -> EvmKey:
    return EvmKey(number.to_bytes(32, "big"))


class LocalChain:
    """Mines each transaction at once. `is_away`: its node answers nobody."""

    def __init__(self) -> None:
        self.evm = EthereumTester(PyEVMBackend())
        self.bank = self.evm.get_accounts()[0]
        self.contract = self.deploy("escrow")
        self.token = self.deploy("token")
        self.is_away = False
        self.transactions = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def chain_id(self) -> int:
        return int(self.evm.backend.chain.chain_id)

    @property
    def now(self) -> int:
        return int(self.evm.get_block_by_number("pending")["timestamp"])

    @property
    def domain(self) -> EscrowDomain:
        return EscrowDomain(self.chain_id, self.contract)

    def settings(self, path: Path, **changed: Any) -> X402Settings:
        told = {"chain_id": self.chain_id, "contract": self.contract, "token": self.token, "key": path}
        return X402Settings(rpc=self.url, **{**told, **changed})

    # --- as somebody with a wallet

    def deploy(self, name: str) -> bytes:
        bytecode = json.loads((CONTRACTS / f"{name}.json").read_text())["bytecode"]
        sent = self.evm.send_transaction({"from": self.bank, "data": bytecode, "gas": 5_000_000, "value": 0})
        return bytes.fromhex(self.evm.get_transaction_receipt(sent)["contract_address"][2:])

    def fund(self, who: EvmKey, ether: int = 10) -> None:
        """Its owner can pay for gas, and is known to the chain as one who signs."""
        text = checksummed(who.address)
        transfer = {"from": self.bank, "to": text, "value": ether * ETHER, "gas": 21_000}
        self.evm.send_transaction(transfer)
        if text not in self.evm.get_accounts():
            self.evm.add_account("0x" + who._key.secret.hex())

    def send(self, who: EvmKey, to: bytes, data: bytes) -> int:
        """Returns the gas it took. Raises TransactionFailed with the contract's reason."""
        asked = {"from": checksummed(who.address), "to": checksummed(to), "data": "0x" + data.hex()}
        self.evm.call({**asked, "gas": 20_000_000})
        sent = self.evm.send_transaction({**asked, "gas": 20_000_000, "value": 0})
        return int(self.evm.get_transaction_receipt(sent)["gas_used"])

    def balance(self, who: bytes) -> int:
        """Of the token."""
        asked = {
            "from": self.bank,
            "to": checksummed(self.token),
            "data": "0x" + (BALANCE_OF + word(who)).hex(),
        }
        return int(self.evm.call(asked), 16)

    def deposit(self, who: EvmKey, channel: EscrowChannel, amount: int) -> None:
        """Out of new tokens."""
        self.send(who, self.token, MINT + word(who.address) + word(amount))
        self.send(who, self.token, APPROVE + word(self.contract) + word(amount))
        self.send(who, self.contract, DEPOSIT + channel.encode() + word(amount))

    def claim(self, who: EvmKey, *claims: tuple[EscrowVoucher, int]) -> int:
        encoded = [voucher.claim(amount) for voucher, amount in claims]
        return self.send(who, self.contract, CLAIM + word(32) + array_of(encoded))

    def wait(self, seconds: int) -> None:
        self.evm.time_travel(self.now + seconds)

    # --- as a node of it

    def answer(self, method: str, params: list[Any]) -> Any:
        with self._lock:
            return _METHODS[method](self, *params)

    def _asked(self, told: dict[str, Any]) -> dict[str, Any]:
        asked = {"from": self.bank, **told}
        return {**asked, **{name: checksummed(bytes.fromhex(asked[name][2:])) for name in ("from", "to")}}

    def _call(self, told: dict[str, Any], block: str) -> Any:
        return self.evm.call(self._asked(told), block)

    def _estimate(self, told: dict[str, Any]) -> str:
        return hex(self.evm.estimate_gas(self._asked(told)))

    def _send(self, raw: str) -> Any:
        self.transactions += 1
        return self.evm.send_raw_transaction(raw)

    def _block(self, block: str, full: bool) -> dict[str, str]:
        return {"baseFeePerGas": hex(self.evm.get_block_by_number(block)["base_fee_per_gas"])}

    def _receipt(self, sent: str) -> dict[str, str]:
        return {"status": hex(self.evm.get_transaction_receipt(sent)["status"])}


_METHODS: dict[str, Callable[..., Any]] = {
    "eth_chainId": lambda chain: hex(chain.chain_id),
    "eth_getCode": lambda chain, who, block: chain.evm.get_code(checksummed(bytes.fromhex(who[2:])), block),
    "eth_call": LocalChain._call,
    "eth_estimateGas": LocalChain._estimate,
    "eth_getTransactionCount": lambda chain, who, block: hex(
        chain.evm.get_nonce(checksummed(bytes.fromhex(who[2:])), block)
    ),
    "eth_getBlockByNumber": LocalChain._block,
    "eth_maxPriorityFeePerGas": lambda chain: hex(GWEI),
    "eth_sendRawTransaction": LocalChain._send,
    "eth_getTransactionReceipt": LocalChain._receipt,
}


def _handler(chain: LocalChain) -> type[BaseHTTPRequestHandler]:
    def answered(asked: dict[str, Any]) -> dict[str, Any]:
        head = {"jsonrpc": "2.0", "id": asked["id"]}
        try:
            return {**head, "result": chain.answer(asked["method"], asked["params"])}
        except TransactionFailed as error:
            return {**head, "error": {"code": 3, "message": str(error)}}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if chain.is_away:
                self.close_connection = True
                return
            told = [answered(one) for one in asked] if isinstance(asked, list) else answered(asked)
            body = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    return Handler


class Parties:
    """A seller that settles, and buyers, on one chain."""

    def __init__(self, chain: LocalChain, path: Path, **changed: Any) -> None:
        self.chain = chain
        self.seller_key = key(1)
        chain.fund(self.seller_key)
        self.settings = chain.settings(path, **changed)
        self.seller = EscrowVouchers(self.settings, self.seller_key)

    def buyer(self, number: int) -> tuple[EvmKey, EscrowVouchers]:
        owner = key(100 + number)
        self.chain.fund(owner)
        return owner, EscrowVouchers(self.settings, owner)

    def voucher(self, buyer: EscrowVouchers, tab: Tab, amount: int) -> EscrowVoucher:
        return EscrowVoucher.decode(buyer.sign(tab, amount, self.seller.terms), tab.id)


def signed(domain: EscrowDomain, channel: EscrowChannel, amount: int, owner: EvmKey) -> EscrowVoucher:
    """Of whatever anybody likes to sign."""
    channel_id = channel.id(domain)
    return EscrowVoucher(channel_id, channel, amount, owner.sign(voucher_digest(domain, channel_id, amount)))
