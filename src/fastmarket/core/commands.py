"""What a program may ask of a node. `NodeCore.start` begins a command; its end is a `Finished`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.lookup.query import Quorum
from fastmarket.offers.model.offer import Offer, OfferTerms


@dataclass(frozen=True, slots=True)
class Register:
    """Sign, store and announce an offer. Finishes at its quorum, or with the counts after `timeout_s`."""

    terms: OfferTerms
    timeout_s: float


@dataclass(frozen=True, slots=True)
class RegisterMany:
    """As `Register` for many offers that share signatures, lookups and messages. Result: a list of
    `Outcome`, in the order of `terms`."""

    terms: Sequence[OfferTerms]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Put a tombstone in the place of an own offer. Finishes when every storer has answered or failed, or
    after `timeout_s`: a storer that has not heard of it would still show the offer."""

    content: bytes
    user_id: bytes
    timeout_s: float


@dataclass(frozen=True, slots=True)
class FindOffers:
    """Look for the offers of a content. Progress: `Offer`; a tombstone only where its offer came before.
    Result: `OffersFound`."""

    content: bytes
    timeout_s: float


@dataclass(frozen=True, slots=True)
class OffersFound:
    """The live offers, cheapest first. `is_complete`: the lookup asked all that it wanted to ask, in time."""

    offers: tuple[Offer, ...]
    is_complete: bool


@dataclass(frozen=True, slots=True)
class PutValue:
    """Store a value at the k closest nodes; `once`: it is not announced again later."""

    key: bytes
    value: bytes
    quorum: Quorum | int
    timeout_s: float
    once: bool = False


@dataclass(frozen=True, slots=True)
class GetValue:
    """Look for a value. Result: `GetValueResult`; progress: `FoundValue`."""

    key: bytes
    quorum: Quorum | int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Provide:
    """Announce this node as a provider of a key, until it stops."""

    key: bytes
    timeout_s: float


@dataclass(frozen=True, slots=True)
class FindProviders:
    """Look for providers of a key; `limit` of them are enough. Result: `FindProvidersResult`; progress:
    `PeerInfo`."""

    key: bytes
    limit: int | None
    timeout_s: float


@dataclass(frozen=True, slots=True)
class FindPeer:
    """Look for the addresses of one peer. Result: `LookupResult`; progress: `PeerInfo`."""

    peer_id: PeerId
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Closest:
    """Look for the k peers closest to a raw key. Result: `LookupResult`."""

    key: bytes
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Join the network by way of `seeds`. Result: `BootstrapResult`; progress: `SeedSettled`."""

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
