"""Channels and vouchers: a deposit of one buyer for one seller, and what it may be claimed by (EIP-712).

A channel is bound to a tab: its salt is the tab's id, which names the peer ids of both. So the key of the EVM
signs for two peer ids, and the peer id of the buyer, whose receipt the voucher is in, signs for the key.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from struct import Struct

from fastmarket.errors import PeerFault
from fastmarket.payments.tab import TAB_ID_BYTES
from fastmarket.settlement.x402.encoding import keccak256, selector, with_length, word
from fastmarket.settlement.x402.keys import SIGNATURE_BYTES

CHANNEL_TYPE = (
    "ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,"
    "address token,uint40 withdrawDelay,bytes32 salt)"
)
VOUCHER_TYPE = "Voucher(bytes32 channelId,uint128 maxClaimableAmount)"
MAX_NOTICE_S = 30 * 86_400  # as the contract has it
MIN_NOTICE_S = 15 * 60
_DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_CHANNEL_TYPE_HASH, _VOUCHER_TYPE_HASH = (keccak256(one.encode()) for one in (CHANNEL_TYPE, VOUCHER_TYPE))
_NAME, _DOMAIN_VERSION = "x402 Batch Settlement", "1"
_CHANNEL = "(address,address,address,address,address,uint40,bytes32)"
_VERSION = 1
_VOUCHER = Struct(">B32s20s20s20s20s20s5s16s65s")


@lru_cache(maxsize=64)
def _separator(chain_id: int, contract: bytes) -> bytes:
    texts = (_DOMAIN_TYPE, _NAME, _DOMAIN_VERSION)
    parts = (*(keccak256(text.encode()) for text in texts), word(chain_id), word(contract))
    return keccak256(b"".join(parts))


@dataclass(frozen=True, slots=True)
class EscrowDomain:
    """A contract on a chain: vouchers for another one are signed otherwise."""

    chain_id: int
    contract: bytes

    def digest(self, struct_hash: bytes) -> bytes:
        """What is signed of a struct."""
        return keccak256(b"\x19\x01" + _separator(self.chain_id, self.contract) + struct_hash)


@dataclass(frozen=True, slots=True)
class EscrowChannel:
    """`notice_s`: between the begin and the end of a withdrawal; other fields as in the contract. Addresses
    have 20 bytes."""

    payer: bytes
    payer_authorizer: bytes
    receiver: bytes
    receiver_authorizer: bytes
    token: bytes
    notice_s: int
    salt: bytes

    def encode(self) -> bytes:
        """Seven words, as the ABI and EIP-712 have them."""
        addresses = (self.payer, self.payer_authorizer, self.receiver, self.receiver_authorizer, self.token)
        return b"".join(map(word, addresses)) + word(self.notice_s) + self.salt

    def id(self, domain: EscrowDomain) -> bytes:
        """32 bytes: of this contract on this chain."""
        return domain.digest(keccak256(_CHANNEL_TYPE_HASH + self.encode()))


def voucher_digest(domain: EscrowDomain, channel_id: bytes, amount: int) -> bytes:
    """What its owner signs, so that `amount` of the deposit may be claimed in all."""
    struct = _VOUCHER_TYPE_HASH + channel_id + word(amount)
    return domain.digest(keccak256(struct))


@dataclass(frozen=True, slots=True)
class EscrowVoucher:
    """`amount`: in the token's smallest unit, cumulative; up to 2**128 - 1."""

    channel_id: bytes
    channel: EscrowChannel
    amount: int
    signature: bytes

    def encode(self) -> bytes:
        """For a receipt."""
        c = self.channel
        parties = (c.payer, c.payer_authorizer, c.receiver, c.receiver_authorizer, c.token)
        numbers = (c.notice_s.to_bytes(5, "big"), self.amount.to_bytes(16, "big"))
        return _VOUCHER.pack(_VERSION, self.channel_id, *parties, *numbers, self.signature)

    @classmethod
    def decode(cls, raw: bytes, salt: bytes) -> EscrowVoucher:
        """`salt`: the id of the receipt's tab. Raises PeerFault."""
        if len(raw) != _VOUCHER.size or raw[0] != _VERSION:
            raise PeerFault("not a voucher of this version", protocol="x402")
        _, channel_id, *parties, notice, amount, signature = _VOUCHER.unpack(raw)
        payer, payer_authorizer, receiver, authorizer, token = parties
        notice_s = int.from_bytes(notice, "big")
        channel = EscrowChannel(payer, payer_authorizer, receiver, authorizer, token, notice_s, salt)
        return cls(channel_id, channel, int.from_bytes(amount, "big"), signature)

    def claim(self, amount: int) -> bytes:
        """A `VoucherClaim` of the contract: of what it allows, `amount` in all."""
        head = self.channel.encode() + word(self.amount)
        return head + word(len(head) + 2 * 32) + word(amount) + with_length(self.signature)


CLAIM = selector(f"claim((({_CHANNEL},uint128),bytes,uint128)[])")
DEPOSIT = selector(f"deposit({_CHANNEL},uint128)")
SETTLE = selector("settle(address,address)")
INITIATE_WITHDRAW = selector(f"initiateWithdraw({_CHANNEL},uint128)")
FINALIZE_WITHDRAW = selector(f"finalizeWithdraw({_CHANNEL})")
CHANNELS = selector("channels(bytes32)")
PENDING_WITHDRAWALS = selector("pendingWithdrawals(bytes32)")
RECEIVERS = selector("receivers(address,address)")
APPROVE = selector("approve(address,uint256)")

assert TAB_ID_BYTES == 32, "a tab's id is the salt of its channel"
assert _VOUCHER.size == 1 + 32 + 5 * 20 + 5 + 16 + SIGNATURE_BYTES
