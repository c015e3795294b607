"""What the market needs of a network: the seam between the service and whatever carries it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Protocol

from fastmarket.formats.cid import CidForm
from fastmarket.formats.identity import PeerId
from fastmarket.kad.lookup.query import Quorum
from fastmarket.kad.outcome import Outcome
from fastmarket.offers.lookup.local_answers import LocalAnswer
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import Offer, OfferTerms
from fastmarket.offers.model.results import NodeView, PeerView


class Acknowledged(Protocol):
    """How a put went: of `asked` nodes so many, and how many were `wanted`."""

    @property
    def acknowledged(self) -> int:
        """Nodes that have it."""

    @property
    def asked(self) -> int:
        """The closest that were found."""

    @property
    def wanted(self) -> int:
        """The quorum."""


class Dht(Protocol):
    """A node of the network, seen from a program on its machine. Contents and keys are multihashes."""

    @property
    def peer_id(self) -> PeerId:
        """Who signs the offers."""

    async def register_offer(
        self,
        content: bytes,
        user_id: bytes,
        user_name: str,
        metadata: FileMetadata,
        deadline_s: float,
        form: CidForm | None = None,
    ) -> Outcome:
        """Signs, stores and announces an offer; returns at its quorum, at the latest after `deadline_s`.

        `form`: of the CID that names the content, which is told with the offer.

        The announcement goes on whatever becomes of the call. An outcome without a quorum has
        `acknowledged < wanted`; where the storers are not known yet at the deadline, `wanted` is 1.
        Raises `CallerFault` (a field of `OfferTerms`), `Busy`.
        """

    async def register_offers(self, many: Sequence[OfferTerms], deadline_s: float) -> Sequence[Outcome]:
        """As `register_offer` for many, sharing signatures, lookups and messages: outcomes in their order.

        Whole slices of them are under way at a time. What the deadline cuts off before its turn is not
        registered and has `acknowledged` 0 of `wanted` 1. Raises `Busy` with none registered.
        """

    async def withdraw_offer(self, content: bytes, user_id: bytes, deadline_s: float) -> Outcome:
        """Takes an own offer back; returns when every storer knows or has failed, or after `deadline_s`.

        The withdrawal is announced further whatever becomes of the call; withdrawing again is harmless.
        Raises `CallerFault`: no such offer of this node.
        """

    def known_offers(self, content: bytes) -> LocalAnswer | None:
        """What `find_offers` would tell, where that is known without asking anybody; None: it has to ask.

        What others acknowledge to their callers has to be seen here at once, and only a search is sure to
        see it. So there is an answer for a node that has nobody to ask, or may tell what it found lately.
        """

    def find_offers(self, content: bytes, deadline_s: float) -> AsyncGenerator[Offer, None]:
        """Verified offers as they come in; ends with the lookup or after `deadline_s`.

        A later version of an offer may follow an earlier one, a tombstone included: the higher seq counts.
        Closing the iterator ends the lookup.
        """

    async def content_providers(self, content: bytes, deadline_s: float) -> Sequence[PeerId]:
        """Whoever provides a content, with an offer or without one, but for those known to have taken theirs
        back; what is known after `deadline_s`."""

    async def closest_peers(self, key: bytes, deadline_s: float) -> Sequence[PeerView]:
        """The peers closest to a key that answered, closest first; what is known after `deadline_s`."""

    async def put_record(
        self, key: bytes, value: bytes, quorum: Quorum | int, *, deadline_s: float
    ) -> Acknowledged:
        """Stores a value at the nodes closest to its key. Raises `QuorumFailed`, `CallerFault`."""

    async def get_record(self, key: bytes, quorum: Quorum | int, *, deadline_s: float) -> bytes:
        """The best value there is. Raises `NotFound`, `QuorumFailed`, `CallerFault`."""

    def own_offer(self, content: bytes, user_id: bytes) -> Offer | None:
        """The latest version of this node's offer, a tombstone too."""

    def own_offers(self) -> Iterable[Offer]:
        """Offers of this node that are announced, in no order."""

    def peers(self) -> Sequence[PeerView]:
        """The routing table, nearest to this node first."""

    def node_info(self) -> NodeView:
        """This node."""
