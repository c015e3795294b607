"""What a storer refuses costs it no signature, and a flood takes no more than its share of the work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import count, islice

import pytest

from fastmarket.config import OfferConfig
from fastmarket.formats.identity import PeerId
from fastmarket.kad.records.shares import NEARBY
from fastmarket.offers.model.offer import Offer, Signing, sign_offer, sign_offers
from fastmarket.offers.model.refusals import Refusal
from fastmarket.offers.wire.messages import Ack, decode_store_reply, encode_store
from tests.unit.offers.test_flood import batch, content, distance
from tests.virtual import START, VirtualNetwork, identity, terms

BLOCKS = [bytes((60 + n, 1)) for n in range(4)]
ELSEWHERE = b"\x08\x08"


class Storer:
    """A node under flood; counts the signatures that it checks."""

    def __init__(self, config: OfferConfig | None = None) -> None:
        node = VirtualNetwork.immediate(offers=config or OfferConfig()).add()
        self.identity, self.offers = node.identity, node.offers

    @property
    def verified(self) -> int:
        return self.offers.verifier.verified_count

    def store(
        self, sender: PeerId, envelopes: Sequence[bytes], block: bytes, now: float = START
    ) -> tuple[Ack, ...]:
        reply = self.offers.handle_request(sender, encode_store(envelopes), now, block)
        return decode_store_reply(reply).acks


def forged(number: int) -> bytes:
    envelope = bytearray(sign_offer(identity(number), terms(content=content(number)), START).envelope)
    envelope[-1] ^= 1
    return bytes(envelope)


def test_what_has_expired_or_is_superseded_or_from_the_future_is_not_verified() -> None:
    storer = Storer()
    first = sign_offer(identity(50), terms(3), START)
    second = sign_offer(identity(50), terms(4), START, previous=first)
    assert storer.store(second.provider, [second.envelope], ELSEWHERE) == (Ack.STORED,)
    assert storer.verified == 1
    old = sign_offer(identity(51), terms(), START - 50 * 3600)
    early = sign_offer(identity(52), terms(), START + 3600)
    wanted = (Ack.SUPERSEDED, Ack.EXPIRED, Ack.INVALID)
    assert storer.store(first.provider, [one.envelope for one in (first, old, early)], ELSEWHERE) == wanted
    assert storer.verified == 1
    assert storer.offers.refusals == {Refusal.SUPERSEDED: 1, Refusal.EXPIRED: 1, Refusal.FUTURE: 1}


def test_a_claim_is_not_believed() -> None:
    """What claims to be newer than the held version is verified before it replaces it."""
    storer = Storer()
    held = sign_offer(identity(50), terms(3), START)
    newer = bytearray(sign_offer(identity(50), terms(4), START + 1, previous=held).envelope)
    newer[-1] ^= 1
    assert storer.store(held.provider, [held.envelope], ELSEWHERE) == (Ack.STORED,)
    assert storer.store(held.provider, [bytes(newer)], ELSEWHERE) == (Ack.INVALID,)
    assert storer.offers.store.get(held.key) == held


@pytest.mark.parametrize("senders", [1, 2000])
def test_forged_offers_are_verified_only_until_their_blocks_had_their_share(senders: int) -> None:
    storer = Storer()
    acks: Counter[Ack] = Counter()
    for number in range(4000):
        sender = identity(2_000_000 + number % senders).peer_id
        acks.update(storer.store(sender, [forged(number)], BLOCKS[number % 4]))
    assert acks[Ack.FULL] > 2000
    assert storer.verified == acks[Ack.INVALID] < 2000
    honest = sign_offer(identity(6), terms(content=content("honest")), START)
    assert storer.store(honest.provider, [honest.envelope], ELSEWHERE) == (Ack.STORED,)


def test_on_a_private_network_one_that_forges_keeps_no_other_out() -> None:
    storer = Storer()
    forger = identity(5).peer_id
    acks = Counter(storer.store(forger, [forged(number)], NEARBY)[0] for number in range(2000))
    assert acks[Ack.FULL] > 500
    for number in range(50):
        honest = sign_offer(identity(6), terms(content=content(("honest", number))), START)
        assert storer.store(honest.provider, [honest.envelope], NEARBY) == (Ack.STORED,)


def test_a_flood_from_four_blocks_keeps_no_honest_offer_out_and_costs_few_signatures() -> None:
    """The mark, in virtual time: each message takes the node 1/10,000 s, single offers of ever new identities
    beside whole batches; honest holders, each of a block of its own, offer contents near the node."""
    config = OfferConfig(max_offers=3000, max_stored_bytes=3000 * 672, max_work_share=0.02)
    storer = Storer(config)
    near = (one for one in count() if distance(storer, content(one)) >> 250 == 0)  # type: ignore[arg-type]
    honest: list[Offer] = []
    acks: Counter[Ack] = Counter()
    now = START
    whole = [batch(identity(7000 + n), [("b", n, m) for m in range(256)]) for n in range(40)]
    for number in range(8000):
        now += 1e-4
        block = BLOCKS[number % 4]
        if number % 8 == 0:
            one = whole[number // 8 % 40]
            body = encode_store([], [one.data])
            reply = storer.offers.handle_request(identity(7000).peer_id, body, now, block)
            acks.update(decode_store_reply(reply).acks)
        else:
            made = sign_offer(identity(100_000 + number), terms(content=content(("f", number))), START)
            acks.update(storer.store(made.provider, [made.envelope], block, now))
        if number % 100 == 0 and number < 6000:
            (name,) = islice(near, 1)
            mine = sign_offer(identity(500_000 + number), terms(content=content(name)), START)
            source = bytes((100, number // 100))
            assert storer.store(mine.provider, [mine.envelope], source, now) == (Ack.STORED,), number
            honest.append(mine)
    kept = sum(storer.offers.store.get(one.key) is not None for one in honest)
    assert (len(honest), kept) == (60, 60)
    assert acks[Ack.FULL] > acks[Ack.STORED]
    assert storer.verified < 8000 / 4, "as many messages brought signatures that it had never seen"
    assert len(storer.offers.store) <= 3000


def test_the_share_of_work_comes_back_with_time() -> None:
    storer = Storer()
    for number in range(1000):
        storer.store(identity(5).peer_id, [forged(number)], BLOCKS[0])
    mine = sign_offer(identity(5), terms(content=content("mine")), START)
    assert storer.store(mine.provider, [mine.envelope], BLOCKS[0]) == (Ack.FULL,)
    assert storer.store(mine.provider, [mine.envelope], BLOCKS[0], START + 60) == (Ack.STORED,)


def test_a_holder_with_as_many_offers_as_it_may_have_registers_them_at_once() -> None:
    """Work is shared among those that want it: one that is alone is not held up."""
    storer = Storer()
    holder = identity(6)
    for number in range(40):
        many = [Signing(terms(content=content((number, n)))) for n in range(256)]
        signed = sign_offers(holder, many, START)[0].signed
        body = encode_store([], [signed.data])  # type: ignore[union-attr]
        reply = storer.offers.handle_request(holder.peer_id, body, START, ELSEWHERE)
        assert set(decode_store_reply(reply).acks) == {Ack.STORED}
    assert storer.offers.work.free(START) > 0.95
