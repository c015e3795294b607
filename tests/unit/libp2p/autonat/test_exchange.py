"""A client and a server of AutoNAT v2, joined by bytes: who is dialed, what it costs, what is believed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from fastmarket.errors import PeerFault
from fastmarket.formats.identity import Identity
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.libp2p.autonat.client import DialAsk, DialBackResponder, DialOutcome, PendingAsks, Verdict
from fastmarket.libp2p.autonat.messages import (
    MAX_DATA_BYTES,
    MIN_DATA_BYTES,
    DataRequest,
    DialResponse,
    DialStatus,
    ResponseStatus,
    data_frame,
    data_request_frame,
    decode,
    dial_back_answer_frame,
    dial_back_frame,
    request_frame,
    response_frame,
)
from fastmarket.libp2p.autonat.server import (
    ALL_RPM,
    COSTLY_RPM,
    MAX_DIALS,
    MAX_DIALS_PER_PEER,
    MAX_WAIT_S,
    PER_BLOCK_RPM,
    PER_PEER_RPM,
    Dial,
    DialServer,
    ServerSession,
)

START = 1_000.0
NONCE = 77


def tcp(ip: str, port: int = 4001) -> Multiaddr:
    return Multiaddr.from_endpoint(ip, port)


def peer_at(ip: str, number: int = 1) -> RemotePeer:
    key = Identity.from_seed(hashlib.sha256(b"asker %d" % number).digest())
    return RemotePeer.at(key.peer_id, tcp(ip, 50_000))


def server(is_willing: Callable[[Multiaddr], bool] = lambda addr: True) -> DialServer:
    return DialServer(lambda count: b"\x80" * count, is_willing)


def answer_of(out: bytes) -> DialResponse:
    decoded = decode(out[1:])
    assert isinstance(decoded, DialResponse)
    return decoded


def asked(session: ServerSession, *addrs: Multiaddr) -> bytes:
    return session.feed(request_frame(addrs, NONCE), START)


def test_the_askers_own_host_is_dialed_for_nothing() -> None:
    asker = peer_at("5.6.7.8")
    session = server().open(asker, START)
    assert asked(session, tcp("5.6.7.8", 9), tcp("5.6.7.8", 10)) == b""
    assert session.dial == Dial(asker.peer_id, tcp("5.6.7.8", 9), 0, NONCE, 0.0)
    told = answer_of(session.dialed(DialStatus.NO_CONNECTION))
    assert told == DialResponse(ResponseStatus.OK, 0, DialStatus.NO_CONNECTION)
    assert session.dial is None


def test_the_first_address_that_may_be_dialed_is_chosen_and_named_by_its_place() -> None:
    session = server(lambda addr: "9.9" in str(addr)).open(peer_at("9.9.9.9"), START)
    body = request_frame([tcp("10.0.0.1"), tcp("9.9.9.9")], NONCE)
    assert session.feed(body[:7], START) == b""  # in any pieces
    assert session.dial is None
    session.feed(body[7:], START)
    assert session.dial is not None
    assert answer_of(session.dialed(DialStatus.OK)).index == 1


def test_an_address_of_another_peer_id_is_not_dialed() -> None:
    session = server().open(peer_at("5.6.7.8"), START)
    other = peer_at("5.6.7.8", 2).peer_id
    assert answer_of(asked(session, tcp("5.6.7.8").with_peer(other))).status is ResponseStatus.REFUSED


def test_nothing_to_dial_is_refused() -> None:
    session = server(lambda addr: False).open(peer_at("5.6.7.8"), START)
    assert answer_of(asked(session, tcp("5.6.7.8"))).status is ResponseStatus.REFUSED
    assert session.is_finished
    assert session.dial is None


def test_another_host_costs_more_than_dialing_it_and_waits_a_random_while() -> None:
    session = server().open(peer_at("5.6.7.8"), START)
    price = decode(asked(session, tcp("9.9.9.9"))[1:])
    assert isinstance(price, DataRequest)
    assert MIN_DATA_BYTES <= price.byte_count <= MAX_DATA_BYTES
    left = price.byte_count
    while left > 4096:
        session.feed(data_frame(4096), START)
        left -= 4096
        assert session.dial is None
    session.feed(data_frame(4096), START)  # the last piece may be longer than is due
    assert session.dial is not None
    assert session.dial.addr == tcp("9.9.9.9")
    assert 0.0 < session.dial.wait_s < MAX_WAIT_S


def test_an_asker_whose_address_is_not_known_pays() -> None:
    asker = replace(peer_at("5.6.7.8"), addr=None)
    session = server().open(asker, START)
    assert isinstance(decode(asked(session, tcp("5.6.7.8"))[1:]), DataRequest)


@pytest.mark.parametrize("size", [0, 1, 99])
def test_dial_data_in_crumbs_ends_the_request(size: int) -> None:
    session = server().open(peer_at("5.6.7.8"), START)
    asked(session, tcp("9.9.9.9"))
    with pytest.raises(PeerFault, match="crumbs"):
        session.feed(data_frame(size), START)
    assert session.dial is None


@pytest.mark.parametrize("early", [True, False])
def test_data_that_was_not_asked_for_and_second_requests_end_it(early: bool) -> None:
    session = server().open(peer_at("5.6.7.8"), START)
    if not early:
        asked(session, tcp("5.6.7.8"))
    with pytest.raises(PeerFault, match="unexpected"):
        session.feed(data_frame(4096), START)


def rejected(made: DialServer, remote: RemotePeer, now: float, target: str = "") -> bool:
    """Whether one more request is; the stream has ended by then."""
    session = made.open(remote, now)
    assert remote.addr is not None
    out = session.feed(request_frame([tcp(target) if target else remote.addr], NONCE), now)
    session.close()
    return bool(out) and decode(out[1:]) == DialResponse(ResponseStatus.REJECTED)


def test_a_peer_a_block_and_all_together_have_their_rates() -> None:
    made = server()
    assert [rejected(made, peer_at("5.6.7.8"), START) for _ in range(PER_PEER_RPM + 1)].count(True) == 1
    assert not rejected(made, peer_at("5.6.7.8"), START + 60 / PER_PEER_RPM)  # one more, a while later
    made = server()
    block = [rejected(made, peer_at(f"5.6.7.{n}", n), START) for n in range(PER_BLOCK_RPM + 1)]
    assert block.count(True) == 1
    everybody = [rejected(made, peer_at(f"{n + 11}.6.7.8", n + 100), START) for n in range(ALL_RPM)]
    assert everybody.count(True) == PER_BLOCK_RPM  # what was turned away before took nothing


def test_requests_that_cost_dial_data_have_a_rate_of_their_own() -> None:
    made = server()
    costly = [rejected(made, peer_at(f"{n + 11}.6.7.8", n), START, "9.9.9.9") for n in range(COSTLY_RPM + 1)]
    assert costly.count(True) == 1
    assert not rejected(made, peer_at("8.8.8.8", 99), START)


def test_few_are_dialed_at_once_and_a_closed_stream_frees_its_place() -> None:
    made = server()
    sessions = [made.open(peer_at("5.6.7.8"), START) for _ in range(MAX_DIALS_PER_PEER)]
    assert rejected(made, peer_at("5.6.7.8"), START)
    sessions[0].close()
    sessions[0].close()  # frees one place, however often
    assert not rejected(made, peer_at("5.6.7.8"), START)
    made = server()
    held = [made.open(peer_at(f"{n + 11}.6.7.8", n), START) for n in range(MAX_DIALS)]
    assert rejected(made, peer_at("8.8.8.8", 99), START)
    held[0].close()
    assert not rejected(made, peer_at("8.8.8.8", 99), START)


# --- the client


def answered(response: DialResponse, *, nonce_from: str = "") -> Verdict:
    """What the client concludes from that answer about two addresses; the nonce came on a connection from
    there."""
    ask = DialAsk([tcp("5.6.7.8"), tcp("2a00::1")], NONCE)
    asks = PendingAsks(lambda one: None)
    asks.add(ask)
    if nonce_from:
        asks.take(NONCE, peer_at(nonce_from, 9))
    assert list(ask.feed(response_frame(response))) == []
    return ask.verdict()


OK = ResponseStatus.OK


def test_a_dial_is_believed_by_its_nonce() -> None:
    told = DialResponse(OK, 0, DialStatus.OK)
    assert answered(told, nonce_from="9.9.9.9") == Verdict(DialOutcome.REACHED, tcp("5.6.7.8"))
    assert answered(told).outcome is DialOutcome.NOTHING
    # It came by IPv4, so it says nothing of an IPv6 address.
    assert answered(replace(told, index=1), nonce_from="9.9.9.9").outcome is DialOutcome.NOTHING


def test_a_nonce_counts_even_if_the_server_says_that_it_failed_to_send_it() -> None:
    told = DialResponse(OK, 0, DialStatus.NO_DIAL_BACK)
    assert answered(told, nonce_from="9.9.9.9").outcome is DialOutcome.REACHED
    assert answered(told).outcome is DialOutcome.NOTHING


def test_no_connection_is_a_vote_and_a_refusal_is_none() -> None:
    told = DialResponse(OK, 1, DialStatus.NO_CONNECTION)
    assert answered(told) == Verdict(DialOutcome.NOT_REACHED, tcp("2a00::1"))
    assert answered(DialResponse(ResponseStatus.REFUSED)).outcome is DialOutcome.REFUSED
    assert answered(DialResponse(ResponseStatus.REJECTED)).outcome is DialOutcome.NOTHING


@pytest.mark.parametrize(
    "out",
    [
        response_frame(DialResponse(OK, 2, DialStatus.OK)),
        response_frame(DialResponse(OK, 0, DialStatus.UNUSED)),
        response_frame(DialResponse(ResponseStatus.REJECTED)) * 2,
        data_request_frame(DataRequest(2, MIN_DATA_BYTES)),
        data_request_frame(DataRequest(0, MAX_DATA_BYTES + 1)),
        data_request_frame(DataRequest(0, MIN_DATA_BYTES)) * 2,
        data_frame(1),
    ],
)
def test_a_server_that_breaks_the_protocol_is_left(out: bytes) -> None:
    with pytest.raises(PeerFault):
        list(DialAsk([tcp("5.6.7.8"), tcp("2a00::1")], NONCE).feed(out))


def test_the_price_is_paid_to_the_byte() -> None:
    ask = DialAsk([tcp("5.6.7.8")], NONCE)
    paid = list(ask.feed(data_request_frame(DataRequest(0, 30_001))))
    assert len(paid) == 8
    assert sum(len(one) for one in paid) - 30_001 < 10 * len(paid)


def test_client_and_server_understand_each_other() -> None:
    ask, session = DialAsk([tcp("9.9.9.9")], NONCE), server().open(peer_at("5.6.7.8"), START)
    for out in ask.feed(session.feed(ask.request(), START)):
        session.feed(out, START)
    assert session.dial is not None
    assert list(ask.feed(session.dialed(DialStatus.NO_CONNECTION))) == []
    assert ask.verdict() == Verdict(DialOutcome.NOT_REACHED, tcp("9.9.9.9"))


def test_a_nonce_is_taken_once_answered_and_the_stream_closed() -> None:
    heard: list[DialAsk] = []
    ask, asks = DialAsk([tcp("5.6.7.8")], NONCE), PendingAsks(heard.append)
    asks.add(ask)
    responder = asks.responders()(peer_at("9.9.9.9"))
    out = dial_back_frame(NONCE)
    assert responder.on_data(out[:3], START) == b""
    assert not responder.is_finished
    assert responder.on_data(out[3:], START) == dial_back_answer_frame()
    assert responder.is_finished
    assert heard == [ask]
    with pytest.raises(PeerFault, match="twice"):
        responder.on_data(out, START)


def test_a_nonce_that_nobody_waits_for_resets_the_stream() -> None:
    ask, asks = DialAsk([tcp("5.6.7.8")], NONCE), PendingAsks(lambda one: None)
    asks.add(ask)
    with pytest.raises(PeerFault, match="unknown nonce"):
        DialBackResponder(peer_at("9.9.9.9"), asks).on_data(dial_back_frame(NONCE + 1), START)
    asks.drop(ask)
    with pytest.raises(PeerFault, match="unknown nonce"):
        DialBackResponder(peer_at("9.9.9.9"), asks).on_data(dial_back_frame(NONCE), START)
    assert ask.families == set()
