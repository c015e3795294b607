"""What we encode and sign is what eth-account and eth-abi make of the same."""

from __future__ import annotations

import eth_abi
import pytest
from eth_account import Account
from eth_account.messages import _hash_eip191_message, encode_typed_data
from eth_utils import keccak, to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.errors import CallerFault
from fastmarket.settlement.x402.channels import (
    CLAIM,
    EscrowChannel,
    EscrowDomain,
    EscrowVoucher,
    voucher_digest,
)
from fastmarket.settlement.x402.encoding import (
    Transaction,
    address_of,
    array_of,
    checksummed,
    keccak256,
    word,
)
from fastmarket.settlement.x402.keys import EvmKey, signer

ADDRESS = st.binary(min_size=20, max_size=20).filter(any)
WORDS = st.binary(min_size=32, max_size=32)
UINT128 = st.integers(0, (1 << 128) - 1)
SECRETS = st.integers(1, (1 << 255)).map(lambda number: number.to_bytes(32, "big"))
CHANNELS = st.builds(
    EscrowChannel, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, st.integers(0, (1 << 40) - 1), WORDS
)
DOMAINS = st.builds(EscrowDomain, st.integers(1, (1 << 63) - 1), ADDRESS)
FIELDS = (
    *(("payer", "address"), ("payerAuthorizer", "address"), ("receiver", "address")),
    *(("receiverAuthorizer", "address"), ("token", "address"), ("withdrawDelay", "uint40")),
    ("salt", "bytes32"),
)


def values(channel: EscrowChannel) -> list[object]:
    c = channel
    parties = (c.payer, c.payer_authorizer, c.receiver, c.receiver_authorizer, c.token)
    return [*map(to_checksum_address, parties), c.notice_s, c.salt]


def digest_of(domain: EscrowDomain, name: str, fields: object, message: dict[str, object]) -> bytes:
    told = {
        "name": "x402 Batch Settlement",
        "version": "1",
        "chainId": domain.chain_id,
        "verifyingContract": to_checksum_address(domain.contract),
    }
    types = {name: [{"name": n, "type": t} for n, t in fields]}  # type: ignore[attr-defined]
    return bytes(_hash_eip191_message(encode_typed_data(told, types, message)))


@given(DOMAINS, CHANNELS, UINT128)
def test_channels_and_vouchers_are_those_of_eip_712(
    domain: EscrowDomain, channel: EscrowChannel, amount: int
) -> None:
    message = dict(zip((name for name, _ in FIELDS), values(channel), strict=True))
    channel_id = channel.id(domain)
    assert channel_id == digest_of(domain, "ChannelConfig", FIELDS, message)
    fields = (("channelId", "bytes32"), ("maxClaimableAmount", "uint128"))
    message = {"channelId": channel_id, "maxClaimableAmount": amount}
    assert voucher_digest(domain, channel_id, amount) == digest_of(domain, "Voucher", fields, message)


@given(st.lists(st.tuples(CHANNELS, UINT128, UINT128, st.binary(min_size=65, max_size=65)), max_size=4))
def test_claims_are_those_of_the_abi(rows: list[tuple[EscrowChannel, int, int, bytes]]) -> None:
    kind = f"((({','.join(t for _, t in FIELDS)}),uint128),bytes,uint128)[]"
    expected = eth_abi.encode(
        [kind], [[((tuple(values(channel)), most), sig, amount) for channel, most, amount, sig in rows]]
    )
    ours = [EscrowVoucher(bytes(32), channel, most, sig).claim(amount) for channel, most, amount, sig in rows]
    assert word(32) + array_of(ours) == expected
    assert keccak(text=f"claim({kind})")[:4] == CLAIM


@given(
    SECRETS,
    ADDRESS,
    st.binary(max_size=300),
    st.tuples(*(st.integers(0, 1 << 40),) * 4),
    st.integers(1, (1 << 63) - 1),
)
def test_transactions_are_signed_as_by_eth_account(
    secret: bytes, to: bytes, data: bytes, numbers: tuple[int, int, int, int], chain_id: int
) -> None:
    nonce, tip, more, gas = numbers
    wanted = Transaction(chain_id, nonce, tip, tip + more, gas, to, data)
    told = {
        "type": 2,
        "chainId": chain_id,
        "nonce": nonce,
        "gas": gas,
        "value": 0,
        "data": data,
        "maxPriorityFeePerGas": tip,
        "maxFeePerGas": tip + more,
        "to": to_checksum_address(to),
    }
    expected = bytes(Account.sign_transaction(told, secret).raw_transaction)
    assert wanted.signed(EvmKey(secret).sign(wanted.digest())) == expected


@given(SECRETS, WORDS)
def test_signatures_tell_who_signed(secret: bytes, digest: bytes) -> None:
    key = EvmKey(secret)
    signature = key.sign(digest)
    assert to_checksum_address(key.address) == Account.from_key(secret).address == checksummed(key.address)
    assert bytes(Account.unsafe_sign_hash(digest, secret).signature) == signature
    assert signer(digest, signature) == key.address
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    other = order - int.from_bytes(signature[32:64], "big")  # the other signature, which anybody can make
    twin = signature[:32] + other.to_bytes(32, "big") + bytes([55 - signature[64]])
    assert signer(digest, twin) is None


@given(st.binary(max_size=70), WORDS)
def test_any_bytes_are_no_fault(raw: bytes, digest: bytes) -> None:
    found = signer(digest, raw)
    assert found is None or len(found) == 20


def test_keccak_is_not_sha3() -> None:
    assert keccak256(b"") == keccak(b"")


def test_addresses_with_an_error_are_refused() -> None:
    text = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # of EIP-55
    assert checksummed(address_of(text, "receiver")) == text
    assert address_of(text.lower(), "receiver") == address_of(text, "receiver")
    for wrong in (text.replace("aA", "Aa"), text[:-1], text + "00", "0x" + "00" * 20, "name.eth", 5, None):
        with pytest.raises(CallerFault, match="receiver"):
            address_of(wrong, "receiver")
