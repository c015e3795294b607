"""The network half of a node: host, engine and offers put together, and its operations for programs.

It is the `Dht` that market/ works with, and executes the bridge's commands. (Over 400 lines: one method for
each operation.)
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

from fastmarket._xor import common_prefix_length
from fastmarket.config import NodeConfig
from fastmarket.core.commands import (
    Bootstrap,
    Closest,
    FindOffers,
    FindProviders,
    GetValue,
    Provide,
    PutValue,
    Register,
    RegisterMany,
    Withdraw,
)
from fastmarket.core.node import NodeCore
from fastmarket.core.restoring import KeptBatch, restore_offers, restore_records
from fastmarket.errors import DialFailed, NotFound, QuorumFailed
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.cid import CidForm
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.bootstrap import BootstrapResult
from fastmarket.kad.lookup.lookup_job import LookupResult
from fastmarket.kad.lookup.query import Quorum
from fastmarket.kad.outcome import Outcome
from fastmarket.kad.providers.find_providers import FindProvidersResult
from fastmarket.kad.records.record import DEFAULT_RULES, Record, RecordRule
from fastmarket.kad.records.values import GetValueResult
from fastmarket.native.batch import SignedBatch
from fastmarket.native.sha256 import sha256
from fastmarket.net.clock import Clock
from fastmarket.net.dial_reasons import Failure, of_seed
from fastmarket.net.driver import JobObserver, Keeper, NodeDriver
from fastmarket.net.host import Host
from fastmarket.net.identifier import AGENT_VERSION
from fastmarket.net.public_routing import PublicRouting
from fastmarket.net.twins import Twins
from fastmarket.offers.announce.clocks import wrong_clock
from fastmarket.offers.lookup.local_answers import LocalAnswer
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.named import StorerRanks
from fastmarket.offers.model.offer import Offer, OfferTerms
from fastmarket.offers.model.results import NodeView, PeerView
from fastmarket.trace import NULL_TRACE, Trace
from fastmarket.wording import counted

PutCommand: TypeAlias = Register | Withdraw | PutValue | Provide


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """The result of joining: `peer` is the first seed that is connected, identified and in the table;
    `remaining` seeds are not, for the reasons in `failures`; `known` nodes are in the routing table."""

    peer: PeerId
    remaining: int
    known: int
    failures: tuple[Failure, ...] = ()


class DhtNode:
    """A node without its local services. It listens nowhere and knows no peer until told."""

    def __init__(
        self,
        identity: Identity,
        config: NodeConfig,
        rules: Mapping[bytes, RecordRule] = DEFAULT_RULES,
        trace: Trace = NULL_TRACE,
    ) -> None:
        """`rules`: which values are valid under the keys of a namespace (`kad.records.record`)."""
        self.troubles: list[Callable[[], str]] = [lambda: self.disk_trouble]
        """Each returns what is wrong now, or ""."""
        self._config = config
        self._clock = clock = Clock()
        self.host = Host(identity, config, clock)
        addresses = self.host.identifier.store
        self.core = core = NodeCore(
            identity, config, addresses, now=clock.now(), entropy=os.urandom, rules=rules, trace=trace
        )
        self.engine = core.engine
        self.offers = core.offers
        self.records = core.records
        addresses.on_changed = core.caches.invalidate
        self.host.identifier.addresses.on_changed.append(self._addresses_changed)
        self._addresses_changed()
        self.twins = Twins(self.host, self.engine)
        self._driver = NodeDriver(core, self.host, clock, self.twins)
        self.public = PublicRouting(self.host, self._driver, clock)
        if config.server_mode:
            for protocol, limit in (
                (config.kad.protocol, config.kad.max_request_bytes),
                (config.offers.protocol, config.offers.max_message_bytes),
            ):
                self.host.serve(protocol, self._driver.responder(protocol), limit)

    @property
    def peer_id(self) -> PeerId:
        """This node's peer id."""
        return self.host.peer_id

    @property
    def listen_addrs(self) -> tuple[Multiaddr, ...]:
        """The addresses this node listens on, one for each interface, with /p2p."""
        return tuple(addr.with_peer(self.peer_id) for addr in self.host.listen_addrs)

    @property
    def announced_addrs(self) -> tuple[Multiaddr, ...]:
        """The addresses told to others, with /p2p: the operator's, or those listened on and observed."""
        return tuple(addr.with_peer(self.peer_id) for addr in self.host.identifier.addresses.announced)

    def _addresses_changed(self) -> None:
        self.engine.set_local_addrs(self.host.identifier.addresses.told_to_all())

    @property
    def job_observers(self) -> list[JobObserver]:
        """Called at the end of every lookup and announcement."""
        return self._driver.job_observers

    def now(self) -> float:
        """Unix seconds on this node's time scale."""
        return self._clock.now()

    def clock_fault(self) -> str:
        """What is wrong with this node's clock according to its peers, or ""."""
        offset_s = self.offers.clock.wrong_by(self._clock.now())
        return "" if offset_s is None else wrong_clock(offset_s)

    async def listen(self, addr: Multiaddr) -> list[Multiaddr]:
        """Listens there; returns the addresses for others, with /p2p. Raises CallerFault."""
        found = await self.host.listen(addr)
        self.twins.start()
        return [addr.with_peer(self.peer_id) for addr in found]

    async def close(self) -> None:
        """Ends every job and connection."""
        await self.twins.close()
        self._driver.flush()
        self._driver.close()
        try:
            await self.host.close()
        finally:
            self._driver.flush()  # what others were told is stored, until the last connection is closed

    # -- network

    async def dial(self, peer: PeerInfo) -> PeerId:
        """Connects and waits until the peer is identified. Raises DialFailed."""
        link = await self.host.connect(peer)
        try:
            async with asyncio.timeout(self._config.host.identify_timeout_s):
                await asyncio.shield(link.identity_known.wait())
        except TimeoutError:
            raise DialFailed("connected, but it does not answer identify", peer=peer.peer_id) from None
        return peer.peer_id

    async def bootstrap(
        self, seeds: Sequence[PeerInfo], deadline_s: float, saved: Sequence[PeerInfo] = ()
    ) -> Bootstrapped:
        """Joins through `seeds` and through peers `saved` by an earlier run. Returns when this node is
        usable: seeds are connected, identified and in the table, and the lookup of its own id has ended.
        Raises DialFailed if no peer answers."""
        self.host.dials.forgive([addr for seed in seeds for addr in seed.addrs])
        self.host.links.protected.update(seed.peer_id for seed in seeds)
        known = {seed.peer_id for seed in seeds}
        candidates = [*seeds, *(peer for peer in saved if peer.peer_id not in known)]
        result = cast(BootstrapResult, (await self._driver.run(Bootstrap(candidates, deadline_s))).result)
        failures = [
            why for peer, kind in result.failed if peer.peer_id in known for why in self._why_not(peer, kind)
        ]
        if not result.connected:
            fault = DialFailed(_why_alone(failures, len(seeds), len(candidates) - len(seeds)))
            fault.failures = tuple(failures)
            raise fault
        if result.unanswered_count:  # peers that were busy, perhaps joining, are found a little later
            self.engine.maintenance.refresh_soon(self._config.kad.return_delay_s, 0.0, self.now())
        connected = result.connected
        remaining = known - {peer.peer_id for peer in connected} - {self.peer_id}
        return Bootstrapped(connected[0].peer_id, len(remaining), result.known_count, tuple(failures))

    def forget_seeds(self, peers: Collection[PeerId]) -> None:
        """Drops seeds, which are then no longer used when the table becomes empty."""
        self.engine.forget_seeds(peers)
        self.host.links.protected.difference_update(peers)

    def _why_not(self, peer: PeerInfo, kind: FailureKind) -> tuple[Failure, ...]:
        """Why a bootstrap peer did not answer."""
        link = self.host.link_to(peer.peer_id)
        protocols = None if link is None or link.identified is None else frozenset(link.identified.protocols)
        dial = self.host.dials.failures_of(peer.peer_id)
        return of_seed(peer, kind, dial, protocols, self._config.kad.protocol)

    async def put_record(
        self, key: bytes, value: bytes, quorum: Quorum | int = Quorum.MAJORITY, *, deadline_s: float
    ) -> Outcome:
        """Stores a value at the closest nodes. Raises QuorumFailed with the counts, CallerFault."""
        outcome = await self._put(PutValue(key, value, quorum, deadline_s))
        if not outcome.is_reached:
            raise QuorumFailed(outcome.acknowledged, outcome.asked, outcome.wanted, outcome.why)
        return outcome

    async def get_record(self, key: bytes, quorum: Quorum | int = Quorum.ONE, *, deadline_s: float) -> bytes:
        """The best value found. Raises NotFound, or QuorumFailed if too few nodes agree on it."""
        found = await self._driver.run(GetValue(key, quorum, deadline_s))
        result = cast(GetValueResult, found.result)
        if result.record is None:
            raise NotFound("there is no value under that key")
        if not result.has_succeeded:
            raise QuorumFailed(result.agreed_count, len(result.closest), result.wanted_count)
        return result.record.value

    async def provide(self, key: bytes, *, deadline_s: float) -> Outcome:
        """Announces this node as a provider of a key, until it stops."""
        return await self._put(Provide(key, deadline_s))

    async def find_providers(
        self, key: bytes, *, limit: int | None = None, deadline_s: float
    ) -> tuple[PeerInfo, ...]:
        """Providers of a key; `limit` are enough."""
        found = await self._driver.run(FindProviders(key, limit, deadline_s))
        return cast(FindProvidersResult, found.result).providers

    async def _put(self, command: PutCommand) -> Outcome:
        outcome = (await self._driver.run(command)).outcome
        assert outcome is not None
        return outcome

    # -- operations for market/ (market.dht.Dht)

    async def register_offer(
        self,
        content: bytes,
        user_id: bytes,
        user_name: str,
        metadata: FileMetadata,
        deadline_s: float,
        form: CidForm | None = None,
    ) -> Outcome:
        """Signs, stores and announces; see `market.dht.Dht`."""
        self._driver.check_durable()
        terms = OfferTerms(content, user_id, user_name, metadata, form)
        return await self._put(Register(terms, deadline_s))

    async def register_offers(self, many: Sequence[OfferTerms], deadline_s: float) -> list[Outcome]:
        """Registers many offers; see `market.dht.Dht`."""
        self._driver.check_durable()
        return cast(list[Outcome], (await self._driver.run(RegisterMany(many, deadline_s))).result)

    async def withdraw_offer(self, content: bytes, user_id: bytes, deadline_s: float) -> Outcome:
        """Replaces an offer by a tombstone; see `market.dht.Dht`."""
        self._driver.check_durable()
        return await self._put(Withdraw(content, user_id, deadline_s))

    def restore_offers(
        self, kept: Iterable[tuple[bytes, int]], batches: Iterable[KeptBatch] = ()
    ) -> tuple[int, list[SignedBatch | None]]:
        """Restores offers of an earlier run; see `core.restoring`."""
        collecting = gc.isenabled()
        gc.disable()  # nothing made here is garbage; collecting it again and again would double the time
        try:
            return restore_offers(self.core, kept, batches, self._clock.now())
        finally:
            if collecting:
                gc.enable()
            self._driver.wake()

    def restore_records(self, kept: Iterable[tuple[Record, bool]]) -> None:
        """Restores values of an earlier run; see `core.restoring`."""
        restore_records(self.core, kept, self._clock.now())
        self._driver.wake()

    def keep_offers(self, keeper: Keeper) -> None:
        """From now on a registration or withdrawal is acknowledged only when the keeper has stored it."""
        self._driver.keeper = keeper
        self.core.keep_changes()

    @property
    def disk_trouble(self) -> str:
        """Why own offers cannot be written to disk now, or ""."""
        keeper = self._driver.keeper
        return "" if keeper is None else keeper.trouble

    def known_offers(self, content: bytes) -> LocalAnswer | None:
        """Offers known without a lookup: there is no peer to query, or one was made recently (`fresh_s`); see
        `market.dht.Dht`."""
        return self.core.local_answers.get(content, self._clock.now())

    async def find_offers(
        self, content: bytes, deadline_s: float, ranks: StorerRanks | None = None
    ) -> AsyncGenerator[Offer, None]:
        """Verified offers as they are found; see `market.dht.Dht`."""
        running = self._driver.start(FindOffers(content, deadline_s, ranks))
        try:
            async for item in running.items():
                assert isinstance(item, Offer)
                yield item
        finally:
            running.cancel()

    async def content_providers(self, content: bytes, deadline_s: float) -> Sequence[PeerId]:
        """Providers with and without an offer; see `market.dht.Dht`."""
        found = await self.find_providers(content, deadline_s=deadline_s)
        return [peer.peer_id for peer in found]

    async def closest_peers(self, key: bytes, deadline_s: float) -> Sequence[PeerView]:
        """The closest peers by a lookup, closest first."""
        result = cast(LookupResult, (await self._driver.run(Closest(key, deadline_s))).result)
        target = sha256(key)
        return [self._view(answered.peer, target) for answered in result.closest]

    def own_offer(self, content: bytes, user_id: bytes) -> Offer | None:
        """The latest version of an own offer; see `market.dht.Dht`."""
        return self.offers.own.current((content, self.peer_id.raw, user_id))

    def own_offers(self) -> Iterable[Offer]:
        """Offers of this node; see `market.dht.Dht`."""
        return self.offers.own

    def peers(self) -> Sequence[PeerView]:
        """The routing table, nearest to this node first."""
        target = self.peer_id.key
        return [
            self._view(contact.info, target)
            for contact in self.engine.routing.nearest(target, self.engine.table_size)
        ]

    def node_info(self) -> NodeView:
        """State of this node."""
        return NodeView(
            listen=self.listen_addrs,
            agent_version=AGENT_VERSION,
            peers=self.engine.table_size,
            connections=self.host.connection_count,
            offers=self.offers.store.offer_count,
            own_offers=len(self.offers.own),
            mode=self.engine.mode.value,
            troubles=tuple(text for told in self.troubles if (text := told())),
        )

    def _view(self, peer: PeerInfo, target: bytes) -> PeerView:
        link = self.host.link_to(peer.peer_id)
        return PeerView(
            peer,
            agent_version=link.identified.agent_version if link is not None and link.identified else "",
            connected=link is not None,
            common_prefix=common_prefix_length(target, peer.peer_id.key),
        )


def _why_alone(failures: Sequence[Failure], seed_count: int, saved_count: int) -> str:
    """Why an attempt to join reached no peer, for people."""
    earlier = f"{counted(saved_count, 'peer')} of an earlier run" if saved_count else ""
    if not seed_count and earlier:
        return f"{earlier} did not answer"
    told = [*map(str, failures), *([f"nor did {earlier}"] if earlier else [])]
    return f"no bootstrap peer answered ({'; '.join(told) or 'deadline passed'})"
