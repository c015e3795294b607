# pragma version 0.4.3
# @license MIT
"""
@title Deposits of buyers, claimed by sellers with cumulative vouchers
@notice A channel is one buyer's deposit for one seller. A voucher is the buyer's EIP-712 signature over the most that
        may be claimed of it in all. Channels, vouchers, claims, settling and the withdrawal are those of
        x402BatchSettlement (x402-foundation/x402, scheme batch-settlement on EVM): same types, same domain, same calls,
        so that a node can use that contract as well. Deposits differ: here who calls pays by ERC-20 allowance. There are
        no refunds, no signatures of contracts (EIP-1271), and no claims in the name of others.
"""

interface Token:
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable
    def balanceOf(owner: address) -> uint256: view

struct Channel:
    payer: address
    payerAuthorizer: address
    receiver: address
    receiverAuthorizer: address
    token: address
    withdrawDelay: uint40
    salt: bytes32

struct Voucher:
    channel: Channel
    maxClaimableAmount: uint128

struct VoucherClaim:
    voucher: Voucher
    signature: Bytes[65]
    totalClaimed: uint128

struct ChannelState:
    balance: uint128
    totalClaimed: uint128

struct Withdrawal:
    amount: uint128
    initiatedAt: uint40

struct Earned:
    totalClaimed: uint128
    totalSettled: uint128

event Deposited:
    channelId: indexed(bytes32)
    sender: indexed(address)
    amount: uint128
    newBalance: uint128

event Claimed:
    channelId: indexed(bytes32)
    sender: indexed(address)
    claimAmount: uint128
    newTotalClaimed: uint128

event Settled:
    receiver: indexed(address)
    token: indexed(address)
    sender: indexed(address)
    amount: uint128

event WithdrawInitiated:
    channelId: indexed(bytes32)
    amount: uint128
    finalizeAfter: uint40

event WithdrawFinalized:
    channelId: indexed(bytes32)
    sender: indexed(address)
    amount: uint128

MIN_WITHDRAW_DELAY: public(constant(uint40)) = 15 * 60
MAX_WITHDRAW_DELAY: public(constant(uint40)) = 30 * 86400
MAX_CLAIMS: constant(uint256) = 64

DOMAIN_TYPE: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
CHANNEL_TYPE: constant(bytes32) = keccak256(
    "ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)"
)
VOUCHER_TYPE: constant(bytes32) = keccak256("Voucher(bytes32 channelId,uint128 maxClaimableAmount)")
NAME_HASH: constant(bytes32) = keccak256("x402 Batch Settlement")
VERSION_HASH: constant(bytes32) = keccak256("1")
# Half of the order of secp256k1: of the two signatures that anybody can make out of one, the one with the lower s counts.
MAX_S: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168

channels: public(HashMap[bytes32, ChannelState])
pendingWithdrawals: public(HashMap[bytes32, Withdrawal])
receivers: public(HashMap[address, HashMap[address, Earned]])


@external
@nonreentrant
def deposit(channel: Channel, amount: uint128):
    """
    @notice Adds to a channel's deposit, out of the caller's allowance. Whoever pays, it is the payer's.
    """
    # Without a payerAuthorizer any signature that recovers to nobody would be right.
    assert channel.payer != empty(address) and channel.payerAuthorizer != empty(address), "channel: no payer"
    assert channel.receiver != empty(address) and channel.receiverAuthorizer != empty(address), "channel: no receiver"
    assert channel.withdrawDelay >= MIN_WITHDRAW_DELAY, "channel: withdrawDelay too short"
    assert channel.withdrawDelay <= MAX_WITHDRAW_DELAY, "channel: withdrawDelay too long"
    assert amount > 0, "deposit: nothing"
    channel_id: bytes32 = self._channel_id(channel)
    balance: uint128 = self.channels[channel_id].balance + amount
    self.channels[channel_id].balance = balance
    before: uint256 = staticcall Token(channel.token).balanceOf(self)
    assert extcall Token(channel.token).transferFrom(
        msg.sender, self, convert(amount, uint256), default_return_value=True
    ), "deposit: not transferred"
    after: uint256 = staticcall Token(channel.token).balanceOf(self)
    assert after == before + convert(amount, uint256), "deposit: another sum came"
    log Deposited(channelId=channel_id, sender=msg.sender, amount=amount, newBalance=balance)


@external
@nonreentrant
def claim(claims: DynArray[VoucherClaim, MAX_CLAIMS]):
    """
    @notice Raises what is claimed of channels to `totalClaimed` each; what is claimed already is left as it is.
    """
    assert len(claims) > 0, "claim: nothing"
    for one: VoucherClaim in claims:
        self._claim(one)


@internal
def _claim(one: VoucherClaim):
    channel: Channel = one.voucher.channel
    assert msg.sender == channel.receiver or msg.sender == channel.receiverAuthorizer, "claim: not the receiver"
    channel_id: bytes32 = self._channel_id(channel)
    state: ChannelState = self.channels[channel_id]
    if one.totalClaimed <= state.totalClaimed:
        return
    assert one.totalClaimed <= one.voucher.maxClaimableAmount, "claim: above the voucher"
    assert one.totalClaimed <= state.balance, "claim: above the deposit"
    digest: bytes32 = self._voucher_digest(channel_id, one.voucher.maxClaimableAmount)
    assert self._signer(digest, one.signature) == channel.payerAuthorizer, "claim: signature"
    added: uint128 = one.totalClaimed - state.totalClaimed
    self.channels[channel_id].totalClaimed = one.totalClaimed
    self.receivers[channel.receiver][channel.token].totalClaimed += added
    log Claimed(channelId=channel_id, sender=msg.sender, claimAmount=added, newTotalClaimed=one.totalClaimed)


@external
@nonreentrant
def settle(receiver: address, token: address):
    """
    @notice Pays out what was claimed for a receiver. Anybody may call it.
    """
    earned: Earned = self.receivers[receiver][token]
    amount: uint128 = earned.totalClaimed - earned.totalSettled
    if amount == 0:
        return
    self.receivers[receiver][token].totalSettled = earned.totalClaimed
    self._pay(token, receiver, amount)
    log Settled(receiver=receiver, token=token, sender=msg.sender, amount=amount)


@external
@nonreentrant
def initiateWithdraw(channel: Channel, amount: uint128):
    """
    @notice Begins to take back what is not claimed. Until `withdrawDelay` has passed, it may still be claimed.
    """
    self._check_payer(channel)
    channel_id: bytes32 = self._channel_id(channel)
    state: ChannelState = self.channels[channel_id]
    assert self.pendingWithdrawals[channel_id].initiatedAt == 0, "withdraw: already pending"
    assert amount > 0, "withdraw: nothing"
    assert amount <= state.balance - state.totalClaimed, "withdraw: above what is left"
    began: uint40 = convert(block.timestamp, uint40)
    self.pendingWithdrawals[channel_id] = Withdrawal(amount=amount, initiatedAt=began)
    log WithdrawInitiated(channelId=channel_id, amount=amount, finalizeAfter=began + channel.withdrawDelay)


@external
@nonreentrant
def finalizeWithdraw(channel: Channel):
    """
    @notice Pays the payer what it began to take back, or as much of it as was not claimed since.
    """
    self._check_payer(channel)
    channel_id: bytes32 = self._channel_id(channel)
    pending: Withdrawal = self.pendingWithdrawals[channel_id]
    assert pending.initiatedAt != 0, "withdraw: not pending"
    end: uint256 = convert(pending.initiatedAt, uint256) + convert(channel.withdrawDelay, uint256)
    assert block.timestamp >= end, "withdraw: too soon"
    state: ChannelState = self.channels[channel_id]
    amount: uint128 = min(pending.amount, state.balance - state.totalClaimed)
    self.pendingWithdrawals[channel_id] = empty(Withdrawal)
    self.channels[channel_id].balance = state.balance - amount
    log WithdrawFinalized(channelId=channel_id, sender=msg.sender, amount=amount)
    if amount > 0:
        self._pay(channel.token, channel.payer, amount)


@external
@view
def getChannelId(channel: Channel) -> bytes32:
    """
    @notice The EIP-712 hash of a channel, on this chain and for this contract.
    """
    return self._channel_id(channel)


@external
@view
def getVoucherDigest(channelId: bytes32, maxClaimableAmount: uint128) -> bytes32:
    """
    @notice What is signed as a voucher.
    """
    return self._voucher_digest(channelId, maxClaimableAmount)


@internal
@view
def _check_payer(channel: Channel):
    assert msg.sender == channel.payer or msg.sender == channel.payerAuthorizer, "withdraw: not the payer"


@internal
def _pay(token: address, to: address, amount: uint128):
    assert extcall Token(token).transfer(to, convert(amount, uint256), default_return_value=True), "not transferred"


@internal
@view
def _channel_id(channel: Channel) -> bytes32:
    return self._typed(keccak256(abi_encode(CHANNEL_TYPE, channel)))


@internal
@view
def _voucher_digest(channel_id: bytes32, amount: uint128) -> bytes32:
    return self._typed(keccak256(abi_encode(VOUCHER_TYPE, channel_id, amount)))


@internal
@view
def _typed(struct_hash: bytes32) -> bytes32:
    domain: bytes32 = keccak256(abi_encode(DOMAIN_TYPE, NAME_HASH, VERSION_HASH, chain.id, self))
    return keccak256(concat(b"\x19\x01", domain, struct_hash))


@internal
@pure
def _signer(digest: bytes32, signature: Bytes[65]) -> address:
    if len(signature) != 65:
        return empty(address)
    r: uint256 = extract32(signature, 0, output_type=uint256)
    s: uint256 = extract32(signature, 32, output_type=uint256)
    v: uint256 = convert(slice(signature, 64, 1), uint256)
    if s > MAX_S:
        return empty(address)
    return ecrecover(digest, v, r, s)
