"""The commands of a node. `NodeCore.start` begins one; it ends with a `Finished` event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.lookup.query import Quorum
from fastmarket.offers.model.named import StorerRanks
from fastmarket.offers.model.offer import Offer, OfferTerms


@dataclass(frozen=True, slots=True)
class Register:
    """Signs, stores and announces an offer. Finishes at its quorum, or with the counts after `timeout_s`."""

    terms: OfferTerms
    timeout_s: float


@dataclass(frozen=True, slots=True)
class RegisterMany:
    """Like `Register`, for many offers that share signatures, lookups and messages. Result: a list of
    `Outcome`, in the order of `terms`."""

    terms: Sequence[OfferTerms]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Replaces an own offer by a tombstone. Finishes when every storer has answered or failed, or after
    `timeout_s`: a storer that misses the tombstone would still show the offer."""

    content: bytes
    user_id: bytes
    timeout_s: float


@dataclass(frozen=True, slots=True)
class FindOffers:
    """Finds the offers of a content. Progress: `Offer`; a tombstone only after its offer. Result:
    `OffersFound`. `ranks` learns which storers named which offers, for the caller's own order
    (`OfferSet.in_order`)."""

    content: bytes
    timeout_s: float
    ranks: StorerRanks | None = None


@dataclass(frozen=True, slots=True)
class OffersFound:
    """The live offers, in the order of `OfferSet.in_order`. `is_complete`: the lookup queried all the peers
    it should, in time."""

    offers: tuple[Offer, ...]
    is_complete: bool


@dataclass(frozen=True, slots=True)
class PutValue:
    """Stores a value at the k closest nodes; `once`: without announcing it again later."""

    key: bytes
    value: bytes
    quorum: Quorum | int
    timeout_s: float
    once: bool = False


@dataclass(frozen=True, slots=True)
class GetValue:
    """Finds a value. Result: `GetValueResult`; progress: `FoundValue`."""

    key: bytes
    quorum: Quorum | int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Provide:
    """Announces this node as a provider of a key, until it stops."""

    key: bytes
    timeout_s: float


@dataclass(frozen=True, slots=True)
class FindProviders:
    """Finds providers of a key; `limit` of them are enough. Result: `FindProvidersResult`; progress:
    `PeerInfo`."""

    key: bytes
    limit: int | None
    timeout_s: float


@dataclass(frozen=True, slots=True)
class FindPeer:
    """Finds the addresses of one peer. Result: `LookupResult`; progress: `PeerInfo`."""

    peer_id: PeerId
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Closest:
    """Finds the k peers closest to a raw key. Result: `LookupResult`."""

    key: bytes
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Joins the network through `seeds`. Result: `BootstrapResult`; progress: `SeedSettled`."""

    seeds: Sequence[PeerInfo]
    timeout_s: float


Command: TypeAlias = (
    Register
    | RegisterMany
    | Withdraw
    | FindOffers
    | PutValue
    | GetValue
    | Provide
    | FindProviders
    | FindPeer
    | Closest
    | Bootstrap
)
