"""A node of a fleet: what it accepts goes into the shared store, what it is asked comes from there, too."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from itertools import islice

from fastmarket.config import NodeConfig
from fastmarket.errors import FastmarketError, NotFound, PeerFault, StorageFault
from fastmarket.fleet.fields import Letter, mark_row
from fastmarket.fleet.routing import FleetRouting, InStore
from fastmarket.fleet.view import FleetView, RecentFinds, ViewCache, ViewReader
from fastmarket.fleet.writer import SharedWriter, Told, unavailable
from fastmarket.formats.cid import CidForm
from fastmarket.formats.identity import Identity
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.lookup.query import Quorum
from fastmarket.kad.outcome import Outcome
from fastmarket.kad.records.record import DEFAULT_RULES, OPAQUE, RecordRule, rule_for
from fastmarket.log_throttle import LogThrottle
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.driver import Keeper
from fastmarket.offers.lookup.local_answers import LocalAnswer
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import Offer, OfferKey, OfferTerms
from fastmarket.repeating import Repeating
from fastmarket.storage.shared import SharedStore
from fastmarket.storage.store_trouble import KeyFault
from fastmarket.storage.store_url import StoreUrl
from fastmarket.trace import NULL_TRACE, Trace

log = logging.getLogger(__name__)

LETTER_BUDGET_S = 10.0  # to announce that an offer is taken back, on behalf of another server
AT_ONCE = 16  # looks into the store on behalf of one call; half of the connections to a node of the engine
STOP_S = 1.0  # for what waits to be written when the node stops
READ_SLICE = 64  # offers verified before others have their turn: 5 ms where each has its own signature
TELL_S = 60.0  # from one line about a key of the store to the next about the same
MAX_TOLD_KEYS = 256  # remembered for that


class FleetNode(DhtNode):
    """A `DhtNode` with a store shared by several.

    A registration is acknowledged when the store has it, too, and fails with StorageFault while it is away.
    A lookup shows what the store holds and what the network holds; without the store, the network alone.
    """

    def __init__(
        self,
        identity: Identity,
        config: NodeConfig,
        rules: Mapping[bytes, RecordRule] = DEFAULT_RULES,
        trace: Trace = NULL_TRACE,
    ) -> None:
        super().__init__(identity, config, rules, trace)
        self._rules = rules
        self._record_ttl_s = config.kad.record_ttl_s
        self._max_value_bytes = config.kad.max_value_bytes
        self.fleet = fleet = config.fleet
        self.store = SharedStore(StoreUrl.parse(fleet.store), fleet, f"fastmarket:{config.kad.prefix}")
        self.writer = SharedWriter(self.store, fleet, self.now)
        bounds = (fleet.max_cached_contents, fleet.max_cached_offers)
        self.views = ViewCache(self._read, fleet.fresh_s, bounds, time.monotonic)
        self.recent = RecentFinds(fleet.fresh_s, bounds, time.monotonic)
        self.public = FleetRouting(
            self.public, InStore(self.fleet_providers, self._shared_value, self._share_value)
        )
        self.reachable: bool | None = None  # not known yet
        self.trouble = ""
        """Why the store does not answer, or refuses; "" while it serves."""
        self._seldom = LogThrottle(TELL_S, MAX_TOLD_KEYS)
        self.troubles.append(lambda: self.trouble or self.writer.trouble)
        self._looking = Repeating(
            "looking after the store", lambda: fleet.look_s, self._look, self.host.faults
        )
        self._runs: frozenset[str] = frozenset()  # of the engine, as last seen
        self._repaired_at = 0.0
        self._sweeps: set[asyncio.Task[None]] = set()

    async def open(self, keeper: Keeper | None) -> None:
        """Before anybody can reach us. `keeper` keeps offers on disk, too."""
        self.keep_offers(Told(self.writer, self._changed, keeper))
        self.writer.start()
        self.writer.take(self.offers.own)
        self._repaired_at = time.monotonic()
        self._looking.start(at_once=True)

    async def close(self) -> None:
        """Writes what waits, if the store is there."""
        await super().close()
        for ending in (self._looking.stop(), *map(_ended, self._sweeps)):
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await ending
        try:
            async with asyncio.timeout(STOP_S):
                await self.writer.stop()
        except TimeoutError:
            log.warning("%d offers could not be written to the shared store", len(self.writer))
        await self.store.close()

    # -- market.dht.Dht

    async def register_offer(
        self,
        content: bytes,
        user_id: bytes,
        user_name: str,
        metadata: FileMetadata,
        deadline_s: float,
        form: CidForm | None = None,
    ) -> Outcome:
        """As of a node, and when the store has it. Raises StorageFault."""
        end = time.monotonic() + deadline_s
        if why := self.store.away(content):
            raise unavailable(why)
        outcome = await super().register_offer(content, user_id, user_name, metadata, deadline_s, form)
        await self._in_store((content, self.peer_id.raw, user_id), end)
        await self._take_over(content, user_id)
        return outcome

    async def register_offers(self, many: Sequence[OfferTerms], deadline_s: float) -> list[Outcome]:
        """As of a node; what the store did not take has one wanted and nobody asked."""
        end = time.monotonic() + deadline_s
        outcomes = await super().register_offers(many, deadline_s)
        keys = [(terms.content, self.peer_id.raw, terms.user_id) for terms in many]
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
        """Of whichever server took it: one that is told takes it back in the network within seconds."""
        end = time.monotonic() + deadline_s
        if why := self.store.away(content):
            raise unavailable(why)
        others = (await self._fresh(content)).by_others(user_id, self.peer_id, self.now())
        if others:
            await self._take_back(content, user_id, others)
        key = (content, self.peer_id.raw, user_id)
        if others and self.offers.own.current(key) is None:
            return Outcome(0, 0, 0)
        outcome = await super().withdraw_offer(content, user_id, deadline_s)
        await self._in_store(key, end)
        return outcome

    def known_offers(self, content: bytes) -> LocalAnswer | None:
        """Nothing is certain here: another server may just have put something into the store."""
        return None

    async def find_offers(self, content: bytes, deadline_s: float) -> AsyncGenerator[Offer, None]:
        """The store's at once, the network's as they come; what another server superseded is not shown."""
        begun = time.monotonic()
        view = await self.views.get(content)
        for offer in view.live(self.now()):
            if offer.provider != self.peer_id:  # of own ones we know better
                yield offer
        recent = self.recent.get(content)
        if recent is not None:
            now = self.now()
            for offer in (*self.offers.store.offers(content, now), *recent):
                if not view.hides(offer):
                    yield offer
            return
        end, found = begun + deadline_s, []
        async with aclosing(super().find_offers(content, end - time.monotonic())) as offers:
            async for offer in offers:
                found.append(offer)
                if not view.hides(offer):
                    yield offer
        if time.monotonic() < end:  # else it was cut off, and is no whole one
            self.recent.put(content, found, begun)

    async def put_record(
        self, key: bytes, value: bytes, quorum: Quorum | int = Quorum.MAJORITY, *, deadline_s: float
    ) -> Outcome:
        """As of a node, and when the store has it. Raises StorageFault."""
        stored = await super().put_record(key, value, quorum, deadline_s=deadline_s)
        await self._share_value(key, value)
        return stored

    async def get_record(self, key: bytes, quorum: Quorum | int = Quorum.ONE, *, deadline_s: float) -> bytes:
        """The best of what the network and the store have; of values without a rule the store's, which the
        fleet put last."""
        try:
            held = await self._shared_value(key)
        except StorageFault:
            held = None
        try:
            found = await super().get_record(key, quorum, deadline_s=deadline_s)
        except NotFound:
            if held is None:
                raise
            return held
        rule = rule_for(self._rules, key)
        if held is None or (rule is not OPAQUE and rule.select(key, [found, held]) == 0):
            return found
        return held

    async def _share_value(self, key: bytes, value: bytes) -> None:
        """Into the store, unless it has a better one. Raises StorageFault."""
        try:
            held = await self._shared_value(key)
        except KeyFault:
            held = None  # what is of no use there gives way
        if held is None or held == value or rule_for(self._rules, key).replaces(key, value, held):
            await self.store.put_value(key, value, int(self._record_ttl_s))

    async def _shared_value(self, key: bytes) -> bytes | None:
        """The store's, where it may stand there. Raises StorageFault."""
        value = await self.store.get_value(key, self._max_value_bytes)
        try:
            if value is not None:
                rule_for(self._rules, key).validate(key, value, self.now())
        except PeerFault:
            return None
        return value

    async def fleet_providers(self, content: bytes) -> list[PeerInfo]:
        """Other servers of the fleet that hold live offers, with the addresses known of them."""
        now = self.now()
        peers = dict.fromkeys(offer.provider for offer in (await self.views.get(content)).live(now))
        addrs = self.host.identifier.store.addrs
        return [PeerInfo(peer, tuple(addrs(peer, now))) for peer in peers if peer != self.peer_id]

    def _changed(self, content: bytes) -> None:
        """An offer for it came here, or was taken back."""
        self.views.forget(content)
        self.recent.forget(content)

    # -- the store

    async def _read(self, content: bytes, timeout_s: float | None = None) -> FleetView:
        now = self.now()
        try:
            found = await self.store.get(content, timeout_s)
        except KeyFault as fault:
            self._tell_key(content, str(fault))
            raise
        reader = ViewReader(content, lambda signed: self.offers.verifier.open(signed, now), now)
        fields = iter(found.fields.items())
        while part := list(islice(fields, READ_SLICE)):
            reader.read(part)
            await asyncio.sleep(0)
        view = reader.view()
        if wrong := reader.wrong + found.left_out:
            self._tell_key(
                content, f"{wrong} entries are not offers of that content, or are too many or too long"
            )
        if view.over:
            sweep = asyncio.ensure_future(self._sweep(content, view.over))
            self._sweeps.add(sweep)
            sweep.add_done_callback(self._sweeps.discard)
        return view

    async def _sweep(self, content: bytes, fields: Sequence[bytes]) -> None:
        try:
            await self.store.drop(content, fields)
        except StorageFault as fault:
            log.debug("expired offers stay in the shared store: %s", fault)

    async def _fresh(self, content: bytes) -> FleetView:
        """Not from memory, and with a writer's patience. Raises StorageFault."""
        return await self._read(content, self.fleet.write_timeout_s)

    async def _in_store(self, key: OfferKey, end: float) -> None:
        """Until the store has one of our offers, at the latest at `end` (monotonic). Raises StorageFault."""
        missing = await self.writer.settled([key], max(end - time.monotonic(), 0.0))
        if missing:
            raise unavailable(missing[key])

    def _tell_key(self, content: bytes, why: str) -> None:
        unsaid = self._seldom.due(content.hex(), time.monotonic())
        if unsaid is not None:
            log.warning(
                "the shared store on %s: %s (%d similar messages suppressed)", content.hex(), why, unsaid
            )

    async def _take_over(self, content: bytes, user_id: bytes) -> None:
        """Servers that announce an earlier offer of the user are told that ours counts."""
        own = self.offers.own.current((content, self.peer_id.raw, user_id))
        if own is None:
            return
        try:
            for offer in (await self._fresh(content)).by_others(user_id, self.peer_id, self.now()):
                if offer.seq < own.seq:
                    letter = Letter(content, user_id, own.seq).encode()
                    await self.store.send(offer.provider.raw, letter)
        except StorageFault as fault:
            # The offer is in the store, and hides the other there; that one is over within two days.
            log.warning("cannot tell another server of an offer that was taken over: %s", fault)

    async def _take_back(self, content: bytes, user_id: bytes, others: Sequence[Offer]) -> None:
        """Offers that other servers announce: hidden from now on, and withdrawn by those."""
        now = self.now()
        seq = max(int(now * 1_000_000), *(offer.seq for offer in others))
        not_after = max(offer.not_after for offer in others)
        failed = await self.store.put([mark_row(content, user_id, seq, not_after, now)])
        for why in failed.values():
            raise unavailable(why)
        self._changed(content)
        for offer in others:
            await self.store.send(offer.provider.raw, Letter(content, user_id, seq).encode())

    # -- looking after it

    async def _look(self) -> None:
        """Whether the engine is there, is the one it was, and has letters for us."""
        now = time.monotonic()
        try:
            seen = await self.store.runs()
            await self._read_letters()
        except StorageFault as fault:
            self._tell(str(fault))
            return
        self._tell("")
        # A primary that began anew, or took another's place, may lack what was written last.
        if seen - self._runs or now - self._repaired_at >= self.fleet.repair_s:
            if self._runs:
                self.writer.take(self._every_own())
            self._runs, self._repaired_at = seen, now

    def _every_own(self) -> list[Offer]:
        return [offer for offer in self.offers.store if offer.provider == self.peer_id]

    async def _read_letters(self) -> None:
        try:
            letters = await self.store.letters(self.peer_id.raw)
        except KeyFault as fault:
            log.warning("a letter in the shared store cannot be read: %s", fault)
            await self.store.forget_letters(self.peer_id.raw)  # else no server could leave us any
            return
        for raw in letters:
            try:
                await self._obey(Letter.decode(raw))
            except PeerFault as fault:
                log.warning("a letter in the shared store cannot be read: %s", fault)
            except StorageFault:
                raise
            except Exception as error:  # noqa: BLE001 - or this letter kept the others from being read
                self.host.faults.tell("obeying a letter in the shared store", error)
        if letters:
            await self.store.answered(self.peer_id.raw, len(letters))

    async def _obey(self, letter: Letter) -> None:
        own = self.offers.own.current((letter.content, self.peer_id.raw, letter.user_id))
        if own is None or own.withdrawn or own.seq > letter.seq:
            return
        try:
            await super().withdraw_offer(letter.content, letter.user_id, LETTER_BUDGET_S)
        except FastmarketError as fault:
            log.warning("an offer that another server took over cannot be withdrawn yet: %s", fault)

    def _tell(self, why: str) -> None:
        before, self.trouble = self.trouble, why
        if self.reachable is not (not why):
            self.reachable = not why
            if self.reachable:
                log.info("the shared store %s answers", self.store.url.shown)
        if why and why != before:
            log.error("%s; lookups go on in the network, registrations wait for it", why)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
