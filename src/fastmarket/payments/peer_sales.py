"""What is sold to peers by name: who opened a tab on a stream, and agreed to the price of a content. Sans-IO.

On a connection of libp2p it is known who asks, so requests for blocks need no tickets: one ticket a content
says what the buyer agrees to, and `charge` counts what is served.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from fastmarket.bounded_map import BoundedMap, Eviction
from fastmarket.errors import NodeFault, PeerFault
from fastmarket.formats.identity import PeerId
from fastmarket.payments.reasons import Reason
from fastmarket.payments.seller import CheckedReceipt
from fastmarket.payments.session import Ticket
from fastmarket.payments.till import NotAdmitted, Till, Wanted
from fastmarket.payments.x402 import Payment, PaymentTerms, TabState

MAX_PEERS = 1024
"""With agreements at a time; those that bought longest ago have to agree again. 2 MB."""

MAX_AGREEMENTS = 8
"""Contents that a peer buys at a time; of a ninth, the one bought longest ago is forgotten."""


_NOTHING = Wanted(b"", b"", 0, 0)


class BlockPrices(Protocol):
    """What blocks cost; see `content.prices.GoodPrices`."""

    def find(self, block: bytes, content: bytes | None) -> tuple[bytes, int] | None:
        """Raises NodeFault."""


class PeerSales:
    """Agreements by peer, over the accounts of a till. `file_bytes(block)`: how many bytes of a file it
    is."""

    def __init__(self, till: Till, prices: BlockPrices, file_bytes: Callable[[bytes], int]) -> None:
        self.till = till
        self._prices = prices
        self._file_bytes = file_bytes
        self._agreed: BoundedMap[bytes, BoundedMap[bytes, int]] = BoundedMap(
            MAX_PEERS, eviction=Eviction.LEAST_RECENTLY_USED
        )

    # --- on the stream

    def quote(self, peer: PeerId, content: bytes) -> PaymentTerms:
        """What a content costs; 0: nothing, or it is not sold."""
        return self._terms(peer, content, Reason.SESSION)

    def take(self, payment: Payment, host: str, now: float) -> CheckedReceipt | Reason | None:
        """See `Till.take`. Without room on disk: Reason.DISK."""
        try:
            return self.till.take(payment, host, now)
        except NodeFault:
            return self._refused(Reason.DISK)

    def agree(self, peer: PeerId, payment: Payment, now: float) -> PaymentTerms | TabState:
        """The answer to a payment whose receipt, if any, counts."""
        if not payment.ticket:  # a receipt alone
            known = self.till.tabs.find(peer)
            if known is None:
                return self.refusal(peer, payment, self._refused(Reason.SESSION))
            return self.till.state(known, _NOTHING)
        try:
            ticket = Ticket.decode(payment.ticket)
        except PeerFault:
            return self.refusal(peer, payment, self._refused(Reason.TICKET))
        account = self.till.tabs.find_ticket(ticket, ticket.content)
        if isinstance(account, Reason):
            return self.refusal(peer, payment, account)
        if account.buyer != peer:  # what another one agreed to
            return self.refusal(peer, payment, self._refused(Reason.TICKET))
        wanted = Wanted(ticket.content, ticket.content, ticket.price, 0)
        if ticket.price != self._price(ticket.content):
            return self.refusal(peer, payment, self._refused(Reason.PRICE))
        self._agreements(peer).put(ticket.content, ticket.price)
        return self.till.state(account, wanted)

    def refusal(self, peer: PeerId, payment: Payment, reason: Reason) -> PaymentTerms:
        """Why a payment is not taken."""
        content = b""
        with suppress(PeerFault):  # it says nothing else than the reason
            content = Ticket.decode(payment.ticket).content
        return self._terms(peer, content, reason)

    def has_paid(self, peer: PeerId) -> bool:
        """Whether receipts of it counted, as far as its account is in memory."""
        known = self.till.tabs.find(peer)
        return known is not None and known.paid_bytes > 0

    def end(self, peer: PeerId) -> None:
        """Its last stream has ended."""
        self._agreed.pop(peer.raw)

    # --- blocks

    def may_have(self, peer: PeerId, block: bytes, now: float) -> bool:
        """Whether a block (multihash) that costs something would be served to it now."""
        wanted = self._wanted(peer, block)
        return wanted is not None and self.till.may_serve(peer, wanted, now)

    def charge(self, peer: PeerId, block: bytes, now: float) -> bool:
        """Whether it is served; then it counts as sent."""
        wanted = self._wanted(peer, block)
        return wanted is not None and self.till.serve(peer, wanted, now)

    # --- within

    def _agreements(self, peer: PeerId) -> BoundedMap[bytes, int]:
        agreed = self._agreed.get(peer.raw)
        if agreed is None:
            agreed = BoundedMap(MAX_AGREEMENTS, eviction=Eviction.LEAST_RECENTLY_USED)
            self._agreed.put(peer.raw, agreed)
        return agreed

    def _wanted(self, peer: PeerId, block: bytes) -> Wanted | None:
        agreed = self._agreed.get(peer.raw)
        if agreed is None:
            return None
        for content in tuple(agreed):
            found = self._found(block, content)
            if found is not None and found == (content, agreed.peek(content)):
                agreed.get(content)  # is used
                return Wanted(block, *found, self._file_bytes(block))
        return None

    def _terms(self, peer: PeerId, content: bytes, reason: Reason) -> PaymentTerms:
        wanted = Wanted(content, content, self._price(content) or 0, 0)
        return self.till.terms(NotAdmitted(reason, self.till.tabs.find(peer)), wanted)

    def _price(self, content: bytes) -> int | None:
        found = self._found(content, content) if content else None
        return None if found is None or found[0] != content else found[1]

    def _found(self, block: bytes, content: bytes) -> tuple[bytes, int] | None:
        try:
            return self._prices.find(block, content)
        except NodeFault:
            return None  # nothing is given away for that

    def _refused(self, reason: Reason) -> Reason:
        self.till.tabs.refused[reason] += 1
        return reason
