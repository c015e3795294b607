"""What is asked of whom, and what becomes of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.config.bitswap import BitswapConfig
from fastmarket.errors import CallerFault, PeerFault
from fastmarket.exchange.bitswap.client import (
    AskFailed,
    BitswapClient,
    BlockAbsent,
    BlockSent,
    BlockThere,
)
from fastmarket.exchange.bitswap.message import CIDV0_PREFIX, BitswapMessage, BlockPayload
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.cid import sha256_multihash
from tests.unit.bitswap.blocks import block, cid, peer

NOW = 1000.0
DEADLINE = NOW + 10
PREFIX = b"\x01\x55\x12\x20"
ANN, BOB = peer(1), peer(2)


@pytest.fixture
def client() -> BitswapClient:
    return BitswapClient(BitswapConfig())


def message(
    *payloads: bytes, haves: tuple[bytes, ...] = (), absent: tuple[bytes, ...] = ()
) -> BitswapMessage:
    blocks = [BlockPayload(PREFIX, one) for one in payloads]
    return BitswapMessage(payloads=blocks, haves=haves, absent=absent)


def test_wants_go_out_together_and_ask_to_be_told_of_absence(client: BitswapClient) -> None:
    for number in range(3):
        client.ask(ANN, cid(block(number)), NOW, DEADLINE)
    client.ask(BOB, cid(block(0)), NOW, DEADLINE, only_presence=True)
    to_ann, to_bob = client.poll_sends()
    assert (to_ann.peer, [one.cid for one in to_ann.wants]) == (ANN, [cid(block(n)) for n in range(3)])
    assert [one.only_presence for one in (*to_ann.wants, *to_bob.wants)] == [False] * 3 + [True]
    assert all(one.tells_absence for one in (*to_ann.wants, *to_bob.wants))
    priorities = [one.priority for one in to_ann.wants]
    assert priorities == sorted(priorities, reverse=True), "the first asked is the first wanted"
    assert client.poll_sends() == []


def test_a_block_is_matched_by_the_hash_of_its_bytes(client: BitswapClient) -> None:
    one = client.ask(ANN, cid(block(1)), NOW, DEADLINE)
    two = client.ask(ANN, sha256_multihash(block(2)), NOW, DEADLINE)  # as a CIDv0
    client.handle_message(ANN, message(block(2), block(1)), NOW)
    assert client.poll_outcomes() == [BlockSent(two, block(2)), BlockSent(one, block(1))]
    assert not client.is_asked(ANN)


def test_a_block_of_another_hash_function_is_matched_too(client: BitswapClient) -> None:
    data = block(1)
    asked = client.ask(ANN, b"\x01\x55\x13\x40" + hashlib.sha512(data).digest(), NOW, DEADLINE)
    client.handle_message(ANN, BitswapMessage(payloads=[BlockPayload(b"\x01\x55\x13\x40", data)]), NOW)
    assert client.poll_outcomes() == [BlockSent(asked, data)]


def test_a_block_of_version_1_0_is_matched(client: BitswapClient) -> None:
    asked = client.ask(ANN, sha256_multihash(block(1)), NOW, DEADLINE)
    client.handle_message(ANN, BitswapMessage(payloads=[BlockPayload(CIDV0_PREFIX, block(1))]), NOW)
    assert client.poll_outcomes() == [BlockSent(asked, block(1))]


def test_presences_answer_what_they_are_about(client: BitswapClient) -> None:
    there = client.ask(ANN, cid(block(1)), NOW, DEADLINE, only_presence=True)
    client.ask(ANN, cid(block(2)), NOW, DEADLINE)  # the block itself is still to come
    absent = client.ask(ANN, cid(block(3)), NOW, DEADLINE)
    told = message(haves=(cid(block(1)), cid(block(2))), absent=(cid(block(3)), cid(block(4))))
    client.handle_message(ANN, told, NOW)
    assert client.poll_outcomes() == [BlockThere(there), BlockAbsent(absent)]
    assert client.ask_count == 1


def test_nobody_is_asked_for_the_empty_block_which_boxo_never_sends(client: BitswapClient) -> None:
    asked = client.ask(ANN, cid(b""), NOW, DEADLINE)
    assert client.poll_sends() == []
    assert client.poll_outcomes() == [BlockSent(asked, b"")]


def test_answers_of_other_peers_answer_nothing(client: BitswapClient) -> None:
    client.ask(ANN, cid(block(1)), NOW, DEADLINE)
    client.handle_message(BOB, message(block(1), absent=(cid(block(1)),)), NOW)
    assert client.poll_outcomes() == []
    assert client.unwanted_blocks == 1


def test_two_who_ask_for_the_same_block_both_get_it(client: BitswapClient) -> None:
    asked = [client.ask(ANN, cid(block(1)), NOW, DEADLINE) for _ in range(2)]
    (send,) = client.poll_sends()
    assert len(send.wants) == 1
    client.cancel(asked[0], NOW)
    assert client.poll_sends() == [], "the other one still wants it"
    client.handle_message(ANN, message(block(1)), NOW)
    assert client.poll_outcomes() == [BlockSent(asked[1], block(1))]


def test_a_question_about_presence_does_not_weaken_a_want(client: BitswapClient) -> None:
    client.ask(ANN, cid(block(1)), NOW, DEADLINE)
    client.ask(ANN, cid(block(1)), NOW, DEADLINE, only_presence=True)
    (send,) = client.poll_sends()
    assert [one.only_presence for one in send.wants] == [False]


def test_what_is_cancelled_after_it_was_sent_is_taken_back(client: BitswapClient) -> None:
    sent = client.ask(ANN, cid(block(1)), NOW, DEADLINE)
    client.poll_sends()
    unsent = client.ask(ANN, cid(block(2)), NOW, DEADLINE)
    client.cancel(sent, NOW)
    client.cancel(unsent, NOW)
    (send,) = client.poll_sends()
    assert (send.wants, send.cancels) == ((), (cid(block(1)),))
    client.cancel(sent, NOW)
    assert client.poll_outcomes() == []
    again = client.ask(ANN, cid(block(1)), NOW, DEADLINE)
    (send,) = client.poll_sends()
    assert ([one.cid for one in send.wants], send.cancels) == ([cid(block(1))], ())
    client.cancel(again, NOW)


def test_an_outcome_that_was_not_taken_goes_with_its_cancel(client: BitswapClient) -> None:
    asked = client.ask(ANN, cid(block(1)), NOW, DEADLINE)
    client.handle_message(ANN, message(block(1)), NOW)
    client.cancel(asked, NOW)
    assert client.poll_outcomes() == []


def test_a_deadline_ends_an_ask_and_takes_its_want_back(client: BitswapClient) -> None:
    asked = client.ask(ANN, cid(block(1)), NOW, DEADLINE)
    client.poll_sends()
    assert client.next_timer() == DEADLINE
    client.handle_timer(DEADLINE - 0.001)
    assert client.poll_outcomes() == []
    client.handle_timer(DEADLINE)
    assert client.poll_outcomes() == [AskFailed(asked, FailureKind.TIMEOUT)]
    assert client.poll_sends()[0].cancels == (cid(block(1)),)
    assert client.next_timer() is None


def test_a_block_that_comes_too_late_is_no_lie_and_one_that_was_never_asked_for_is(
    client: BitswapClient,
) -> None:
    late = client.ask(ANN, cid(block(1)), NOW, DEADLINE)
    asked = client.ask(ANN, cid(block(2)), NOW, DEADLINE)
    client.cancel(late, NOW)
    client.handle_message(ANN, message(block(1)), NOW)
    assert client.poll_outcomes() == []
    client.handle_message(ANN, message(block(99)), NOW)
    assert client.poll_outcomes() == [AskFailed(asked, FailureKind.PEER_FAULT)]
    assert client.unwanted_blocks == 2


def test_a_peer_that_is_lost_fails_what_was_asked_of_it_alone(client: BitswapClient) -> None:
    asked = [client.ask(ANN, cid(block(n)), NOW, DEADLINE) for n in range(2)]
    other = client.ask(BOB, cid(block(1)), NOW, DEADLINE)
    client.handle_lost(ANN, FailureKind.CLOSED, NOW)
    assert client.poll_outcomes() == [AskFailed(one, FailureKind.CLOSED) for one in asked]
    client.handle_message(BOB, message(block(1)), NOW)
    assert client.poll_outcomes() == [BlockSent(other, block(1))]


def test_asks_of_one_peer_and_asked_peers_are_bounded() -> None:
    client = BitswapClient(replace(BitswapConfig(), max_asks_per_peer=2, max_peers=1))
    asked = [client.ask(ANN, cid(block(n)), NOW, DEADLINE) for n in range(3)]
    assert client.poll_outcomes() == [AskFailed(asked[2], FailureKind.BUSY)]
    client.ask(BOB, cid(block(1)), NOW, DEADLINE)
    assert client.poll_outcomes() == [AskFailed(one, FailureKind.BUSY) for one in asked[:2]]


def test_a_cid_that_contains_its_block_is_not_asked_for(client: BitswapClient) -> None:
    with pytest.raises(CallerFault):
        client.ask(ANN, b"\x01\x55\x00\x03abc", NOW, DEADLINE)


@pytest.mark.parametrize("bad", [BlockPayload(b"\x02\x55\x12\x20", b"x"), BlockPayload(b"", b"x")])
def test_a_malformed_block_is_a_fault_of_the_peer(client: BitswapClient, bad: BlockPayload) -> None:
    client.ask(ANN, cid(block(1)), NOW, DEADLINE)
    with pytest.raises(PeerFault):
        client.handle_message(ANN, BitswapMessage(payloads=[bad]), NOW)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "have", "cancel", "block", "there", "absent", "lost", "send", "later"]),
        st.integers(1, 3),
        st.integers(0, 5),
    ),
    max_size=60,
)


@given(STEPS)
def test_whatever_happens_each_ask_has_one_outcome_or_was_cancelled(
    steps: list[tuple[str, int, int]],
) -> None:
    client = BitswapClient(replace(BitswapConfig(), max_peers=2))
    now, open_asks, ended = NOW, list[int](), list[int]()
    for step, who, number in steps:
        someone, data = peer(who), block(number)
        if step in ("ask", "have"):
            open_asks.append(client.ask(someone, cid(data), now, now + 5, only_presence=step == "have"))
        elif step == "cancel" and open_asks:
            client.cancel(open_asks.pop(number % len(open_asks)), now)
        elif step == "block":
            client.handle_message(someone, message(data), now)
        elif step == "there":
            client.handle_message(someone, message(haves=(cid(data),)), now)
        elif step == "absent":
            client.handle_message(someone, message(absent=(cid(data),)), now)
        elif step == "lost":
            client.handle_lost(someone, FailureKind.CLOSED, now)
        elif step == "send":
            client.poll_sends()
        else:
            now += number
            client.handle_timer(now)
        for outcome in client.poll_outcomes():
            open_asks.remove(outcome.ask)
            ended.append(outcome.ask)
    client.handle_timer(now + 10)
    ended += [outcome.ask for outcome in client.poll_outcomes() if outcome.ask in open_asks]
    assert len(ended) == len(set(ended))
    assert (client.ask_count, client.next_timer()) == (0, None)
