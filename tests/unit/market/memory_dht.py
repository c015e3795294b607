"""The market's seam over a network in memory: real offer protocols and engines, no transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence

from fastmarket.errors import NotFound, QuorumFailed
from fastmarket.formats.cid import CidForm
from fastmarket.formats.identity import PeerId
from fastmarket.kad.lookup.lookup_job import LookupResult
from fastmarket.kad.lookup.query import Quorum
from fastmarket.kad.outcome import Outcome
from fastmarket.kad.providers.find_providers import FindProvidersResult
from fastmarket.kad.records.put_job import PutResult
from fastmarket.kad.records.values import GetValueResult
from fastmarket.offers.lookup.local_answers import LocalAnswer, LocalAnswers
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import Offer, OfferTerms
from fastmarket.offers.model.results import NodeView, PeerView
from fastmarket.offers.protocol import Announcement, OfferProtocol
from tests.unit.offers.memory import MemoryNetwork, MemoryNode


class MemoryDht:
    """A `Dht`. Silent nodes make a call wait for its (real) deadline, as they do in life."""

    def __init__(self, net: MemoryNetwork, node: MemoryNode) -> None:
        self.net = net
        self.node = node
        self.known = LocalAnswers(self.offers.store, node.engine.seed_sources, self.offers.config)

    @property
    def peer_id(self) -> PeerId:
        return self.node.peer_id

    @property
    def offers(self) -> OfferProtocol:
        assert self.node.offers is not None
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
        return await self._announce(self.offers.register(terms, self.net.now), deadline_s)

    async def register_offers(self, many: Sequence[OfferTerms], deadline_s: float) -> list[Outcome]:
        return [await self._announce(self.offers.register(terms, self.net.now), deadline_s) for terms in many]

    async def withdraw_offer(self, content: bytes, user_id: bytes, deadline_s: float) -> Outcome:
        return await self._announce(self.offers.withdraw(content, user_id, self.net.now), deadline_s)

    async def _announce(self, announcement: Announcement, deadline_s: float) -> Outcome:
        job_id = self.net.start(self.node, announcement.job)
        if announcement.job.result is not None:
            self.offers.on_ended(announcement, announcement.job.result, self.net.now)
        elif not any(isinstance(item, Outcome) for item in self.node.progress[job_id]):
            await asyncio.sleep(deadline_s)
        return announcement.job.so_far().outcome

    def known_offers(self, content: bytes) -> LocalAnswer | None:
        return self.known.get(content, self.net.now)

    async def find_offers(self, content: bytes, deadline_s: float) -> AsyncGenerator[Offer, None]:
        job_id = self.net.start(self.node, self.offers.find(content))
        for item in self.node.progress[job_id]:
            assert isinstance(item, Offer)
            yield item
        if job_id not in self.node.results:
            await asyncio.Event().wait()  # hangs beyond every deadline

    async def content_providers(self, content: bytes, deadline_s: float) -> Sequence[PeerId]:
        _, result = self.net.run(self.node, self.node.engine.find_providers(content, self.net.now))
        assert isinstance(result, FindProvidersResult)
        return [peer.peer_id for peer in result.providers]

    async def closest_peers(self, key: bytes, deadline_s: float) -> Sequence[PeerView]:
        _, result = self.net.run(self.node, self.node.engine.find_node(key))
        assert isinstance(result, LookupResult)
        return [PeerView(answered.peer, connected=True, common_prefix=3) for answered in result.closest]

    async def put_record(
        self, key: bytes, value: bytes, quorum: Quorum | int, *, deadline_s: float
    ) -> Outcome:
        _, result = self.net.run(self.node, self.node.engine.put_value(key, value, self.net.now, quorum))
        assert isinstance(result, PutResult)
        outcome = result.outcome
        if not outcome.is_reached:
            raise QuorumFailed(outcome.acknowledged, outcome.asked, outcome.wanted)
        return outcome

    async def get_record(self, key: bytes, quorum: Quorum | int, *, deadline_s: float) -> bytes:
        _, result = self.net.run(self.node, self.node.engine.get_value(key, self.net.now, quorum))
        assert isinstance(result, GetValueResult)
        if result.record is None:
            raise NotFound("no value under that key")
        return result.record.value

    def own_offer(self, content: bytes, user_id: bytes) -> Offer | None:
        return self.offers.own.current((content, self.peer_id.raw, user_id))

    def own_offers(self) -> Iterable[Offer]:
        return self.offers.own

    def peers(self) -> Sequence[PeerView]:
        return [PeerView(contact.info, "memory/1") for contact in self.node.engine.contacts()]

    def node_info(self) -> NodeView:
        listen = tuple(addr.with_peer(self.peer_id) for addr in self.node.info.addrs)
        size = self.node.engine.table_size
        return NodeView(listen, "memory/1", size, 0, len(self.offers.store), len(self.offers.own), "server")
