"""What the market needs from the DHT: the interface between the service and the network."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Protocol

from fastmarket.formats.cid import CidForm
from fastmarket.formats.identity import PeerId
from fastmarket.kad.lookup.query import Quorum
from fastmarket.kad.outcome import Outcome
from fastmarket.offers.lookup.local_answers import LocalAnswer
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.named import StorerRanks
from fastmarket.offers.model.offer import Offer, OfferTerms
from fastmarket.offers.model.results import NodeView, PeerView


class Acknowledged(Protocol):
    """The counts of a put: `acknowledged` of `asked` nodes, with `wanted` as the quorum."""

    @property
    def acknowledged(self) -> int:
        """Nodes that stored it."""

    @property
    def asked(self) -> int:
        """The closest nodes found, to which it was sent."""

    @property
    def wanted(self) -> int:
        """The quorum."""


class Dht(Protocol):
    """A node of the network, as seen by a program on its machine. Contents and keys are multihashes."""

    @property
    def peer_id(self) -> PeerId:
        """The signer of the node's offers."""

    async def register_offer(
        self,
        content: bytes,
        user_id: bytes,
        user_name: str,
        metadata: FileMetadata,
        deadline_s: float,
        form: CidForm | None = None,
    ) -> Outcome:
        """Signs, stores and announces an offer; returns at its quorum, or after `deadline_s` at the latest.

        `form` is the form of the CID that names the content; it is published with the offer.

        Announcing goes on whatever happens to the call. Without a quorum, the outcome has
        `acknowledged < wanted`; if the storers are still unknown at the deadline, `wanted` is 1.
        Raises `CallerFault` (a field of `OfferTerms`), `Busy`.
        """

    async def register_offers(self, many: Sequence[OfferTerms], deadline_s: float) -> Sequence[Outcome]:
        """Like `register_offer` for many, sharing signatures, lookups and messages; outcomes in their order.

        Whole slices of them are in progress at a time. Offers whose turn does not come before the deadline
        are not registered and have `acknowledged` 0, `wanted` 1. Raises `Busy` with none registered.
        """

    async def withdraw_offer(self, content: bytes, user_id: bytes, deadline_s: float) -> Outcome:
        """Withdraws an own offer; returns when every storer has answered or failed, or after `deadline_s`.

        Announcing the withdrawal goes on whatever happens to the call; withdrawing again is harmless.
        Raises `CallerFault` if this node has no such offer.
        """

    def known_offers(self, content: bytes) -> LocalAnswer | None:
        """The result of `find_offers` if it is known without querying peers, else None.

        An offer acknowledged elsewhere must be visible here at once, and only a search guarantees that. So
        this returns a result only if the node has no peers to query, or may serve recent results.
        """

    def find_offers(
        self, content: bytes, deadline_s: float, ranks: StorerRanks | None = None
    ) -> AsyncGenerator[Offer, None]:
        """Verified offers as they arrive, until the lookup ends or `deadline_s` has passed.

        A later version of an offer, including a tombstone, may follow an earlier one: the higher seq wins.
        `ranks` (`OfferSet.ranks`) learns how far in front storers named them.
        Closing the iterator ends the lookup.
        """

    async def content_providers(self, content: bytes, deadline_s: float) -> Sequence[PeerId]:
        """All providers of the content, with or without an offer, except those known to have withdrawn
        theirs; what has been found after `deadline_s`."""

    async def closest_peers(self, key: bytes, deadline_s: float) -> Sequence[PeerView]:
        """The responsive peers closest to a key, closest first; those found within `deadline_s`."""

    async def put_record(
        self, key: bytes, value: bytes, quorum: Quorum | int, *, deadline_s: float
    ) -> Acknowledged:
        """Stores a value on the nodes closest to its key. Raises `QuorumFailed`, `CallerFault`."""

    async def get_record(self, key: bytes, quorum: Quorum | int, *, deadline_s: float) -> bytes:
        """The best value found. Raises `NotFound`, `QuorumFailed`, `CallerFault`."""

    def own_offer(self, content: bytes, user_id: bytes) -> Offer | None:
        """The latest version of this node's offer, even if it is a tombstone."""

    def own_offers(self) -> Iterable[Offer]:
        """This node's announced offers, in no particular order."""

    def peers(self) -> Sequence[PeerView]:
        """The routing table, closest to this node first."""

    def node_info(self) -> NodeView:
        """A summary of this node."""
