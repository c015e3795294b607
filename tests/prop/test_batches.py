"""Whole batches against the same offers one by one: in the store, and on disk through restarts."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastmarket.config import KadConfig, OfferConfig, StorageConfig
from fastmarket.kad.engine import Engine
from fastmarket.native.batch import SignedBatch
from fastmarket.offers.model.offer import MAX_LIFETIME_S, Offer, OfferTerms, Signing, alone, sign_offers
from fastmarket.offers.protocol import OfferProtocol
from fastmarket.offers.store.offer_store import OfferStore
from fastmarket.offers.wire.messages import Ack, encode_store
from fastmarket.storage.database import OfferDatabase
from fastmarket.storage.journal import Journal
from tests.virtual import START, identity, terms

HOUR = 3600
CONTENTS = [b"\x12\x20" + sha256(b"batch content %d" % n).digest() for n in range(8)]
SETS = st.sets(st.integers(0, 7), min_size=1, max_size=8)


def wanted(numbers: set[int], price: int) -> list[OfferTerms]:
    return [terms(price, content=CONTENTS[number]) for number in sorted(numbers)]


def whole(offers: list[Offer]) -> list[Offer]:
    """In the order of their batch; an offer alone in a list of its own."""
    return sorted(offers, key=lambda offer: offer.slot)


STORE_STEP = st.tuples(
    *(st.sampled_from([1, 2]), SETS, st.integers(1, 50)),
    *(st.booleans(), st.sampled_from([0, 0, 1, 20, 49]), st.booleans(), SETS),
)


@given(st.lists(STORE_STEP, max_size=14))
@settings(deadline=None)
def test_a_batch_is_stored_like_its_offers(
    steps: list[tuple[int, set[int], int, bool, int, bool, set[int]]],
) -> None:
    config = OfferConfig(max_offers=12, max_offers_per_provider=7, max_offers_per_content=2)
    together, singly = OfferStore(config), OfferStore(config)
    now = START
    latest: dict[tuple[int, int], Offer] = {}
    for holder, numbers, hours, follows, later, own, withdrawn in steps:
        now += later * HOUR
        for store in (together, singly):
            store.handle_timer(now)
        signings = [
            Signing(one, latest.get((holder, number)) if follows else None, number in withdrawn, hours * HOUR)
            for number, one in zip(sorted(numbers), wanted(numbers, hours), strict=True)
            if hours <= 48
        ]
        if not signings:
            continue
        offers = whole(sign_offers(identity(holder), signings, now))
        latest.update({(holder, CONTENTS.index(offer.content)): offer for offer in offers})
        acks = [singly.add(alone(offer), now, own=own) for offer in offers]
        if len(offers) > 1:
            assert together.add_batch(offers, now, own=own) == acks
        else:
            assert [together.add(offers[0], now, own=own)] == acks
        assert {offer.key: offer.body for offer in together} == {offer.key: offer.body for offer in singly}
        assert len(together) == len(singly) == len(list(together))
        live = sum(not offer.withdrawn for offer in together)
        assert together.offer_count == singly.offer_count == live
        batches = {offer.signed for offer in together if isinstance(offer.signed, SignedBatch)}
        others = [offer.signed.size for offer in together if not isinstance(offer.signed, SignedBatch)]
        assert together.stored_bytes == sum(batch.size for batch in batches) + sum(others)
    now += MAX_LIFETIME_S + 2 * HOUR
    for store in (together, singly):
        store.handle_timer(now)
        assert (len(store), store.stored_bytes, store.next_timer()) == (0, 0, None)


@dataclass
class Life:
    """A node from one start to its death, with what its disk has to hold."""

    directory: Path
    now: float
    sweep_from: int  # due offers that are renewed under one signature
    seqs: dict[bytes, int] = field(default_factory=dict)  # the highest ever given
    live: dict[bytes, int] = field(default_factory=dict)  # content -> price, of own offers

    def begin(self) -> None:
        """A start out of what the disk has."""
        me = identity(1)
        engine = Engine(KadConfig(), me.peer_id, now=self.now, entropy=Random(1).randbytes)
        self.offers = OfferProtocol(me, engine, OfferConfig(sweep_from=self.sweep_from))
        database = OfferDatabase(self.directory)
        for signed, own in database.offers():
            self.offers.restore(signed, bool(own), self.now)
        batches = database.batches()
        taken = [
            self.offers.restore_batch(row.signed, bool(row.own), dead, self.now) for row, dead in batches
        ]
        self.journal = Journal(
            database, StorageConfig(write_behind_s=0.0, sweep_interval_s=0.0), lambda: self.now
        )
        for batch, (row, dead) in zip(taken, batches, strict=True):
            self.journal.took_up(batch, row, dead)
        self.offers.own.seq_floor = database.seq_floor()
        self.journal.forget(self.offers.own.take_stale())
        self.offers.store.changes.collect()

    async def keep(self) -> None:
        """What has changed is on disk."""
        if changes := self.offers.store.changes.take():
            await self.journal.keep(changes)

    async def die(self) -> None:
        """Everything acknowledged is on disk; what is not closed was killed."""
        await self.keep()
        copy = Path(tempfile.mkdtemp())
        shutil.copytree(self.directory, copy, dirs_exist_ok=True)
        await self.journal.close()
        shutil.rmtree(self.directory)
        self.directory = copy

    def check(self) -> None:
        """What it offers is what was acknowledged; what was withdrawn is nowhere."""
        assert {offer.content: offer.price_per_mb for offer in self.offers.own} == self.live
        for offer in self.offers.store:
            if offer.provider == self.offers.own._identity.peer_id and not offer.withdrawn:
                assert self.live.get(offer.content) == offer.price_per_mb

    def announce(self) -> None:
        """What is due is renewed, as the schedule has it."""
        self.offers.handle_timer(self.now)
        own = self.offers.own
        while due := own.take_sweep(self.now):
            own.on_announced_many(due, None, self.now)
            own.on_swept()
        for offer in own.take_due(self.now):
            own.on_announced(offer, None, self.now)


LIFE_STEP = st.one_of(
    st.tuples(st.just("register"), SETS, st.integers(1, 9)),
    st.tuples(st.just("withdraw"), st.integers(0, 7)),
    st.tuples(st.just("wait"), st.sampled_from([1, 12, 23, 47, 73, 130])),
    st.tuples(st.just("stranger"), SETS, st.integers(1, 9)),
    st.tuples(st.just("restart")),
    st.tuples(st.just("set back"), st.sampled_from([1, 30, 200])),
)


@given(st.lists(LIFE_STEP, max_size=20), st.sampled_from([1, 64]))
# The tombstone's own time ends, in one life: what it took back must not be left on disk.
@example([("register", {0, 1}, 1), ("withdraw", 0), ("wait", 130), ("register", {2}, 1)], 1)
@example([("register", {0, 1}, 1), ("withdraw", 0), ("withdraw", 1), ("wait", 130), ("register", {2}, 1)], 1)
@example([("register", {0, 1}, 1), ("wait", 130), ("withdraw", 0), ("wait", 130), ("register", {2}, 1)], 1)
@example(
    [("register", {0}, 1), ("register", {0, 1}, 2), ("withdraw", 0), ("wait", 130), ("register", {2}, 1)], 1
)
@example(
    [
        *(("register", {0, 1}, 1), ("withdraw", 0), ("wait", 130), ("register", {2}, 1), ("restart",)),
        *(("set back", 200), ("register", {0}, 1)),
    ],
    1,
)
@example([("register", {0, 1}, 1), ("restart",), ("withdraw", 0), ("wait", 130), ("register", {2}, 1)], 1)
@settings(deadline=None, max_examples=60)
def test_nothing_acknowledged_is_lost_and_nothing_withdrawn_comes_back(
    steps: list[tuple[object, ...]], sweep_from: int
) -> None:
    async def main() -> None:
        life = Life(Path(tempfile.mkdtemp()), START, sweep_from)
        life.begin()
        try:
            for step in [*steps, ("restart",)]:
                await take(life, step)
                await life.keep()
                life.check()
        finally:
            await life.journal.close()
            shutil.rmtree(life.directory)

    asyncio.run(main())


async def take(life: Life, step: tuple[object, ...]) -> None:
    match step:
        case "register", set() as numbers, int(price):
            sweep = life.offers.register_many(wanted(numbers, price), life.now)
            life.offers.on_ended(sweep, None, life.now)
            life.live.update({CONTENTS[number]: price for number in numbers})
            for offer in sweep.offers:
                assert offer.seq > life.seqs.get(offer.content, 0), "or nobody else would believe it"
                life.seqs[offer.content] = offer.seq
        case "withdraw", int(number) if CONTENTS[number] in life.live:
            announcement = life.offers.withdraw(CONTENTS[number], b"u", life.now)
            life.offers.on_ended(announcement, None, life.now)
            life.seqs[CONTENTS[number]] = announcement.offer.seq
            del life.live[CONTENTS[number]]
        case "set back", int(hours):
            life.now -= hours * HOUR
        case "wait", int(hours):
            life.now += hours * HOUR
            life.announce()
        case "stranger", set() as numbers, int(price):
            signings = [Signing(one) for one in wanted(numbers, price)]
            offers = whole(sign_offers(identity(2), signings, life.now))
            batch = offers[0].signed
            encoded = encode_store([offers[0].envelope])
            if isinstance(batch, SignedBatch):
                encoded = encode_store([], [batch.data])
            reply = life.offers.handle_request(identity(2).peer_id, encoded, life.now)
            assert set(reply[2:]) <= {Ack.STORED, Ack.SUPERSEDED}  # the last: one seq signed twice
        case ("restart",):
            await life.die()
            life.now += 1
            life.begin()
        case _:
            pass
