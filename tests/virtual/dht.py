"""The market's seam over a whole node in virtual time: the node's own commands, no transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence

from fastmarket.core import commands as c
from fastmarket.core.events import Finished
from fastmarket.errors import NotFound, QuorumFailed
from fastmarket.formats.cid import CidForm
from fastmarket.formats.identity import PeerId
from fastmarket.kad.lookup.lookup_job import LookupResult
from fastmarket.kad.lookup.query import Quorum
from fastmarket.kad.outcome import Outcome
from fastmarket.kad.providers.find_providers import FindProvidersResult
from fastmarket.kad.records.values import GetValueResult
from fastmarket.offers.lookup.local_answers import LocalAnswer
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.named import StorerRanks
from fastmarket.offers.model.offer import Offer, OfferTerms
from fastmarket.offers.model.results import NodeView, PeerView
from fastmarket.offers.protocol import OfferProtocol
from tests.virtual.node import VirtualNode

AGENT = "virtual/1"
BATCHING_S = 0.1  # virtual: more than registrations wait for company, and slices for each other


class VirtualDht:
    """A `Dht` over a node of an immediate network. Silent nodes make a registration wait for its (real)
    deadline and a search for ever, so that it is the market that has to keep its times."""

    def __init__(self, node: VirtualNode) -> None:
        self.node = node
        self.net = node.network

    @property
    def peer_id(self) -> PeerId:
        return self.node.peer_id

    @property
    def offers(self) -> OfferProtocol:
        return self.node.offers

    async def register_offer(
        self,
        content: bytes,
        user_id: bytes,
        user_name: str,
        metadata: FileMetadata,
        deadline_s: float,
        form: CidForm | None = None,
    ) -> Outcome:
        terms = OfferTerms(content, user_id, user_name, metadata, form)
        return _outcome(await self._put(c.Register(terms, deadline_s), deadline_s))

    async def register_offers(self, many: Sequence[OfferTerms], deadline_s: float) -> list[Outcome]:
        result = (await self._put(c.RegisterMany(many, deadline_s), deadline_s)).result
        assert isinstance(result, list)
        return result

    async def withdraw_offer(self, content: bytes, user_id: bytes, deadline_s: float) -> Outcome:
        return _outcome(await self._put(c.Withdraw(content, user_id, deadline_s), deadline_s))

    async def _put(self, command: c.Command, deadline_s: float) -> Finished:
        operation = self.node.start(command)
        self.net.settle()
        if operation not in self.node.finished:
            self.net.rest(BATCHING_S)
        if operation not in self.node.finished:
            await asyncio.sleep(deadline_s)
            self.net.run(lambda: operation in self.node.finished)
        finished = self.node.finished[operation]
        if finished.fault is not None:
            raise finished.fault
        return finished

    def known_offers(self, content: bytes) -> LocalAnswer | None:
        return self.node.core.local_answers.get(content, self.net.now)

    async def find_offers(
        self, content: bytes, deadline_s: float, ranks: StorerRanks | None = None
    ) -> AsyncGenerator[Offer, None]:
        operation = self.node.start(c.FindOffers(content, deadline_s, ranks))
        self.net.settle()
        for item in self.node.progress.get(operation, []):
            assert isinstance(item, Offer)
            yield item
        if operation not in self.node.finished:
            await asyncio.Event().wait()  # hangs beyond every deadline

    async def content_providers(self, content: bytes, deadline_s: float) -> Sequence[PeerId]:
        result = self.node.run(c.FindProviders(content, None, deadline_s)).result
        assert isinstance(result, FindProvidersResult)
        return [peer.peer_id for peer in result.providers]

    async def closest_peers(self, key: bytes, deadline_s: float) -> Sequence[PeerView]:
        result = self.node.run(c.Closest(key, deadline_s)).result
        assert isinstance(result, LookupResult)
        return [PeerView(answered.peer, connected=True, common_prefix=3) for answered in result.closest]

    async def put_record(
        self, key: bytes, value: bytes, quorum: Quorum | int, *, deadline_s: float
    ) -> Outcome:
        outcome = _outcome(self.node.run(c.PutValue(key, value, quorum, deadline_s)))
        if not outcome.is_reached:
            raise QuorumFailed(outcome.acknowledged, outcome.asked, outcome.wanted)
        return outcome

    async def get_record(self, key: bytes, quorum: Quorum | int, *, deadline_s: float) -> bytes:
        result = self.node.run(c.GetValue(key, quorum, deadline_s)).result
        assert isinstance(result, GetValueResult)
        if result.record is None:
            raise NotFound("no value under that key")
        return result.record.value

    def own_offer(self, content: bytes, user_id: bytes) -> Offer | None:
        return self.offers.own.current((content, self.peer_id.raw, user_id))

    def own_offers(self) -> Iterable[Offer]:
        return self.offers.own

    def peers(self) -> Sequence[PeerView]:
        return [PeerView(contact.info, AGENT) for contact in self.node.engine.contacts()]

    def node_info(self) -> NodeView:
        node = self.node
        listen = tuple(addr.with_peer(self.peer_id) for addr in node.info.addrs)
        size = node.engine.table_size
        return NodeView(listen, AGENT, size, 0, self.offers.store.offer_count, len(self.offers.own), "server")


def _outcome(finished: Finished) -> Outcome:
    assert finished.outcome is not None
    return finished.outcome
