"""Offers that are sent together, a whole batch or one; and how many storers have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from fastmarket.kad.lookup.query import Quorum, quorum_size
from fastmarket.kad.outcome import Outcome
from fastmarket.kad.records.put_job import UNANSWERED
from fastmarket.native.batch import SignedBatch
from fastmarket.offers.model.offer import Offer
from fastmarket.offers.wire.messages import OFFER_OVERHEAD_BYTES

# A hundred thousand offers have a dozen different outcomes, each reported twice.
_outcome = lru_cache(maxsize=1024)(Outcome)


Miss: TypeAlias = tuple[str, bool]
"""Why a storer did not acknowledge an offer, as text; and whether that is final."""

# Shared by nearly all parcels, which have none; never changed.
_NONE_MISSED: dict[int, list[Miss]] = {}
_NONE_FAILED: dict[str, int] = {}
_NONE_TOLD: set[int] = set()


class Parcel:
    """A whole batch, or one offer.

    Its counts are those of all its offers, except of offers that a storer refused while it accepted others.
    `places` are the indices of its offers among all that its creator has.
    """

    __slots__ = (
        "_failed",
        "_missed",
        "_told",
        "acknowledged_count",
        "again",
        "asked_count",
        "envelope",
        "is_settled",
        "offers",
        "open_count",
        "places",
        "plain_count",
        "unknown",
        "whole",
    )

    def __init__(self, offers: Sequence[Offer], whole: SignedBatch | None = None) -> None:
        """`whole`: the batch, if these are all of its offers."""
        self.offers = offers
        self.places: Sequence[int] = range(len(offers))
        self.whole = whole
        self.envelope = b"" if whole is not None else offers[0].envelope
        self.is_settled = False  # the quorum is met, or all storers have answered
        self.unknown = False  # if it has no storers: some peers did not answer
        self.asked_count = self.open_count = self.acknowledged_count = self.plain_count = 0
        self._missed = _NONE_MISSED  # by slot, the acknowledgements that one offer lacks
        self._failed = _NONE_FAILED  # how many storers have none of them, by reason
        self.again: set[int] | None = None  # slots that are announced again in another parcel
        self._told = _NONE_TOLD  # those of the missed slots that are settled

    @property
    def size(self) -> int:
        """Bytes in a message."""
        return len(self.envelope if self.whole is None else self.whole.data) + OFFER_OVERHEAD_BYTES

    def outcome(self, slot: int) -> Outcome:
        """The outcome of one offer so far."""
        nobody = not self.asked_count and not self.plain_count
        wanted = int(self.unknown) if nobody else quorum_size(Quorum.MAJORITY, self.asked_count)
        acknowledged = self.acknowledged_count - len(self._missed.get(slot, ()))
        why = "" if acknowledged >= wanted else self._why(slot)
        return _outcome(acknowledged, self.asked_count, wanted, self.plain_count, why)

    def _why(self, slot: int) -> str:
        counts = dict(self._failed)
        for text, _ in self._missed.get(slot, ()):
            counts[text] = counts.get(text, 0) + 1
        if self.open_count:
            counts[UNANSWERED] = self.open_count
        if not counts and self.unknown:
            return "no peer answers, although some may be up"
        return "; ".join(f"{count} {text}" for text, count in counts.items())

    def is_hopeful(self, slot: int) -> bool:
        """Whether announcing again may reach the quorum: enough storers have not refused finally."""
        if not self.asked_count:
            return True
        final = sum(stays for _, stays in self._missed.get(slot, ()))
        return self.asked_count - final >= quorum_size(Quorum.MAJORITY, self.asked_count)

    def on_answered(self, missing: Mapping[int, Miss]) -> None:
        """A storer has all offers but those at these slots."""
        self.open_count -= 1
        self.acknowledged_count += 1
        if missing and not self._missed:
            self._missed, self._told = {}, set()
        for slot, miss in missing.items():
            if self.is_settled and slot not in self._missed:
                self._told.add(slot)  # with all the others
            self._missed.setdefault(slot, []).append(miss)

    def on_failed(self, why: str) -> None:
        """A storer has none of the offers."""
        self.open_count -= 1
        if not self._failed:
            self._failed = {}
        self._failed[why] = self._failed.get(why, 0) + 1

    def on_gone(self) -> None:
        """A storer has left the network."""
        self.open_count -= 1
        self.asked_count -= 1
        self.unknown = self.unknown or not self.asked_count  # others may have taken its place

    def take_settled(self, *, end: bool = False) -> Iterator[Settlement]:
        """What has settled since the last call; `end`: no more answers will come."""
        over = end or not self.open_count
        if not self.is_settled and (over or 2 * self.acknowledged_count > self.asked_count):
            common: Sequence[int] = range(len(self.offers))
            if self._missed:
                common = [slot for slot in common if slot not in self._missed]
            self.is_settled = True
            if common:
                yield Settlement(self, common, self.outcome(common[0]))
        if len(self._told) < len(self._missed):
            for slot, lacking in self._missed.items():
                met = 2 * (self.acknowledged_count - len(lacking)) > self.asked_count
                if slot not in self._told and (over or met):
                    self._told.add(slot)
                    yield Settlement(self, (slot,), self.outcome(slot))

    def outcomes(self) -> Iterator[tuple[Sequence[Offer], Outcome]]:
        """The final outcomes, with the offers of each; without those that are announced again."""
        apart = self._missed.keys() if self.again is None else self._missed.keys() | self.again
        common = [offer for slot, offer in enumerate(self.offers) if slot not in apart]
        if common:
            at = next(slot for slot in range(len(self.offers)) if slot not in apart)
            yield common, self.outcome(at)
        for slot in self._missed:
            if self.again is None or slot not in self.again:
                yield (self.offers[slot],), self.outcome(slot)


class Settlement(NamedTuple):
    """Slots of a parcel that are done: the quorum is met, or all storers have answered."""

    parcel: Parcel
    slots: Sequence[int]
    outcome: Outcome

    @property
    def places(self) -> Sequence[int]:
        """Their indices among all offers of the parcel's creator."""
        places = self.parcel.places
        return places if len(self.slots) == len(places) else [places[slot] for slot in self.slots]


def parcels(offers: Sequence[Offer], max_bytes: int, max_offers: int) -> Iterator[Parcel]:
    """Parcels in the order of the offers; a batch is one parcel if it is complete and within the bounds."""
    for signed, run in groupby(offers, attrgetter("signed")):
        together = list(run)
        if (
            isinstance(signed, SignedBatch)
            and len(together) == signed.count <= max_offers
            and len(signed.data) <= max_bytes
            and all(offer.slot == slot and not offer.withdrawn for slot, offer in enumerate(together))
        ):
            yield Parcel(together, signed)
        else:
            for offer in together:
                yield Parcel((offer,))
