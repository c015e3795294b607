"""Why a seller does not take, or does not serve; the value names the field, for buyers and in metrics."""

from __future__ import annotations

from enum import Enum


class Reason(Enum):
    """Of a refused receipt, opening, ticket, or request."""

    # --- a receipt
    RECEIPT = "receipt"  # no envelope with a receipt
    SIGNATURE = "signature"  # not signed by the key it names
    TAB = "tab"  # another tab than that of its fields, or one that was left for another
    SALT = "salt"
    SELLER = "seller"  # made for another one
    CURRENCY = "currency"  # counted in another one
    SEQ = "seq"  # not higher than that of a receipt that we have
    BYTES = "cumulative_bytes"  # fewer than before, or no more
    AMOUNT = "cumulative_amount"  # less than the bytes cost
    OFFER = "offer_hash"  # not a hash
    EXPIRED = "valid_until"
    FRAUD = "seq_twice"  # two of one seq with different sums: a proof, which is kept
    PENDING = "pending"  # another one is being written, or the store of the fleet is asked
    VOUCHER = "voucher"  # it has none, or one that cannot be read, and this seller settles by vouchers
    VOUCHER_TAB = "voucher_tab"  # made for another tab, seller, token, contract or chain
    VOUCHER_AMOUNT = "voucher_amount"  # for less than the receipt
    VOUCHER_NOTICE = "voucher_notice"  # its deposit can be taken back too soon
    VOUCHER_SIGNATURE = "voucher_signature"  # not signed by the owner of the deposit
    DEPOSIT = "deposit"  # for more than was deposited
    # --- a session
    OPENING = "opening"  # no envelope with an opening
    SELLER_KEY = "seller_key"  # made for another run
    BUYER_KEY = "buyer_key"
    NUMBER = "number"  # of a session that was opened before
    TABS = "tabs"  # too many tabs of one buyer
    TICKET = "ticket"  # malformed, made by somebody else, or sent before
    SESSION = "session"  # none is open: the first request, or after a restart
    # --- a request
    PRICE = "price"  # the buyer agreed to another one
    CREDIT = "credit"  # so much is unpaid
    HOUR = "hour"  # strangers of this address block were served enough
    PEER = "peer"  # blocked
    DISK = "disk"  # nothing can be written: what would be owed could be forgotten
