"""Who gets which block when."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.config.bitswap import BitswapConfig
from fastmarket.exchange.bitswap.message import BitswapMessage, BlockWant
from fastmarket.exchange.bitswap.server import BitswapServer, DropPeer, ReadBlock, SendAnswer
from fastmarket.formats.cid import sha256_multihash
from fastmarket.formats.identity import PeerId
from tests.unit.bitswap.blocks import block, cid, peer, want

KIB = 1 << 10
CONFIG = BitswapConfig()


class Shop:
    """A server over blocks in memory, whose reads and writes are made when the test says so."""

    def __init__(self, *blocks: bytes, config: BitswapConfig = CONFIG) -> None:
        self.blocks = {sha256_multihash(one): one for one in blocks}
        self.not_for: set[PeerId] = set()
        self.server = BitswapServer(config, self)
        self.now = 1000.0
        self.reads: list[ReadBlock] = []
        self.answers: list[SendAnswer] = []
        self.dropped: list[PeerId] = []

    def size_for(self, asker: PeerId, multihash: bytes) -> int | None:
        one = None if asker in self.not_for else self.blocks.get(multihash)
        return None if one is None else len(one)

    def hear(
        self, asker: PeerId, *wants: BlockWant, cancels: tuple[bytes, ...] = (), full: bool = False
    ) -> None:
        self.server.handle_message(asker, BitswapMessage(wants, cancels, full), self.now)

    def act(self) -> None:
        """Takes the actions until there are none."""
        while True:
            actions = self.server.poll_actions(self.now)
            if not actions and not self.server.has_more:
                return
            for action in actions:
                if isinstance(action, ReadBlock):
                    self.reads.append(action)
                elif isinstance(action, DropPeer):
                    self.dropped.append(action.peer)
                else:
                    self.answers.append(action)

    def read(self, count: int = 1 << 20) -> None:
        for one in self.reads[:count]:
            self.server.handle_block(one.read, self.blocks.get(one.multihash), self.now)
        del self.reads[:count]

    def serve(self) -> list[SendAnswer]:
        """Reads at once, as long as there is something to read; returns what was answered."""
        self.act()
        while self.reads:
            self.read()
            self.act()
        answers, self.answers = self.answers, []
        return answers

    def sent(self, answers: list[SendAnswer]) -> None:
        for one in answers:
            self.server.handle_sent(one.answer, self.now)


def blocks_in(answers: list[SendAnswer]) -> list[bytes]:
    return [payload.data for answer in answers for payload in answer.payloads]


def test_a_wanted_block_is_sent_under_the_cid_as_asked() -> None:
    data = block(1)
    shop = Shop(data)
    v0 = sha256_multihash(data)
    for asked, prefix in ((b"\x01\x70" + v0, b"\x01\x70\x12\x20"), (v0, b"\x00\x70\x12\x20")):
        shop.hear(peer(1), BlockWant(asked, v0))
        (answer,) = shop.serve()
        assert (answer.peer, [tuple(one) for one in answer.payloads]) == (peer(1), [(prefix, data)])
        shop.sent([answer])


def test_a_presence_is_told_and_a_small_block_comes_at_once() -> None:
    small, large = block(1, 1024), block(2, 1025)
    shop = Shop(small, large)
    shop.hear(peer(1), want(small, only_presence=True), want(large, only_presence=True))
    (answer,) = shop.serve()
    assert (list(answer.haves), blocks_in([answer])) == ([cid(large)], [small])


def test_an_absence_is_told_to_those_only_who_ask_for_it() -> None:
    shop = Shop()
    shop.hear(peer(1), want(block(1)), want(block(2), tells=False), want(block(3), only_presence=True))
    (answer,) = shop.serve()
    assert set(answer.absent) == {cid(block(1)), cid(block(3))}
    shop.hear(peer(2), want(block(1), tells=False))
    assert shop.serve() == []
    assert shop.server.outstanding_bytes == answer_cost(3)
    shop.sent([answer])
    assert shop.server.outstanding_bytes == 0


def answer_cost(count: int) -> int:
    return count * CONFIG.presence_bytes


def test_a_block_that_is_not_free_for_the_peer_is_absent() -> None:
    data = block(1)
    shop = Shop(data)
    shop.not_for.add(peer(1))
    for one in (1, 2):
        shop.hear(peer(one), want(data))
    answers = {answer.peer: answer for answer in shop.serve()}
    assert list(answers[peer(1)].absent) == [cid(data)]
    assert blocks_in([answers[peer(2)]]) == [data]


def test_a_block_that_went_before_it_was_read_is_absent() -> None:
    data = block(1)
    shop = Shop(data)
    shop.hear(peer(1), want(data))
    shop.act()
    shop.blocks.clear()
    assert list(shop.serve()[0].absent) == [cid(data)]


def test_small_blocks_share_a_message_and_large_ones_have_their_own() -> None:
    small = [block(n, KIB) for n in range(40)]
    large = [block(100 + n, 20 * KIB) for n in range(3)]
    shop = Shop(*small, *large)
    shop.hear(peer(1), *(want(one, 9) for one in small), *(want(one) for one in large))
    answers = shop.serve()
    sizes = [sum(len(payload.data) for payload in one.payloads) for one in answers]
    assert all(12 * KIB <= size <= 37 * KIB for size in sizes), sizes
    assert blocks_in(answers) == [*small, *large]


def test_a_peer_that_takes_nothing_gets_no_more_than_its_bound() -> None:
    blocks = [block(n, 256 * KIB) for n in range(10)]
    shop = Shop(*blocks)
    shop.hear(peer(1), *(want(one) for one in blocks))
    first = shop.serve()
    assert len(blocks_in(first)) == 3  # and what the answers themselves count
    assert shop.serve() == []
    shop.sent(first[:1])
    assert len(blocks_in(shop.serve())) == 1


def test_a_block_larger_than_the_bound_goes_alone() -> None:
    config = replace(CONFIG, max_outstanding_bytes=100 * KIB)
    blocks = [block(n, 200 * KIB) for n in range(2)]
    shop = Shop(*blocks, config=config)
    shop.hear(peer(1), *(want(one) for one in blocks))
    (first,) = shop.serve()
    assert shop.serve() == []
    shop.sent([first])
    assert blocks_in(shop.serve()) == [blocks[1]]


def test_a_block_that_no_peer_would_take_is_absent() -> None:
    shop = Shop(bytes((2 << 20) + 1), largest := bytes(2 << 20))
    shop.hear(peer(1), *(want(one) for one in shop.blocks.values()))
    first = shop.serve()
    shop.sent(first)
    assert [len(answer.absent) for answer in first] == [1]
    assert blocks_in(shop.serve()) == [largest]


def test_cancelled_wants_are_not_answered() -> None:
    blocks = [block(n) for n in range(3)]
    shop = Shop(*blocks)
    shop.hear(peer(1), *(want(one) for one in blocks))
    shop.hear(peer(1), cancels=(cid(blocks[0]),))
    shop.hear(peer(1), want(blocks[1]), full=True)
    assert blocks_in(shop.serve()) == [blocks[1]]
    assert shop.server.want_count == 0


def test_a_block_under_way_is_not_sent_twice() -> None:
    data = block(1)
    shop = Shop(data)
    shop.hear(peer(1), want(data))
    shop.act()
    shop.hear(peer(1), want(data))
    assert blocks_in(shop.serve()) == [data]


def test_of_too_many_wants_those_of_the_lowest_priority_are_dropped() -> None:
    shop = Shop(config=replace(CONFIG, max_wants_per_peer=10))
    shop.hear(peer(1), *(want(block(n), n) for n in range(30)))
    assert shop.server.want_count == 10
    assert shop.server.totals.dropped_wants == 20
    assert set(shop.serve()[0].absent) == {cid(block(n)) for n in range(20, 30)}


def test_all_peers_together_have_a_bound_that_leaves_each_some() -> None:
    config = replace(CONFIG, max_wants=100, max_peers=20)
    shop = Shop(config=config)
    for one in range(20):
        shop.hear(peer(one), *(want(block(n)) for n in range(80)))
    assert 100 <= shop.server.want_count <= 200
    assert len({answer.peer for answer in shop.serve()}) == 20


def test_a_peer_with_a_thousand_wants_does_not_keep_one_with_a_single_want_waiting() -> None:
    config = replace(CONFIG, max_all_outstanding_bytes=512 * KIB, max_outstanding_bytes=1 << 30)
    blocks = [block(n, 64 * KIB) for n in range(50)]
    shop = Shop(*blocks, config=config)
    shop.hear(peer(1), *(want(one) for one in blocks))
    shop.hear(peer(2), want(blocks[0]))
    assert peer(2) in {answer.peer for answer in shop.serve()}


def test_peers_with_blocks_of_different_size_get_as_many_bytes() -> None:
    config = replace(CONFIG, max_all_outstanding_bytes=1 << 20, max_outstanding_bytes=1 << 30)
    large = [block(n, 512 * KIB) for n in range(60)]
    small = [block(100 + n, 16 * KIB) for n in range(1000)]
    shop = Shop(*large, *small, config=config)
    shop.hear(peer(1), *(want(one) for one in large))
    shop.hear(peer(2), *(want(one) for one in small))
    got = Counter[PeerId]()
    while sum(got.values()) < 16 << 20:
        answers = shop.serve()
        for answer in answers:
            got[answer.peer] += sum(len(payload.data) for payload in answer.payloads)
        shop.sent(answers)
    assert min(got.values()) > 0.8 * max(got.values()), got


def test_when_others_wait_a_peer_that_takes_nothing_loses_its_wants() -> None:
    config = replace(CONFIG, max_all_outstanding_bytes=512 * KIB)
    data = block(1, 600 * KIB)
    shop = Shop(data, block(2, 10 * KIB), config=config)
    shop.hear(peer(1), want(data))
    shop.serve()
    assert shop.server.next_timer() is None, "nobody waits"
    shop.hear(peer(2), want(block(2, 10 * KIB)))
    assert shop.serve() == []
    due = shop.server.next_timer()
    assert due == shop.now + config.stall_s
    shop.now = due
    shop.server.handle_timer(shop.now)
    assert [answer.peer for answer in shop.serve()] == [peer(2)]
    assert shop.dropped == [peer(1)]


def test_a_peer_that_is_gone_leaves_nothing_behind() -> None:
    blocks = [block(n, 256 * KIB) for n in range(8)]
    shop = Shop(*blocks)
    shop.hear(peer(1), *(want(one) for one in blocks))
    shop.act()
    shop.read(2)
    shop.act()
    shop.server.handle_lost(peer(1), shop.now)
    for answer in shop.answers:
        shop.server.handle_sent(answer.answer, shop.now)
    shop.answers.clear()
    assert shop.serve() == []
    assert (shop.server.want_count, shop.server.outstanding_bytes) == (0, 0)
    assert (shop.server._answers, shop.server._reads) == ({}, {})


def test_the_peer_that_was_heard_of_longest_ago_gives_way() -> None:
    shop = Shop(config=replace(CONFIG, max_peers=2))
    for one in (1, 2, 3):
        shop.hear(peer(one), want(block(one)))
    assert {answer.peer for answer in shop.serve()} == {peer(2), peer(3)}
    assert shop.server.want_count == 0


def test_looking_up_many_wants_is_split_up() -> None:
    shop = Shop()
    shop.hear(peer(1), *(want(block(n)) for n in range(1000)))
    (answer,) = shop.server.poll_actions(shop.now)
    assert isinstance(answer, SendAnswer)
    assert len(answer.absent) < 1000
    assert shop.server.has_more


def test_version_1_0_peers_get_blocks_alone() -> None:
    data = block(1)
    shop = Shop(data)
    shop.hear(peer(1), BlockWant(sha256_multihash(data), sha256_multihash(data)), want(block(2), tells=False))
    (answer,) = shop.serve()
    assert (answer.haves, answer.absent, len(answer.payloads)) == ([], [], 1)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("want"), st.integers(0, 4), st.integers(0, 30)),
        st.tuples(st.just("have"), st.integers(0, 4), st.integers(0, 30)),
        st.tuples(st.just("cancel"), st.integers(0, 4), st.integers(0, 30)),
        st.tuples(st.just("act"), st.just(0), st.just(0)),
        st.tuples(st.just("read"), st.just(0), st.integers(1, 5)),
        st.tuples(st.just("sent"), st.just(0), st.integers(1, 5)),
        st.tuples(st.just("lost"), st.integers(0, 4), st.just(0)),
    ),
    max_size=80,
)


@pytest.mark.parametrize("room", [20 * KIB, 1 << 20])
@given(steps=STEPS)
def test_whatever_happens_every_want_is_answered_and_accounts_are_even(
    room: int, steps: list[tuple[str, int, int]]
) -> None:
    blocks = [block(n, 3 * KIB * (n + 1)) for n in range(20)]
    config = replace(CONFIG, max_peers=3, max_outstanding_bytes=room, max_all_outstanding_bytes=2 * room)
    shop = Shop(*blocks, config=config)
    unsent: list[SendAnswer] = []
    for step, asker, number in steps:
        data = blocks[number] if number < len(blocks) else block(number)
        if step in ("want", "have"):
            shop.hear(peer(asker), want(data, only_presence=step == "have"))
        elif step == "cancel":
            shop.hear(peer(asker), cancels=(cid(data),))
        elif step == "act":
            shop.act()
        elif step == "read":
            shop.read(number)
        elif step == "lost":
            shop.server.handle_lost(peer(asker), shop.now)
        else:
            unsent += shop.answers
            shop.answers = []
            shop.sent(unsent[:number])
            del unsent[:number]
    while answers := [*unsent, *shop.serve()]:
        unsent = []
        shop.sent(answers)
    assert (shop.server.want_count, shop.server.outstanding_bytes) == (0, 0)
    assert (shop.server._answers, shop.server._reads) == ({}, {})
    assert not shop.server._turns
