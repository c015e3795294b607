"""Own offers, which are announced, renewed and announced again for as long as the node runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from fastmarket.config import OfferConfig
from fastmarket.errors import Busy, NoSuchOffer
from fastmarket.formats.identity import Identity
from fastmarket.kad.lookup.lookup import earlier
from fastmarket.kad.outcome import Outcome
from fastmarket.native.merkle import untracked
from fastmarket.offers.announce.due_times import DueTimes
from fastmarket.offers.announce.own_queue import AnnouncedOffer, OwnQueue, OwnState
from fastmarket.offers.announce.rounds import AnnounceRound
from fastmarket.offers.announce.thin_offers import ThinOffers
from fastmarket.offers.model.offer import Offer, OfferKey, OfferTerms, Signing, sign_offers, terms_of
from fastmarket.offers.store.offer_store import OfferStore
from fastmarket.offers.store.own_offers import add_own

# Offers that become due, or are sorted for sweeps, in one turn: 1 ms. A node that restarts, or finds no
# peers, has 100,000 due at once.
DUE_A_TURN = 512
# In a sweep of a node without peers, which ends where it begins, in the same turn: 2 ms.
LONE_SWEEP_OFFERS = 64
SWEEP_PAUSE_S = 0.005  # between the starts of two sweeps, so that other work has turns in between
MAX_DOUBLINGS = 20  # of the back-off; far beyond any useful maximum
# Of the interval: offers that are due within this share of it join a sweep that begins.
AHEAD_SHARE = 1 / 64


class Reprovider:
    """The schedule: its inputs are time (`handle_timer`), the size of the routing table and the outcomes of
    announcements; its outputs are the offers to announce.

    An announcement that failed or reached no peer is repeated after a back-off, one that met its quorum after
    the interval. An offer that fewer than `replication` nodes hold is announced again when the table has
    grown, so that offers that were registered while the network was small spread as it grows.
    Many offers are announced in the order of their keys, spread over the interval, in sweeps (`take_sweep`);
    a few are announced one by one, each an interval after its last announcement.
    A withdrawn offer remains as a tombstone, which is announced, and renewed only if its time of issue lies
    ahead, until the last version that any node could hold has expired.
    """

    __slots__ = (
        "_config",
        "_ended",
        "_identity",
        "_no_sweep_before",
        "_own",
        "_queue",
        "_replication",
        "_round",
        "_stale",
        "_store",
        "_sweeps",
        "_thin",
        "_under_way",
        "_withdrawn",
        "dues",
        "seq_floor",
    )

    def __init__(self, config: OfferConfig, identity: Identity, store: OfferStore, replication: int) -> None:
        self._config = config
        self._identity = identity
        self._store = store
        self._replication = replication
        self.seq_floor = 0
        """The highest seq that this node ever gave, in previous runs as well if it is restored."""
        self._own: dict[OfferKey, AnnouncedOffer] = {}
        self._thin = ThinOffers(config.settle_s)
        self.dues = DueTimes()
        """When offers are due."""
        self._queue = OwnQueue(self._own)
        self._under_way: set[tuple[OfferKey, int]] = set()
        # While offers of the previous run are restored: expired tombstones, and superseded versions.
        self._ended: dict[OfferKey, Offer] = {}
        self._stale: list[Offer] = []
        self._withdrawn = 0
        self._sweeps = 0
        self._no_sweep_before = float("-inf")
        self._round = AnnounceRound(config, identity.peer_id)

    def __len__(self) -> int:
        return len(self._own) - self._withdrawn

    def __iter__(self) -> Iterator[Offer]:
        return (own.offer for own in self._own.values() if not own.offer.withdrawn)

    def current(self, key: OfferKey) -> Offer | None:
        """The latest version, possibly a tombstone."""
        own = self._own.get(key)
        return own.offer if own else None

    def register(self, terms: OfferTerms, now: float) -> Offer:
        """Signs and stores an offer. The caller announces it and reports the outcome (`on_announced`).

        Raises `Busy` if there are `max_own_offers` already, tombstones included.
        """
        return self.register_many((terms,), now)[0]

    def register_many(self, many: Sequence[OfferTerms], now: float) -> list[Offer]:
        """Registers all offers or none, with one signature for many. The last terms for an offer count."""
        self.check_room(many)
        wanted = {self._key(terms.content, terms.user_id): terms for terms in many}
        previous = [self.current(key) or self._store.get(key) for key in wanted]
        lifetime_s = self._config.lifetime_s
        signings = [
            Signing(terms, before, False, lifetime_s)
            for terms, before in zip(wanted.values(), previous, strict=True)
        ]
        offers = self._sign(signings, now)
        add_own(self._store, offers, previous, now)
        self._begin(tuple(wanted), offers, now)
        return offers

    def check_room(self, many: Sequence[OfferTerms]) -> None:
        """Raises `Busy` unless there is room for all these offers."""
        most = self._config.max_own_offers
        if len(self._own) + len(many) <= most:
            return
        new = {key for terms in many if (key := self._key(terms.content, terms.user_id)) not in self._own}
        if new and len(self._own) + len(new) > most:
            raise Busy("offers", f"this node announces at most {most} offers")

    def withdraw(self, content: bytes, user_id: bytes, now: float) -> Offer:
        """Replaces an own offer by a tombstone. The caller announces it at once and reports the outcome.

        Withdrawing again announces the same tombstone again, unless a clock that was ahead signed it. Raises
        `NoSuchOffer`.
        """
        own = self._own.get(self._key(content, user_id))
        if own is None or own.offer.not_after <= now:
            raise NoSuchOffer("content", "this node has no such offer")
        offer = own.offer
        if not offer.withdrawn or self._is_aged(offer, now):
            before = offer
            (offer,) = self._sign([replace(self._again(before), withdrawn=True)], now)
            self._store.add(offer, now, own=True, previous=before)
        self._begin((offer.key,), (offer,), now)
        return offer

    def _sign(self, signings: Sequence[Signing], now: float) -> list[Offer]:
        offers = sign_offers(self._identity, signings, now, self.seq_floor)
        self.seq_floor = max(self.seq_floor, *(offer.seq for offer in offers), 0)
        return offers

    def restore(self, offer: Offer, now: float) -> None:
        """Restores an own offer or tombstone that was saved by a previous run.

        It is announced at its place in the schedule, but within `restore_spread_s`, because other nodes may
        have lost it. All are taken, also beyond a `max_own_offers` that has been lowered since: they were
        acknowledged. Of two versions the later one counts; expired tombstones have to come before the
        offers that they withdrew.
        """
        key = offer.key
        known = self._own.get(key)
        before = known.offer if known else self._ended.get(key)
        if before is not None:
            newer, older = (offer, before) if offer.replaces(before) else (before, offer)
            self._stale.append(older)
            if newer is before:
                return
        if offer.withdrawn and offer.not_after <= now and known is None:
            self._ended[key] = offer
            return
        self._store.add(offer, now, own=True)  # refused if it has expired; then it is renewed at once
        (where,) = self._round.places((offer,))
        if known is not None and known.due:
            self.dues.remove(known.due, key)
        self._withdrawn += offer.withdrawn - (known is not None and known.offer.withdrawn)
        own = self._own[key] = untracked(AnnouncedOffer(offer, OwnState.WAITING, 0.0, where))
        self._schedule(key, own, self._round.restored_turns(now)(where, offer.issued_at))

    def restore_many(self, offers: Sequence[Offer], now: float) -> None:
        """Restores several offers, a whole batch at once."""
        keys = [offer.key for offer in offers]
        if (
            not self._own.keys().isdisjoint(keys)
            or not self._ended.keys().isdisjoint(keys)
            or any(offer.withdrawn for offer in offers)
        ):
            for offer in offers:
                self.restore(offer, now)
            return
        add_own(self._store, offers, [None] * len(offers), now)
        own, dues, turn = self._own, self.dues, self._round.restored_turns(now)
        for key, where, offer in zip(keys, self._round.places(offers), offers, strict=True):
            due = turn(where, offer.issued_at)
            own[key] = untracked(AnnouncedOffer(offer, OwnState.WAITING, due, where))
            dues.add(due, key)

    def on_newer(self, offer: Offer, now: float) -> None:
        """Another node brought a version of ours, and the store took it: an earlier run gave it away and was
        killed before it was on disk. It is the current version now, and later ones have to outrank it."""
        self.seq_floor = max(self.seq_floor, offer.seq)
        key = offer.key
        own = self._own.get(key)
        if own is None or not offer.replaces(own.offer):
            return
        self._withdrawn += offer.withdrawn - own.offer.withdrawn
        own.offer, own.state, own.failures = offer, OwnState.WAITING, 0
        self._schedule(key, own, now + self._config.retry_first_s)

    def take_stale(self) -> list[Offer]:
        """Restored versions that a later one supersedes. Called when everything has been restored."""
        stale, self._stale = self._stale, []
        self._ended.clear()
        return stale

    def _key(self, content: bytes, user_id: bytes) -> OfferKey:
        return (content, self._identity.peer_id.raw, user_id)

    def _begin(self, keys: Sequence[OfferKey], offers: Sequence[Offer], now: float) -> None:
        """The caller announces these. If it reports no outcome, they are due again after the interval."""
        turn = self._round.turns(now, spread=self._is_spread())
        for key, where, offer in zip(keys, self._round.places(offers), offers, strict=True):
            own = self._own.get(key)
            self._withdrawn += offer.withdrawn - (own is not None and own.offer.withdrawn)
            if own is None:
                own = self._own[key] = untracked(AnnouncedOffer(offer, OwnState.ANNOUNCING, 0.0, where))
            own.offer, own.state, own.failures = offer, OwnState.ANNOUNCING, 0
            own.neighbours = self._thin.neighbours
            self._schedule(key, own, turn(own.place))

    def on_announced(self, offer: Offer, outcome: Outcome | None, now: float) -> None:
        """The announcement of `offer` has ended; `outcome` None: it could not be started."""
        self.on_announced_many((offer,), outcome, now)

    def on_announced_many(self, offers: Sequence[Offer], outcome: Outcome | None, now: float) -> None:
        """The announcements of several offers have ended with the same outcome."""
        met = outcome is not None and outcome.is_reached and outcome.copies > 0
        copies = outcome.copies if outcome else 0
        config, thin = self._config, copies < self._replication
        turn = self._round.turns(now, spread=self._is_spread())
        for offer in offers:
            key = offer.key
            if self._under_way:
                self._under_way.discard((key, offer.seq))
            own = self._own.get(key)
            if own is None or own.offer.seq != offer.seq:
                continue
            own.state = OwnState.WAITING
            own.copies = copies
            if met:
                own.failures = 0
                due = turn(own.place)
            else:
                due = now + min(config.retry_longest_s, config.retry_first_s * 2**own.failures)
                own.failures = min(own.failures + 1, MAX_DOUBLINGS)
            if thin:
                self._thin.add(key, own.neighbours, now)
            else:
                self._thin.discard(key)
            self._schedule(key, own, due)

    def on_table_size(self, count: int, now: float) -> None:
        """The size of the routing table has changed."""
        self._thin.on_table_size(count, now)

    def next_timer(self) -> float | None:
        """When `handle_timer`, or `take_sweep`, has something to do; never, while not `has_timer`."""
        when = self._thin.next_timer()
        if (due := self.dues.first()) is not None:
            when = earlier(when, due)
        if self._queue and self._may_sweep():
            when = earlier(when, self._no_sweep_before)
        return when

    @property
    def has_timer(self) -> bool:
        """Whether `next_timer` may be due at some time."""
        return bool(self.dues or self._queue) or self._thin.has_timer

    def handle_timer(self, now: float) -> None:
        """Queues what is due."""
        for key in self._thin.take_due(DUE_A_TURN, now):
            found = self._own.get(key)
            if found and found.state is OwnState.WAITING and found.neighbours < self._thin.neighbours:
                self._queue.add(key, found)
        for _ in range(DUE_A_TURN):
            taken = self.dues.take(now)
            if taken is None:
                break
            own = self._own[taken]
            own.due = 0.0
            if own.offer.withdrawn and own.offer.not_after <= now:
                self._forget(taken)
            elif own.state is not OwnState.QUEUED:
                self._queue.add(taken, own)

    def take_due(self, now: float) -> list[Offer]:
        """Offers to announce now, renewed if they are old; no more than may be announced at once.

        Empty while there are enough for a sweep.
        """
        offers: list[Offer] = []
        if self._has_sweep():
            return offers
        while self._queue and len(self._under_way) < self._config.max_announcing:
            own = self._queue.take()
            if own is None:
                continue
            self._hand_out([own], now)
            self._under_way.add((own.offer.key, own.offer.seq))
            offers.append(own.offer)
        return offers

    def take_sweep(self, now: float) -> list[Offer]:
        """Offers to announce now in one sweep, in the order of their keys; empty: there are too few.

        The caller reports the outcome of each (`on_announced`), then the end of the sweep (`on_swept`).
        """
        if not self._may_sweep() or now < self._no_sweep_before:
            return []
        most = self._config.max_sweep_offers if self._thin.neighbours else LONE_SWEEP_OFFERS
        self._take_along(most, now)
        if not self._queue.sorted_count:
            self._queue.sort(max(DUE_A_TURN, most))
        chosen: list[AnnouncedOffer] = []
        while self._queue.sorted_count and len(chosen) < most:
            own = self._queue.take()
            if own is not None:
                chosen.append(own)
        self._hand_out(chosen, now)
        self._sweeps += bool(chosen)
        self._no_sweep_before = now + SWEEP_PAUSE_S
        return [own.offer for own in chosen]

    def _may_sweep(self) -> bool:
        return self._has_sweep() and self._sweeps < self._config.max_sweeps

    def on_swept(self) -> None:
        """A sweep has ended."""
        self._sweeps -= 1

    def _is_spread(self) -> bool:
        """Whether there are so many offers that each has its turn by its key."""
        return len(self._own) >= self._config.spread_from

    def _has_sweep(self) -> bool:
        """Whether the queue is worth a sweep; if turns are spread, others are due soon and one is enough."""
        return len(self._queue) >= (1 if self._is_spread() else self._config.sweep_from)

    def _take_along(self, most: int, now: float) -> None:
        """Queues what is due soon, up to a sweep of `most`, if there are many offers."""
        if not self._is_spread():
            return
        soon = now + self._config.announce_interval_s * AHEAD_SHARE
        while len(self._queue) < most:
            key = self.dues.take(soon)
            if key is None:
                break
            own = self._own[key]
            own.due = 0.0
            if own.state is OwnState.WAITING:
                self._queue.add(key, own)

    def _is_aged(self, offer: Offer, now: float) -> bool:
        """Whether an offer has to be signed again before it is announced.

        A tombstone never ages. What was signed by a clock that was ahead, other nodes refuse until then.
        """
        renewed_s = self._config.announce_interval_s / 2
        return offer.issued_at > now or (not offer.withdrawn and offer.issued_at + renewed_s <= now)

    def _again(self, offer: Offer) -> Signing:
        """The same terms, or the same withdrawal, as a later version."""
        return Signing(terms_of(offer), offer, offer.withdrawn, self._config.lifetime_s)

    def _hand_out(self, owned: Sequence[AnnouncedOffer], now: float) -> None:
        """Marks offers as being announced; old ones are renewed first."""
        aged = [own for own in owned if self._is_aged(own.offer, now)]
        renewed = self._sign([self._again(own.offer) for own in aged], now)
        add_own(self._store, renewed, [own.offer for own in aged], now)
        for own, offer in zip(aged, renewed, strict=True):
            own.offer = offer
        turn = self._round.turns(now, spread=self._is_spread())
        for own in owned:
            own.state, own.neighbours = OwnState.ANNOUNCING, self._thin.neighbours
            self._schedule(own.offer.key, own, turn(own.place))

    def _forget(self, key: OfferKey) -> None:
        """Drops an expired tombstone."""
        del self._own[key]
        self._thin.discard(key)
        self._withdrawn -= 1

    def _schedule(self, key: OfferKey, own: AnnouncedOffer, due: float) -> None:
        if own.offer.withdrawn:
            due = min(due, own.offer.not_after)
        if due != own.due:
            if own.due:
                self.dues.remove(own.due, key)
            own.due = due
            self.dues.add(due, key)
