"""What was restored from disk keeps its part beside what comes after the restart, and no more than that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastmarket.config import KadConfig, OfferConfig
from fastmarket.core.restoring import restore_records
from fastmarket.kad.records.record import Record
from fastmarket.offers.model.offer import sign_offer
from fastmarket.offers.wire.messages import Ack
from tests.unit.offers.test_flood import Storer, batch, content
from tests.virtual import START, VirtualNetwork, identity, terms

FLOODED = [bytes((60 + number, 1)) for number in range(4)]
ELSEWHERE = b"\x08\x08"
# Of what there is, four blocks get so much beside what was restored.
FLOODS_PART = 0.2


def restart(storer: Storer) -> Storer:
    """The same node after a restart; it takes up in any order."""
    after = Storer(storer.offers.config)
    kept = sorted((offer.envelope for offer in storer.offers.store), key=lambda one: one[-8:])
    for envelope in kept:
        after.offers.restore(envelope, False, START)
    assert len(after.offers.store) == len(storer.offers.store)
    return after


@pytest.mark.parametrize("one_content", [False, True])
def test_a_flood_after_a_restart_gets_the_part_of_its_blocks(one_content: bool) -> None:
    """A full store, and a full content, of holders in a block each."""
    room = 300
    bound = {"max_offers_per_content": room} if one_content else {"max_offers": room}
    storer = Storer(replace(OfferConfig(), **bound))
    for number in range(room):
        name = "one" if one_content else number
        offer = sign_offer(identity(number), terms(5, content=content(name)), START)
        assert storer.store(number, offer, block=bytes((number % 256, number // 256))) == {Ack.STORED: 1}
    storer = restart(storer)
    for number in range(3 * room):
        name = "one" if one_content else ("flood", number)
        cheap = sign_offer(identity(10_000 + number), terms(0, content=content(name)), START)
        storer.store(10_000 + number, cheap, block=FLOODED[number % 4])
    taken = sum(storer.held(identity(10_000 + number)) for number in range(3 * room))
    assert 0 < taken <= room * (FLOODS_PART + 0.05)


def test_a_flood_that_was_restored_keeps_no_holder_out() -> None:
    room = 320
    storer = Storer(OfferConfig(max_offers=room))
    for number in range(room):
        made = sign_offer(identity(10_000 + number), terms(0, content=content(number)), START)
        storer.store(10_000 + number, made, block=FLOODED[number % 4])
    storer = restart(storer)
    kept = [sign_offer(identity(5), terms(5, content=content(("honest", n))), START) for n in range(15)]
    for offer in kept:
        assert storer.store(5, offer, block=ELSEWHERE) == {Ack.STORED: 1}
    assert storer.held(identity(5)) == len(kept)


def test_restored_batches_count_likewise() -> None:
    storer = Storer(OfferConfig(max_offers=320))
    for number in range(20):
        whole = batch(identity(100 + number), [(number, n) for n in range(16)])
        storer.offers.restore_batch(whole.data, False, (), START)
    assert len(storer.offers.store) == 320
    for number in range(100):
        whole = batch(identity(10_000 + number), [("flood", number, n) for n in range(16)])
        storer.store(10_000 + number, whole, block=FLOODED[number % 4])
    assert (
        sum(storer.held(identity(100 + number)) for number in range(20)) >= 320 * (1 - FLOODS_PART) - 16 * 2
    )


def test_all_values_are_restored_whoever_published_them() -> None:
    """Most name no publisher, and one sender may not use most of the room."""
    kad = replace(KadConfig(), max_records=100, max_record_store_bytes=110_000)
    core = VirtualNetwork.immediate(kad=kad).add().core
    kept = [
        Record(b"/pk/" + b"%d" % n, bytes(1000), START, START + 1000.0, b"" if n % 3 else b"peer")
        for n in range(100)
    ]
    restore_records(core, [(record, False) for record in kept], START)
    assert sum(core.records.get(record.key, START) == record for record in kept) == 100
