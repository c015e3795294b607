"""The offer protocol of one node: answers STORE and FIND, makes the jobs that announce and look for offers.

Sans-IO. The shell feeds requests, time, the size of the routing table and the outcome of every announcement,
and starts the jobs it is handed (`register`, `find`, `poll_jobs`) on the engine.

Over 400 lines: one object stands for the protocol; its parts lie in the modules it is made of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from fastmarket.config import OfferConfig
from fastmarket.errors import LimitExceeded, PeerFault
from fastmarket.formats.choice import Choice
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.kad_key import RawKey, kad_key
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.engine import Engine
from fastmarket.kad.lookup.lookup import Lookup, earlier
from fastmarket.kad.lookup.network_size import KEY_BITS
from fastmarket.kad.lookup.queries import AnnounceProvider
from fastmarket.kad.lookup.region import region_distance
from fastmarket.kad.records.put_job import PutJob, PutResult
from fastmarket.kad.records.shares import NEARBY, Source
from fastmarket.kad.records.work import FORGED_FACTOR, PLACE_US, SIGNATURE_US, WorkShares
from fastmarket.kad.wire.response_cache import CachedResponse, ResponseCache, ResponseCaches
from fastmarket.native.batch import SignedBatch, count_signatures
from fastmarket.offers.announce.clocks import ClockWatch
from fastmarket.offers.announce.complaints import Complaints
from fastmarket.offers.announce.coverage import PLACE_BITS
from fastmarket.offers.announce.delivery import Deliveries
from fastmarket.offers.announce.handover import HandoverJob, Handovers
from fastmarket.offers.announce.reprovider import Reprovider
from fastmarket.offers.announce.sweep import Pace, SweepJob, SweepResult
from fastmarket.offers.lookup.find_offers import FindOffersJob
from fastmarket.offers.lookup.queries import FindOffersQuery, FindStorers, Reading, StoreOffer
from fastmarket.offers.model.batch import is_batched
from fastmarket.offers.model.named import StorerRanks
from fastmarket.offers.model.offer import Offer, OfferTerms, alone
from fastmarket.offers.model.refusals import OfferRefused, Refusal
from fastmarket.offers.store.offer_store import OfferStore
from fastmarket.offers.wire.messages import (
    OF_CLOCKS,
    WITH_REASON,
    Ack,
    FindRequest,
    StoreRequest,
    decode_request,
    encode_acks,
    encode_find,
    encode_found,
)
from fastmarket.offers.wire.verifying import OfferReader, OfferVerifier, check_times, unverified_claims
from fastmarket.run_all import run_all
from fastmarket.trace import NULL_TRACE, Trace

if TYPE_CHECKING:
    from fastmarket.native.merkle import Claims

_REFUSED = {
    Ack.SUPERSEDED: Refusal.SUPERSEDED,
    Ack.EXPIRED: Refusal.EXPIRED,
}
_COUNTED_TOGETHER = frozenset({Ack.STORED, Ack.FULL})


@dataclass(frozen=True, slots=True)
class Announcement:
    """A job to start, and the offer to report with its result (`OfferProtocol.on_ended`)."""

    offer: Offer
    job: PutJob


@dataclass(frozen=True, slots=True)
class Sweep:
    """A job to start that announces many offers; report its end (`OfferProtocol.on_ended`)."""

    offers: tuple[Offer, ...]
    job: SweepJob
    is_scheduled: bool  # by the schedule, not by a caller


@dataclass(frozen=True, slots=True)
class Handover:
    """A job to start that gives a newcomer what we hold for it; report its end (`OfferProtocol.on_ended`)."""

    peer: PeerInfo
    job: HandoverJob


Wanted: TypeAlias = Announcement | Sweep | Handover
"""A job to start; `OfferProtocol.on_ended` is told of its end."""


class OfferProtocol:
    """State and behaviour of offers on one node."""

    __slots__ = (
        "_engine",
        "_identity",
        "_reader",
        "_reading",
        "_trace",
        "_turn",
        "acks",
        "clock",
        "config",
        "handovers",
        "other_keys_count",
        "own",
        "refusals",
        "refused_count",
        "response_cache",
        "store",
        "verifier",
        "work",
    )

    def __init__(
        self,
        identity: Identity,
        engine: Engine,
        config: OfferConfig | None = None,
        trace: Trace = NULL_TRACE,
        *,
        store: OfferStore | None = None,
        caches: ResponseCaches | None = None,
    ) -> None:
        """`caches`: those that `store` tells of changed contents; the one of FIND replies joins them."""
        self.config = config or OfferConfig()
        caches = ResponseCaches() if caches is None else caches
        self.store = OfferStore(self.config, None, identity.peer_id.key, caches) if store is None else store
        self.response_cache = ResponseCache(self.config.max_ready_bytes, engine.routing, self._completed)
        """Replies to FIND, made of their content. `handle_request` is for what it does not answer."""
        caches.add(self.response_cache)
        self._turn = engine.routing.turn  # wanted once offers were stored
        bounds = self.config
        self.work = WorkShares(bounds.max_work_share)
        """Of signatures and places: which senders may cause more of it."""
        self.verifier = OfferVerifier(
            bounds.verified_cache, bounds.verified_batches, bounds.max_signatures_per_store
        )
        self._reader = OfferReader(identity.peer_id)
        self.own = Reprovider(self.config, identity, self.store, engine.config.k)
        self.acks: Counter[Ack] = Counter()
        """What became of the offers others wanted stored here, since the start."""
        self.other_keys_count = 0
        """Own offers of an earlier run that another key signed: they can be neither renewed nor withdrawn."""
        self.refusals: Counter[Refusal] = Counter()
        """Why offers were not taken, those in replies to our own questions included."""
        self.clock = ClockWatch()
        """What others say of this node's clock."""
        self.refused_count = 0  # for their times, to be told to the operator
        self._identity = identity
        self._engine = engine
        self.handovers = Handovers(
            self.config,
            engine.config.k,
            identity.peer_id,
            self.store,
            engine.nearest_ids,
            lambda: region_distance(engine.config, engine.knowledge.size),
        )
        self._reading = Reading(self.config, engine.config, self.verifier, self.refusals, trace)
        self._trace = trace

    # --- what strangers ask

    def answer(self, sender: PeerId, body: bytes, now: float, block: bytes = NEARBY) -> bytes:
        """As `handle_request`, out of the cache where that has the reply."""
        cached = self.response_cache.answer(body, sender, now)
        return self.handle_request(sender, body, now, block) if cached is None else cached

    def handle_request(self, sender: PeerId, body: bytes, now: float, block: bytes = NEARBY) -> bytes:
        """The reply to one request, both without their length. Raises `PeerFault` for garbage.

        `block`: the address block that the sender is in.
        """
        if len(body) > self.config.max_message_bytes:
            raise LimitExceeded("bytes in an offer request", self.config.max_message_bytes, len(body))
        request = decode_request(body, self.config.max_offers_per_store)
        if isinstance(request, StoreRequest):
            return self._store(sender, request, now, Source(block, sender.raw))
        return self._find(sender, request, now)

    def _store(self, sender: PeerId, request: StoreRequest, now: float, source: Source) -> bytes:
        most = self.config.max_signatures_per_store
        if len(request.envelopes) + len(request.whole) > most:
            count = count_signatures(request.envelopes) + len(request.whole)
            if count > most:
                raise LimitExceeded("signatures in a STORE", most, count)
        whole = self._whole(request) if request.whole else []
        why = list[Refusal]()
        if self.work.allows(source, now):
            acks = self._take_all(sender, request.envelopes, whole, now, source, why)
        else:
            acks = [Ack.FULL] * (len(request.envelopes) + sum([batch.count for batch in whole]))
        full = acks.count(Ack.FULL)
        if full:
            self.refusals[Refusal.FULL] += full
            self.acks[Ack.FULL] += full
        stored = acks.count(Ack.STORED)  # nearly always all: counted one by one the rest alone
        self.acks[Ack.STORED] += stored
        if stored + full < len(acks):
            for ack in acks:
                if ack not in _COUNTED_TOGETHER:
                    self.acks[ack] += 1
        if why:
            self._look_at_clocks(why, now)
        return encode_acks(acks, why, now)

    def _take_all(
        self,
        sender: PeerId,
        envelopes: Sequence[bytes],
        whole: Sequence[SignedBatch],
        now: float,
        source: Source,
        why: list[Refusal],
    ) -> list[Ack]:
        """Takes what there is room for. Signatures and places count as work of the sender; those of forged
        offers several times."""
        verified = self.verifier.verified_count
        acks = [self._take(sender, source, envelope, now, why) for envelope in envelopes]
        for batch in whole:
            acks += self._take_whole(sender, source, batch, now, why)
        stored = acks.count(Ack.STORED)
        verified = self.verifier.verified_count - verified
        if stored:
            self._turn.is_wanted = True
        if stored or verified:
            forged = min(verified, sum([reason not in OF_CLOCKS for reason in why]))
            signatures = verified + (FORGED_FACTOR - 1) * forged
            self.work.spend(source, SIGNATURE_US * signatures + PLACE_US * stored, now)
        return acks

    def _whole(self, request: StoreRequest) -> list[SignedBatch]:
        """The whole batches in it. Raises `PeerFault`: how many acknowledgements would be due?"""
        try:
            batches = [SignedBatch(data) for data in request.whole]
        except ValueError as error:
            self.refusals[Refusal.MALFORMED] += 1
            raise PeerFault(f"bad batch of offers: {error}") from None
        count = len(request.envelopes) + sum(batch.count for batch in batches)
        if count > self.config.max_offers_per_store:
            raise LimitExceeded("offers in a STORE", self.config.max_offers_per_store, count)
        return batches

    def _take(self, sender: PeerId, source: Source, envelope: bytes, now: float, why: list[Refusal]) -> Ack:
        told, is_tight = None, self.store.may_refuse(source)
        if is_tight or not is_batched(envelope):  # of a batch, all but the first cost no signature
            told = unverified_claims(envelope)
            ack = None if told is None else self._unkept(told, source, len(envelope), now, is_tight)
            if ack is not None:
                return ack if ack is Ack.FULL else self._counted(ack, why)
        try:
            if told is not None:
                check_times(told[4], told[5], now)
            offer = self.verifier.open(envelope, now)
        except OfferRefused as refused:
            return self._on_refused(sender, refused, why)
        ack = self.store.add(offer, now, source=source)
        self._look_for_own((offer,), (ack,), now)
        return self._counted(ack, why)

    def _unkept(self, told: Claims, source: Source, size: int, now: float, is_tight: bool) -> Ack | None:
        """Why an offer would not be kept even if what it claims is true; None: it would. So such an offer
        costs no signature check."""
        *_, seq, _, not_after = told
        if not_after <= now:
            return Ack.EXPIRED
        held = self.store.get(told[:3])
        if held is not None:
            return Ack.SUPERSEDED if held.seq > seq else None
        return Ack.FULL if is_tight and self.store.would_refuse(source, told[:3], size) else None

    def _take_whole(
        self, sender: PeerId, source: Source, batch: SignedBatch, now: float, why: list[Refusal]
    ) -> list[Ack]:
        if self.store.may_refuse(source) and self.store.would_refuse_batch(source, batch):
            return [Ack.FULL] * batch.count
        opened = self.verifier.open_whole(batch, now)
        offers = [one for one in opened if isinstance(one, Offer)]
        if len(offers) == len(opened):
            acks = self.store.add_batch(offers, now, source=source)
            self._look_for_own(offers, acks, now)
            return acks if acks.count(Ack.STORED) == len(acks) else [self._counted(ack, why) for ack in acks]
        acks = []
        for one in opened:
            if isinstance(one, Offer):
                ack = self.store.add(alone(one), now, source=source)
                self._look_for_own((one,), (ack,), now)
                acks.append(self._counted(ack, why))
            else:
                acks.append(self._on_refused(sender, one, why))
        return acks

    def _look_for_own(self, offers: Sequence[Offer], acks: Sequence[Ack], now: float) -> None:
        """One provider signed all of them; if that is this node, see `Reprovider.on_newer`."""
        if offers[0].provider == self._identity.peer_id:
            for offer, ack in zip(offers, acks, strict=True):
                if ack is Ack.STORED:
                    self.own.on_newer(offer, now)

    def _counted(self, ack: Ack, why: list[Refusal]) -> Ack:
        """`why` gets a reason for each ack that is to have one. Those of `FULL` are counted by `_store`."""
        if ack is not Ack.STORED and (refusal := _REFUSED.get(ack)) is not None:
            self.refusals[refusal] += 1
            if ack in WITH_REASON:
                why.append(refusal)
        return ack

    def _look_at_clocks(self, why: Iterable[Refusal], now: float) -> None:
        """Offers refused for their times: many of them are a sign that a clock is wrong, ours perhaps."""
        for reason in why:
            if reason in OF_CLOCKS and (count := self.clock.on_refused_here(now)):
                self.refused_count += count
                self._turn.is_wanted = True  # to tell the operator

    def _on_refused(self, sender: PeerId, refused: OfferRefused, why: list[Refusal]) -> Ack:
        why.append(refused.refusal)
        self.refusals[refused.refusal] += 1
        self._trace.event("offer.refused", peer=sender, reason=refused.reason)
        return Ack.EXPIRED if refused.refusal is Refusal.EXPIRED else Ack.INVALID

    def _find(self, sender: PeerId, request: FindRequest, now: float) -> bytes:
        target = kad_key(request.content)
        closer = self._engine.closer_to(target, sender)
        room = self.config.max_message_bytes - len(closer)
        found = self.store.find(request, now, room)
        part = encode_found(found.envelopes, found.more)
        # Where the room was what ended it, it is one for this asker alone.
        if found.envelopes and (not found.more or len(found.envelopes) == request.limit):
            until = self.store.next_expiry(request.content, now)
            self.response_cache.put(
                encode_find(request), CachedResponse(part, target, until, (request.content,))
            )
        return part + closer

    def _completed(self, ready: CachedResponse, asker: PeerId | None) -> bytes | None:
        reply = self._engine.closer_to(ready.target, asker, ready.part)
        return reply if len(reply) <= self.config.max_message_bytes else None

    def take_refused_count(self) -> int:
        """How many offers of others were refused here for their times, when the operator is to know; else
        0."""
        count, self.refused_count = self.refused_count, 0
        return count

    # --- what this node wants

    def register(self, terms: OfferTerms, now: float, retry_s: float = 0.0) -> Announcement:
        """Signs and stores an offer, to be announced at once and for as long as the node lives.

        While its quorum is missing it is tried again for `retry_s` seconds. Raises `Busy` when there are
        too many own offers.
        """
        return self._announcement(self.own.register(terms, now), retry_s)

    def register_many(self, many: Sequence[OfferTerms], now: float, retry_s: float = 0.0) -> Sweep:
        """As `register`, all or none, with few signatures and by one job. Of terms for one offer the last
        count; so there may be fewer offers than terms."""
        return self._sweep(self.own.register_many(many, now), retry_s, scheduled=False)

    def withdraw(self, content: bytes, user_id: bytes, now: float, retry_s: float = 0.0) -> Announcement:
        """Takes an own offer back: a tombstone takes its place here and, announced like an offer, elsewhere.

        It is announced until the offer would have expired. Raises `CallerFault`: no such own offer.
        """
        return self._announcement(self.own.withdraw(content, user_id, now), retry_s)

    def on_ended(self, wanted: Wanted, result: object, now: float) -> None:
        """The result of a job of `poll_jobs`, `register`, `register_many` or `withdraw`; None: it could not
        be started, or a bug ended it."""
        _ENDINGS[type(wanted)](self, wanted, result, now)

    def _on_announced(self, wanted: Announcement, result: object, now: float) -> None:
        outcome = result.outcome if isinstance(result, PutResult) else None
        self.own.on_announced(wanted.offer, outcome, now)

    def _on_swept(self, wanted: Sweep, result: object, now: float) -> None:
        if wanted.is_scheduled:
            self.own.on_swept()
        if isinstance(result, SweepResult):
            for offers, outcome in result.groups:
                self.own.on_announced_many(offers, outcome, now)
        else:
            self.own.on_announced_many(wanted.offers, None, now)

    def _on_handed_over(self, wanted: Handover, result: object, now: float) -> None:
        self.handovers.on_ended(wanted.peer, result if isinstance(result, int) else None, now)

    def find(
        self, content: bytes, timeout_s: float | None = None, ranks: StorerRanks | None = None
    ) -> FindOffersJob:
        """A job that gathers the offers for a content, in the network and here. `ranks` learns which storers
        named which offers."""
        query = FindOffersQuery(
            content,
            self._reading,
            self._identity.peer_id,
            lambda now: self.store.withdrawn_providers(content, now),
            ranks,
        )
        timeout_s = self._engine.config.job_timeout_s if timeout_s is None else timeout_s
        engine = self._engine
        job = FindOffersJob(engine.search(content, query), query, engine.seeds, self.config, timeout_s)
        job.hold(self.store.held(content))
        return job

    # --- what is kept on disk

    def restore(self, signed: bytes, own: bool, now: float) -> None:
        """Takes up an offer that was kept on disk; nothing of it is verified again.

        An own one is served at once and announced within `restore_spread_s`; it is renewed if it has expired.
        Raises `OfferRefused`: the bytes are not an offer.
        """
        offer = self._reader.read(signed)
        if own and offer.provider == self._identity.peer_id:
            self.own.restore(offer, now)
        else:
            self.other_keys_count += own
            self.store.add(offer, now)

    def restore_batch(self, data: bytes, own: bool, dead: Collection[int], now: float) -> SignedBatch:
        """As `restore` of a whole batch, but for its offers at slots that are `dead`; after single offers."""
        batch, offers = self._reader.read_batch(data)
        if dead:
            offers = [offer for offer in offers if offer.slot not in dead]
        if own and offers and offers[0].provider == self._identity.peer_id:
            self.own.restore_many(offers, now)
            return batch
        self.other_keys_count += len(offers) if own else 0
        if len(offers) == batch.count:
            self.store.add_batch(offers, now)
        else:
            for offer in offers:
                self.store.add(offer, now)
        return batch

    # --- time

    def on_table_size(self, count: int, now: float) -> None:
        """The size of the routing table, whenever it changes."""
        self.own.on_table_size(count, now)

    def next_timer(self) -> float | None:
        """When `handle_timer` has something to do."""
        own = self.own
        when = self.store.next_timer() if self.store.expiry.steps else None
        if own.has_timer and (due := own.next_timer()) is not None:
            when = earlier(when, due)
        if self.handovers.newcomers and (due := self.handovers.next_timer()) is not None:
            when = earlier(when, due)
        return when

    def handle_timer(self, now: float) -> None:
        """Forgets expired offers and queues own ones that are due; `poll_jobs` afterwards."""
        run_all((self.store.handle_timer, self.own.handle_timer), now)

    def poll_jobs(self, now: float) -> list[Wanted]:
        """What to announce or hand over now; ask after `handle_timer` and after each job's end, which make
        room."""
        jobs: list[Wanted] = []
        while offers := self.own.take_sweep(now):
            jobs.append(self._sweep(offers, 0.0, scheduled=True))
        jobs.extend(self._announcement(offer, 0.0) for offer in self.own.take_due(now))
        handover = self.handovers.take(now)
        if handover is not None:
            peer, offers = handover
            job = HandoverJob(peer, offers, self._deliveries(), self.config.protocol)
            jobs.append(Handover(peer, job))
        return jobs

    def _announcement(self, offer: Offer, retry_s: float) -> Announcement:
        engine, key = self._engine, offer.key
        find = FindStorers(offer.content, self._reading)
        store = StoreOffer(
            offer,
            self._reading,
            lambda: engine.local,
            lambda: self.own.current(key),
            Complaints(self.clock),
        )
        return Announcement(offer, engine.store_job(offer.content, find, store, retry_s=retry_s))

    def _sweep(self, offers: Sequence[Offer], retry_s: float, *, scheduled: bool) -> Sweep:
        engine, config = self._engine, self.config
        kad = engine.config
        pace = Pace(
            k=kad.k,
            most_of_group=kad.max_group_in_bucket,
            reach=region_distance(kad, engine.knowledge.size) >> (KEY_BITS - PLACE_BITS),
            lookups=config.sweep_lookups,
            patient=scheduled,
            timeout_s=config.sweep_timeout_s,
            lookup_timeout_s=kad.job_timeout_s / 2,
            retry_s=retry_s,
        )
        job = SweepJob(offers, self._find_storers, engine.seeds, self._deliveries(), pace)
        return Sweep(tuple(offers), job, scheduled)

    def _deliveries(self) -> Deliveries:
        timeout_s = self._engine.config.request_timeout_s
        return Deliveries(self.config, self._provide, self._current, timeout_s, Complaints(self.clock))

    def _find_storers(self, content: bytes) -> Lookup:
        return self._engine.search(content, FindStorers(content, self._reading))

    def _provide(self, offer: Offer, peer: PeerInfo, protocol: str) -> tuple[Choice, ...]:
        """A provider record for a peer that knows no offers; it cannot be taken back, but expires."""
        if offer.withdrawn:
            return ()
        engine = self._engine
        return AnnounceProvider(engine.config, RawKey(offer.content), lambda: engine.local).choices(
            peer, protocol
        )

    def _current(self, offer: Offer) -> Offer | None:
        return self.own.current(offer.key)


_ENDINGS: dict[type[Wanted], Callable[[OfferProtocol, Any, object, float], None]] = {
    Announcement: OfferProtocol._on_announced,
    Sweep: OfferProtocol._on_swept,
    Handover: OfferProtocol._on_handed_over,
}
