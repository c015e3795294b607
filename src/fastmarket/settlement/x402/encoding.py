"""Bytes of the EVM: Keccak-256, words of the ABI, RLP and transactions of EIP-1559. No library is asked.

The few forms that are needed are each some lines, and nothing else can be made with them. Tests compare them
with eth-account and eth-abi, and the contract on a real EVM takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from Crypto.Hash import keccak

from fastmarket.errors import CallerFault

ADDRESS_BYTES = 20
WORD = 32
MAX_UINT128 = (1 << 128) - 1
_TYPED_TRANSACTION = b"\x02"  # EIP-1559
_RLP_BYTES, _RLP_LIST = 0x80, 0xC0  # kinds of items, in their first byte; below, it is the item itself
_SHORT = 55  # RLP: of an item whose length stands in its first byte

RlpItem = bytes | int | Sequence["RlpItem"]


def keccak256(data: bytes) -> bytes:
    """32 bytes; not SHA3-256, whose padding differs."""
    return bytes(keccak.new(digest_bits=256, data=data).digest())


def word(value: int | bytes) -> bytes:
    """A number, or an address, as a word."""
    raw = value if isinstance(value, bytes) else value.to_bytes(WORD, "big")
    return raw.rjust(WORD, b"\0")


def selector(signature: str) -> bytes:
    """The first four bytes of a call: "settle(address,address)"."""
    return keccak256(signature.encode())[:4]


def with_length(data: bytes) -> bytes:
    """The ABI's `bytes`: its length, and as many words as it fills."""
    return word(len(data)) + data + bytes(-len(data) % WORD)


def array_of(items: Sequence[bytes]) -> bytes:
    """The ABI's array of items that differ in length: their number, where each begins, then all of them."""
    offset, heads = WORD * len(items), []
    for item in items:
        heads.append(word(offset))
        offset += len(item)
    return word(len(items)) + b"".join(heads) + b"".join(items)


def checksummed(address: bytes) -> str:
    """The text of an address, by EIP-55."""
    digits = address.hex()
    digest = keccak256(digits.encode()).hex()
    return "0x" + "".join(a.upper() if int(b, 16) > 7 else a for a, b in zip(digits, digest, strict=False))


def address_of(text: object, field: str) -> bytes:
    """20 bytes. Raises CallerFault(`field`): not an address, or mixed case that is not EIP-55's."""
    digits = text.removeprefix("0x") if isinstance(text, str) else ""
    try:
        raw = bytes.fromhex(digits) if len(digits) == 2 * ADDRESS_BYTES else b""
    except ValueError:
        raw = b""
    if len(raw) != ADDRESS_BYTES or not any(raw):
        raise CallerFault(field, f"expects an address of 40 hexadecimal digits, not {text!r}")
    if digits not in (digits.lower(), digits.upper()) and f"0x{digits}" != checksummed(raw):
        raise CallerFault(field, f"{text!r} has a typing error: its checksum (EIP-55) is wrong")
    return raw


def rlp(item: RlpItem) -> bytes:
    """Numbers, byte strings and lists of them."""
    if isinstance(item, int):
        item = item.to_bytes((item.bit_length() + 7) // 8, "big")
    if isinstance(item, bytes):
        if len(item) == 1 and item[0] < _RLP_BYTES:
            return item
        return _rlp_head(_RLP_BYTES, len(item)) + item
    body = b"".join(map(rlp, item))
    return _rlp_head(_RLP_LIST, len(body)) + body


def _rlp_head(kind: int, length: int) -> bytes:
    if length <= _SHORT:
        return bytes([kind + length])
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([kind + _SHORT + len(size)]) + size


@dataclass(frozen=True, slots=True)
class Transaction:
    """A call of a contract that is to be mined; fees in wei for each unit of gas."""

    chain_id: int
    nonce: int
    max_priority_fee: int
    max_fee: int
    gas: int
    to: bytes
    data: bytes

    def digest(self) -> bytes:
        """What is signed."""
        return keccak256(_TYPED_TRANSACTION + rlp(self._fields()))

    def signed(self, signature: bytes) -> bytes:
        """For `eth_sendRawTransaction`. `signature`: r, s, and 27 or 28."""
        r, s = (int.from_bytes(signature[at : at + WORD], "big") for at in (0, WORD))
        return _TYPED_TRANSACTION + rlp([*self._fields(), signature[-1] - 27, r, s])

    def _fields(self) -> list[RlpItem]:
        fees = (self.max_priority_fee, self.max_fee, self.gas)
        return [self.chain_id, self.nonce, *fees, self.to, 0, self.data, []]
