"""A clock that is wrong: who refuses says why, who is refused learns by how much, and one liar raises no
alarm."""

from __future__ import annotations

from functools import partial

import pytest

from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.offers.announce.clocks import MANY_REFUSED, TELL_AGAIN_S, VOICE_S, ClockWatch, wrong_clock
from fastmarket.offers.announce.sweep import SweepResult
from fastmarket.offers.model.offer import sign_offer
from fastmarket.offers.model.refusals import Refusal
from fastmarket.offers.wire.messages import (
    OF_CLOCKS,
    WITH_REASON,
    Ack,
    decode_store_reply,
    encode_acks,
    encode_store,
)
from fastmarket.pb.fastmarket.v1 import offer_pb2 as pb
from tests.virtual import START, VirtualNetwork, VirtualNode, identity, terms


def peer(number: int, ip: str) -> PeerInfo:
    return PeerInfo(identity(number).peer_id, (Multiaddr.from_text(f"/ip4/{ip}/tcp/4001"),))


SEVERAL = [peer(n, f"8.{n}.8.8") for n in range(1, 10)]  # each in a block of its own
CROWD = [peer(n, "9.9.9.9") for n in range(20, 40)]


def test_several_that_agree_are_believed_and_one_is_not() -> None:
    watch = ClockWatch()
    watch.on_refused(SEVERAL[0], START - 600, START)
    assert watch.wrong_by(START) is None
    assert watch.complained(START) == "this node's clock is about 600 s ahead of the peers that refused"
    watch.on_refused(SEVERAL[1], START - 610, START)
    assert watch.wrong_by(START) == 605
    assert watch.offset_s(START) == 605
    assert watch.warning(START) == 605
    assert watch.warning(START + TELL_AGAIN_S / 2) is None
    assert "605 s ahead of" in wrong_clock(605)
    assert watch.wrong_by(START + VOICE_S) is None, "what was said long ago counts no more"


def test_liars_of_one_machine_have_one_voice() -> None:
    watch = ClockWatch()
    for liar in CROWD:
        watch.on_refused(liar, START - 5000, START)
    assert watch.wrong_by(START) is None
    for honest in SEVERAL[:2]:
        watch.on_accepted(honest, START)
    watch.on_refused(SEVERAL[5], START - 5000, START)
    assert watch.wrong_by(START) is None, "two say so and two find nothing wrong"
    assert watch.offset_s(START) == 2500
    watch.on_accepted(SEVERAL[5], START)
    assert watch.offset_s(START) == 0


def test_those_that_disagree_on_the_side_are_no_majority() -> None:
    watch = ClockWatch()
    for number, offset in enumerate((600, -600, 700, -700)):
        watch.on_refused(SEVERAL[number], START - offset, START)
    assert watch.wrong_by(START) is None


@pytest.mark.parametrize("theirs", [START, START - 30, 0.0, 2.0**63])
def test_a_time_that_is_no_reason_to_refuse_says_nothing(theirs: float) -> None:
    watch = ClockWatch()
    for one in SEVERAL:
        if theirs in (0.0, 2.0**63):
            assert watch.on_refused(one, theirs, START * 1e3) is None or theirs == 0.0
        else:
            assert watch.on_refused(one, theirs, START) is None
    assert watch.wrong_by(START) is None


def test_a_storer_that_refuses_many_tells_its_own_operator_once_in_a_while() -> None:
    watch = ClockWatch()
    told = [watch.on_refused_here(START + n) for n in range(100)]
    assert [count for count in told if count] == [MANY_REFUSED]
    assert watch.on_refused_here(START + TELL_AGAIN_S + 100) == 100 - MANY_REFUSED + 1


@pytest.mark.parametrize("refusal", list(Refusal))
def test_every_reason_of_a_refusal_travels(refusal: Refusal) -> None:
    if refusal in (Refusal.SUPERSEDED, Refusal.FULL):
        return  # the acknowledgement says it
    ack = Ack.EXPIRED if refusal is Refusal.EXPIRED else Ack.INVALID
    assert ack in WITH_REASON
    reply = decode_store_reply(encode_acks([Ack.STORED, ack], [refusal], START))
    assert reply.acks == (Ack.STORED, ack)
    assert reply.reasons == (refusal,)
    assert reply.now == (START if refusal in OF_CLOCKS else None)


def test_older_nodes_are_understood_and_understand() -> None:
    old = decode_store_reply(pb.OfferReply(acks=[pb.ACK_INVALID]).SerializeToString())
    assert (old.acks, old.reasons, old.now) == ((Ack.INVALID,), (None,), None)
    new = pb.OfferReply.FromString(encode_acks([Ack.INVALID], [Refusal.FUTURE], START))
    assert list(new.acks) == [pb.ACK_INVALID]
    unknown = pb.OfferReply(acks=[pb.ACK_INVALID] * 2, reasons=[77]).SerializeToString()
    assert decode_store_reply(unknown).reasons == (None, None)
    many = pb.OfferReply(acks=[pb.ACK_STORED], reasons=[pb.REASON_FUTURE] * 9).SerializeToString()
    assert decode_store_reply(many).reasons == ()


def ahead(nodes: list[VirtualNode], by_s: float) -> None:
    """All but the first have a clock so far behind."""
    for node in nodes[1:]:
        node.answer = partial(behind, node, by_s)


def behind(
    node: VirtualNode, by_s: float, sender: PeerId, protocol: str, body: bytes, now: float
) -> bytes | None:
    return node.respond(sender, protocol, body, now - by_s)


@pytest.mark.parametrize(
    ("by_s", "why"),
    [(1200.0, "issued in the future by 1200 s"), (-72 * 3600.0, "expired by their clocks")],
)
@pytest.mark.parametrize("count", [1, 70])
def test_a_registration_that_fails_for_the_clock_says_so(by_s: float, why: str, count: int) -> None:
    net = VirtualNetwork.immediate()
    nodes = net.mesh(4)
    ahead(nodes, by_s)
    offers = nodes[0].offers
    assert offers is not None
    if count == 1:
        made = offers.register(terms(), net.now, 10.0)
        nodes[0].run_announcement(made)
        outcome = made.job.so_far().outcome
    else:
        many = [terms(content=b"\x12\x20" + bytes([n]) * 32) for n in range(count)]
        sweep = offers.register_many(many, net.now, 10.0)
        result = nodes[0].run_announcement(sweep).result
        assert isinstance(result, SweepResult)
        outcomes = [one for _, one in result.outcomes]
        assert len(outcomes) == count
        outcome = outcomes[0]
    assert not outcome.is_reached
    assert outcome.why == f"3 refused: {why}"
    assert net.now < START + 2, "it would be refused again: nobody waits for that"
    assert offers.clock.wrong_by(net.now) == pytest.approx(by_s, abs=2)
    refuser = nodes[1].offers
    assert refuser is not None
    assert sum(refuser.refusals.values()) == count


def test_many_refusals_for_times_are_told_to_the_storers_operator() -> None:
    net = VirtualNetwork.immediate()
    nodes = net.mesh(2)
    storer = nodes[1].offers
    assert storer is not None
    told: list[int] = []
    for number in range(3 * MANY_REFUSED):
        early = sign_offer(identity(number + 50), terms(), net.now + 7200)
        storer.handle_request(nodes[0].peer_id, encode_store([early.envelope]), net.now)
        if count := storer.take_refused_count():
            told.append(count)
    assert told == [MANY_REFUSED]
