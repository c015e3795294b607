"""The offers of a content that has as many as it may have, by their senders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TypeAlias, TypeVar

from fastmarket.kad.records.shares import Source
from fastmarket.offers.model.mixing import price_order
from fastmarket.offers.model.offer import Offer

_K = TypeVar("_K")
_Holder: TypeAlias = tuple[Source, bytes]
"""A raw provider id, with the source of its offers."""


class Crowd:
    """Decides which offer a newcomer displaces: one of the address block with the most offers, if the
    newcomer's block has at least two fewer; else one of the sender with the most in that block; else one of
    the provider with the most from that sender. The most expensive offer is displaced. Among equals the
    newcomer is refused.
    """

    __slots__ = ("_block", "_blocks", "_holders", "_in_block", "_in_sender", "_senders")

    def __init__(self, offers: Iterable[tuple[Offer, Source]]) -> None:
        """`offers`: those of others. Valid until one comes or goes; newer versions make no difference."""
        self._holders: Counter[_Holder] = Counter(_holder(offer, source) for offer, source in offers)
        self._senders: Counter[Source] = Counter()
        self._blocks: Counter[bytes] = Counter()
        for (source, _), count in self._holders.items():
            self._senders[source] += count
            self._blocks[source.block] += count
        self._block = max(self._blocks, key=lambda block: (self._blocks[block], block), default=None)
        self._in_block = _most({source: source.block for source in self._senders}, self._senders)
        self._in_sender = _most({holder: holder[0] for holder in self._holders}, self._holders)

    def has_place(self, source: Source, provider: bytes) -> bool:
        """Whether an offer from there would displace one."""
        return self._giver(source, provider) is not None

    def displaced(
        self, source: Source, provider: bytes, offers: Iterable[tuple[Offer, Source]]
    ) -> Offer | None:
        """Which of `offers`, all there are, is displaced; None: the newcomer is refused."""
        giver = self._giver(source, provider)
        if giver is None:
            return None
        its = (offer for offer, source_of in offers if _holder(offer, source_of) == giver)
        return max(its, key=price_order, default=None)

    def _giver(self, source: Source, provider: bytes) -> _Holder | None:
        if self._block is None:
            return None
        if self._blocks[self._block] >= self._blocks[source.block] + 2:
            return self._in_sender[self._in_block[self._block]]
        sender = self._in_block.get(source.block)
        if sender is not None and self._senders[sender] >= self._senders[source] + 2:
            return self._in_sender[sender]
        holder = self._in_sender.get(source)
        if holder is not None and self._holders[holder] >= self._holders[source, provider] + 2:
            return holder
        return None


def _holder(offer: Offer, source: Source) -> _Holder:
    return source, offer.provider.raw


_G = TypeVar("_G")


def _most(group_of: dict[_K, _G], counts: Counter[_K]) -> dict[_G, _K]:
    """The member of each group with the highest count; the first of several."""
    most: dict[_G, _K] = {}
    for member, group in group_of.items():
        held = most.get(group)
        if held is None or counts[member] > counts[held]:
            most[group] = member
    return most
