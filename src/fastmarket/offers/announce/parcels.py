"""Offers that travel together: all of a batch, or one; and how many storers have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from fastmarket.kad.lookup.query import Quorum, quorum_size
from fastmarket.native.batch import SignedBatch
from fastmarket.offers.model.offer import Offer
from fastmarket.offers.model.results import StoreOutcome
from fastmarket.offers.wire.messages import OFFER_OVERHEAD_BYTES

# Of a hundred thousand offers a dozen different ones are told, twice each.
_outcome = lru_cache(maxsize=1024)(StoreOutcome)


Miss: TypeAlias = tuple[str, bool]
"""Why a storer did not acknowledge an offer, for people; and whether it stays so however often it is
asked."""

# Nearly all parcels have none; never changed.
_NONE_MISSED: dict[int, list[Miss]] = {}
_NONE_FAILED: dict[str, int] = {}
_NONE_TOLD: set[int] = set()


class Parcel:
    """A whole batch, or one offer.

    Counts for its offers together, but for those that a storer refused while it took others.
    `places` is where they stand among all that its creator has.
    """

    __slots__ = (
        "_failed",
        "_missed",
        "_told",
        "acknowledged",
        "again",
        "asked",
        "envelope",
        "given",
        "offers",
        "open",
        "places",
        "plain",
        "settled",
        "unknown",
        "whole",
    )

    def __init__(self, offers: Sequence[Offer], whole: SignedBatch | None = None) -> None:
        """`whole`: the batch, of which these are all offers."""
        self.offers = offers
        self.places: Sequence[int] = range(len(offers))
        self.whole = whole
        self.envelope = b"" if whole is not None else offers[0].envelope
        self.given = False  # its storers are known
        self.settled = False  # the quorum is met, or everything was answered
        self.unknown = False  # if it has no storer: somebody may be there who did not answer
        self.asked = self.open = self.acknowledged = self.plain = 0
        self._missed = _NONE_MISSED  # by slot, acknowledgements that one offer lacks
        self._failed = _NONE_FAILED  # storers that have none of them, by why
        self.again: set[int] | None = None  # slots that are announced anew in another parcel
        self._told = _NONE_TOLD  # of those the settled ones

    @property
    def size(self) -> int:
        """Bytes in a message."""
        return len(self.envelope if self.whole is None else self.whole.data) + OFFER_OVERHEAD_BYTES

    def outcome(self, slot: int) -> StoreOutcome:
        """So far, of one offer."""
        nobody = not self.asked and not self.plain
        wanted = int(self.unknown) if nobody else quorum_size(Quorum.MAJORITY, self.asked)
        acknowledged = self.acknowledged - len(self._missed.get(slot, ()))
        why = "" if acknowledged >= wanted else self._why(slot)
        return _outcome(acknowledged, self.asked, wanted, self.plain, why)

    def _why(self, slot: int) -> str:
        counts = dict(self._failed)
        for text, _ in self._missed.get(slot, ()):
            counts[text] = counts.get(text, 0) + 1
        if self.open:
            counts["have not answered so far"] = self.open
        if not counts and self.unknown:
            return "nobody answers, and somebody may be there"
        return "; ".join(f"{count} {text}" for text, count in counts.items())

    def hopeful(self, slot: int) -> bool:
        """Whether asking all of them again might bring the quorum: not so many refuse for good."""
        if not self.asked:
            return True
        final = sum(stays for _, stays in self._missed.get(slot, ()))
        return self.asked - final >= quorum_size(Quorum.MAJORITY, self.asked)

    def answered(self, missing: Mapping[int, Miss]) -> None:
        """A storer has all but those at these slots."""
        self.open -= 1
        self.acknowledged += 1
        if missing and not self._missed:
            self._missed, self._told = {}, set()
        for slot, miss in missing.items():
            if self.settled and slot not in self._missed:
                self._told.add(slot)  # with all the others
            self._missed.setdefault(slot, []).append(miss)

    def failed(self, why: str) -> None:
        """A storer has none."""
        self.open -= 1
        if not self._failed:
            self._failed = {}
        self._failed[why] = self._failed.get(why, 0) + 1

    def gone(self) -> None:
        """A storer is none any more."""
        self.open -= 1
        self.asked -= 1
        self.unknown = self.unknown or not self.asked  # others may have come in its place

    def take_settled(self, *, end: bool = False) -> Iterator[Settlement]:
        """What has settled since the last call; `end`: nothing more comes."""
        over = end or not self.open
        if not self.settled and (over or 2 * self.acknowledged > self.asked):
            common: Sequence[int] = range(len(self.offers))
            if self._missed:
                common = [slot for slot in common if slot not in self._missed]
            self.settled = True
            if common:
                yield Settlement(self, common, self.outcome(common[0]))
        if len(self._told) < len(self._missed):
            for slot, lacking in self._missed.items():
                met = 2 * (self.acknowledged - len(lacking)) > self.asked
                if slot not in self._told and (over or met):
                    self._told.add(slot)
                    yield Settlement(self, (slot,), self.outcome(slot))

    def outcomes(self) -> Iterator[tuple[Sequence[Offer], StoreOutcome]]:
        """In the end, those of one outcome together; without those that are announced anew."""
        apart = self._missed.keys() if self.again is None else self._missed.keys() | self.again
        common = [offer for slot, offer in enumerate(self.offers) if slot not in apart]
        if common:
            at = next(slot for slot in range(len(self.offers)) if slot not in apart)
            yield common, self.outcome(at)
        for slot in self._missed:
            if self.again is None or slot not in self.again:
                yield (self.offers[slot],), self.outcome(slot)


class Settlement(NamedTuple):
    """Offers of a parcel, by their slots, that are done: their quorum is met, or everything was answered."""

    parcel: Parcel
    slots: Sequence[int]
    outcome: StoreOutcome

    @property
    def places(self) -> Sequence[int]:
        """Where they stand among all that the parcel's creator has."""
        places = self.parcel.places
        return places if len(self.slots) == len(places) else [places[slot] for slot in self.slots]


def parcels(offers: Sequence[Offer], max_bytes: int, max_offers: int) -> Iterator[Parcel]:
    """In the order given; batches together that are there as a whole, and within the bounds."""
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
