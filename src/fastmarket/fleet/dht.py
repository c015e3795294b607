"""A server of a fleet: writes what it accepts to the shared store, and answers from the store as well."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace

from fastmarket.config import NodeConfig
from fastmarket.errors import NotFound, StorageFault
from fastmarket.fleet.fields import ServerMessage, mark_row
from fastmarket.fleet.offers import FleetOffers
from fastmarket.fleet.routing import FleetRouting
from fastmarket.fleet.upkeep import StoreUpkeep
from fastmarket.fleet.values import FleetValues
from fastmarket.fleet.writer import FleetKeeper, SharedWriter, unavailable
from fastmarket.formats.cid import CidForm
from fastmarket.formats.identity import PeerId
from fastmarket.kad.lookup.query import Quorum
from fastmarket.kad.outcome import Outcome
from fastmarket.kad.records.record import DEFAULT_RULES, OPAQUE, RecordRule
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.driver import Keeper
from fastmarket.offers.lookup.local_answers import LocalAnswer
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.named import StorerRanks
from fastmarket.offers.model.offer import Offer, OfferKey, OfferTerms
from fastmarket.offers.model.offer_set import OfferSet
from fastmarket.offers.model.results import NodeView, PeerView
from fastmarket.storage.shared import SharedStore
from fastmarket.storage.store_url import StoreUrl
from fastmarket.wording import counted

log = logging.getLogger(__name__)

AT_ONCE = 16  # concurrent reads of the store per call; half of the connections to a node of the engine
STOP_S = 1.0  # for pending writes at shutdown


def shared_store(config: NodeConfig) -> SharedStore:
    """The fleet's store, of one network. Raises CallerFault ("store")."""
    return SharedStore(StoreUrl.parse(config.fleet.store), config.fleet, f"fastmarket:{config.kad.prefix}")


class FleetDht:
    """A `market.dht.Dht` around a node's own, with a store shared by several servers.

    A registration is acknowledged when the store has it as well, and fails with StorageFault while the store
    is down. A lookup returns offers of the store and of the network; without the store, of the network only.
    """

    def __init__(
        self,
        node: DhtNode,
        store: SharedStore,
        config: NodeConfig,
        rules: Mapping[bytes, RecordRule] = DEFAULT_RULES,
    ) -> None:
        """`rules`: the same as the node's."""
        self._node = node
        self.store = store
        self.writer = SharedWriter(store, config.fleet, node.now)
        self.offers = FleetOffers(node, store, config.fleet)
        self._values = FleetValues(store, config.kad, rules, node.now)
        self.public = FleetRouting(node, self.offers, self._values)
        self.upkeep = StoreUpkeep(node, store, self.writer, config.fleet)

    def open(self, keeper: Keeper | None) -> None:
        """Called before listening. `keeper` also stores offers on disk."""
        self._node.keep_offers(FleetKeeper(self.writer, self.offers, keeper))
        self.writer.start()
        self.writer.take(self._node.own_offers())
        self.upkeep.start()

    async def close(self) -> None:
        """Called after the node has closed. Writes pending offers, if the store is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self.upkeep.stop()
        await self.offers.stop(STOP_S)
        try:
            async with asyncio.timeout(STOP_S):
                await self.writer.stop()
        except TimeoutError:
            log.warning("did not write %s to the shared store", counted(len(self.writer), "offer"))
        await self.store.close()

    # -- market.dht.Dht, with the store

    async def register_offer(
        self,
        content: bytes,
        user_id: bytes,
        user_name: str,
        metadata: FileMetadata,
        deadline_s: float,
        form: CidForm | None = None,
    ) -> Outcome:
        """As for any node, and returns when the store has it, too. Raises StorageFault."""
        end = time.monotonic() + deadline_s
        if why := self.store.away(content):
            raise unavailable(why)
        outcome = await self._node.register_offer(content, user_id, user_name, metadata, deadline_s, form)
        await self._in_store(self._key(content, user_id), end)
        await self._take_over(content, user_id)
        return outcome

    async def register_offers(self, many: Sequence[OfferTerms], deadline_s: float) -> list[Outcome]:
        """As for any node; offers the store did not accept have `wanted` 1 and `asked` 0."""
        end = time.monotonic() + deadline_s
        outcomes = await self._node.register_offers(many, deadline_s)
        keys = [self._key(terms.content, terms.user_id) for terms in many]
        missing = await self.writer.settled(keys, max(end - time.monotonic(), 0.0))
        there = [key for key in dict.fromkeys(keys) if key not in missing]
        for at in range(0, len(there), AT_ONCE):
            part = there[at : at + AT_ONCE]
            await asyncio.gather(*(self._take_over(content, user_id) for content, _, user_id in part))
        return [
            Outcome(0, 0, 1) if key in missing else outcome
            for key, outcome in zip(keys, outcomes, strict=True)
        ]

    async def withdraw_offer(self, content: bytes, user_id: bytes, deadline_s: float) -> Outcome:
        """Withdraws an offer that any server accepted: its server withdraws it in the network within
        seconds."""
        end = time.monotonic() + deadline_s
        if why := self.store.away(content):
            raise unavailable(why)
        others = (await self.offers.latest(content)).by_others(user_id, self.peer_id, self._node.now())
        if others:
            await self._take_back(content, user_id, others)
        if others and self.own_offer(content, user_id) is None:
            return Outcome(0, 0, 0)
        outcome = await self._node.withdraw_offer(content, user_id, deadline_s)
        await self._in_store(self._key(content, user_id), end)
        return outcome

    def known_offers(self, content: bytes) -> LocalAnswer | None:
        """Always None: another server may just have written to the store."""
        return None

    async def find_offers(
        self, content: bytes, deadline_s: float, ranks: StorerRanks | None = None
    ) -> AsyncGenerator[Offer, None]:
        """The store's offers at once, the network's as they arrive; those superseded elsewhere are hidden."""
        begun = time.monotonic()
        view = await self.offers.views.get(content)
        for offer in view.live(self._node.now()):
            if offer.provider != self.peer_id:  # our own state is more recent
                yield offer
        recent = self.offers.recent.get(content)
        if recent is not None:
            if ranks is not None:
                ranks.on_answer(None, (offer.key for offer in recent))
            for offer in (*self._node.offers.store.offers(content, self._node.now()), *recent):
                if not view.hides(offer):
                    yield offer
            return
        end, found = begun + deadline_s, OfferSet(ranks=ranks)
        async with aclosing(self._node.find_offers(content, end - time.monotonic(), ranks)) as offers:
            async for offer in offers:
                found.add(offer)
                if not view.hides(offer):
                    yield offer
        if time.monotonic() < end:  # else it was cut off and is incomplete
            live = found.in_order(self._node.now())
            keys = {offer.key for offer in live}
            self.offers.recent.put(content, [*live, *(one for one in found if one.key not in keys)], begun)

    async def put_record(
        self, key: bytes, value: bytes, quorum: Quorum | int = Quorum.MAJORITY, *, deadline_s: float
    ) -> Outcome:
        """As for any node, and returns when the store has it, too. Raises StorageFault."""
        stored = await self._node.put_record(key, value, quorum, deadline_s=deadline_s)
        await self._values.put(key, value)
        return stored

    async def get_record(self, key: bytes, quorum: Quorum | int = Quorum.ONE, *, deadline_s: float) -> bytes:
        """The best value of the network and the store; for values without a rule the store's, which the fleet
        put last."""
        try:
            held = await self._values.get(key)
        except StorageFault:
            held = None
        try:
            found = await self._node.get_record(key, quorum, deadline_s=deadline_s)
        except NotFound:
            if held is None:
                raise
            return held
        rule = self._values.rule(key)
        if held is None or (rule is not OPAQUE and rule.select(key, [found, held]) == 0):
            return found
        return held

    def node_info(self) -> NodeView:
        """The node's, with trouble of the store added."""
        info = self._node.node_info()
        trouble = self.upkeep.trouble or self.writer.trouble
        return replace(info, troubles=(*info.troubles, trouble)) if trouble else info

    # -- market.dht.Dht, the node's own

    @property
    def peer_id(self) -> PeerId:
        """This server's peer id."""
        return self._node.peer_id

    async def content_providers(self, content: bytes, deadline_s: float) -> Sequence[PeerId]:
        """From the network."""
        return await self._node.content_providers(content, deadline_s)

    async def closest_peers(self, key: bytes, deadline_s: float) -> Sequence[PeerView]:
        """From the network."""
        return await self._node.closest_peers(key, deadline_s)

    def own_offer(self, content: bytes, user_id: bytes) -> Offer | None:
        """Of this server only."""
        return self._node.own_offer(content, user_id)

    def own_offers(self) -> Iterable[Offer]:
        """Of this server only."""
        return self._node.own_offers()

    def peers(self) -> Sequence[PeerView]:
        """This server's routing table."""
        return self._node.peers()

    # -- other servers

    def _key(self, content: bytes, user_id: bytes) -> OfferKey:
        return content, self.peer_id.raw, user_id

    async def _in_store(self, key: OfferKey, end: float) -> None:
        """Waits until the store has one of our offers, at most until `end` (monotonic). Raises
        StorageFault."""
        missing = await self.writer.settled([key], max(end - time.monotonic(), 0.0))
        if missing:
            raise unavailable(missing[key])

    async def _take_over(self, content: bytes, user_id: bytes) -> None:
        """Tells servers that announce an earlier offer of the user that ours supersedes it."""
        own = self.own_offer(content, user_id)
        if own is None:
            return
        try:
            view = await self.offers.latest(content)
            for offer in view.by_others(user_id, self.peer_id, self._node.now()):
                if offer.seq < own.seq:
                    message = ServerMessage(content, user_id, own.seq).encode()
                    await self.store.send(offer.provider.raw, message)
        except StorageFault as fault:
            # The offer is in the store and hides the other one there; that one expires within two days.
            log.warning("cannot notify another server of a superseded offer: %s", fault)

    async def _take_back(self, content: bytes, user_id: bytes, others: Sequence[Offer]) -> None:
        """Hides offers that other servers announce from now on, and asks those servers to withdraw them."""
        now = self._node.now()
        seq = max(int(now * 1_000_000), *(offer.seq for offer in others))
        not_after = max(offer.not_after for offer in others)
        failed = await self.store.put([mark_row(content, user_id, seq, not_after, now)])
        for why in failed.values():
            raise unavailable(why)
        self.offers.forget(content)
        for offer in others:
            await self.store.send(offer.provider.raw, ServerMessage(content, user_id, seq).encode())
