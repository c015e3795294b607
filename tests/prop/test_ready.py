"""Answers kept ready are those that would be made now, whatever happens to the stores meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.config import NodeConfig
from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.wire.messages import Field, Kind, encode_peer, encode_request
from fastmarket.kad.wire.response_cache import ResponseCache
from fastmarket.libp2p.identify import IdentifyInfo
from fastmarket.libp2p.peerstore import AddrSource
from fastmarket.net.dht_node import DhtNode
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import OfferTerms, sign_offer
from fastmarket.offers.wire.messages import FindRequest, encode_find, encode_store
from tests.virtual import addr_of, identity, peer_info_of

CONTENTS = [b"\x12\x20" + sha256(b"content %d" % number).digest() for number in range(2)]
HOLDERS = [identity(number) for number in range(1, 5)]
ASKER = peer_info_of(3).peer_id
ASKERS = [ASKER, peer_info_of(100).peer_id]  # who is told to others, and who is not
NEIGHBOURS = 30

CONFIG = NodeConfig()
CONFIG = replace(
    CONFIG,
    host=replace(CONFIG.host, listen=()),
    offers=replace(CONFIG.offers, max_offers_per_content=5, expiry_step_s=10.0),
    kad=replace(CONFIG.kad, max_providers_per_key=3, provider_ttl_s=400.0, provider_addr_ttl_s=150.0),
    connection=replace(CONFIG.connection, hint_ttl_s=90.0, max_peer_addresses=3, max_known_peers=4),
)
TIGHT = replace(
    CONFIG,
    offers=replace(CONFIG.offers, max_ready_bytes=2500, max_message_bytes=3500),
    kad=replace(CONFIG.kad, max_ready_bytes=2500, max_message_bytes=2500),
)

# Room for some answers with their closer peers, which are twice as long, but not for all.
SNUG = replace(
    CONFIG,
    offers=replace(CONFIG.offers, max_ready_bytes=12_000),
    kad=replace(CONFIG.kad, max_ready_bytes=9000),
)

FINDS = [
    FindRequest(content, limit, max_price, skip)
    for content in CONTENTS
    for limit, max_price, skip in ((200, None, 0), (2, None, 0), (200, 3, 0), (2, None, 2), (0, None, 0))
]

content = st.sampled_from(CONTENTS)
holder = st.sampled_from(HOLDERS)
STEPS = st.one_of(
    st.tuples(
        st.just("store"),
        content,
        holder,
        st.sampled_from([b"u", b"v"]),
        st.integers(0, 6),  # price
        st.sampled_from([5, 60, 3600]),  # lifetime
        st.booleans(),  # withdrawn
    ),
    st.tuples(st.just("register"), content, st.integers(0, 6)),
    st.tuples(st.just("withdraw"), content),
    st.tuples(st.just("announce"), content, holder, st.integers(0, 3)),
    st.tuples(st.just("forget announcement"), content, holder),
    st.tuples(st.just("provide"), content),
    st.tuples(st.just("learn"), holder, st.sampled_from(list(AddrSource)), st.integers(0, 3)),
    st.tuples(st.just("identify"), holder, st.integers(0, 3)),
    st.tuples(st.just("forget"), holder, st.integers(0, 3)),
    st.tuples(st.just("move"), st.integers(0, 3)),
    st.tuples(st.just("neighbour"), st.integers(0, NEIGHBOURS)),
    st.tuples(st.just("gone"), st.integers(0, NEIGHBOURS)),
    st.tuples(st.just("neighbour moved"), st.integers(0, NEIGHBOURS), st.integers(0, 3)),
    st.tuples(st.just("neighbour doubted"), st.booleans()),
    st.tuples(st.just("neighbour replied"), st.integers(0, NEIGHBOURS)),
    st.tuples(st.just("neighbour failed"), st.integers(0, NEIGHBOURS)),
    st.tuples(st.just("time"), st.sampled_from([1.0, 7.0, 61.0, 400.0])),
    st.tuples(st.just("sweep")),
)


class Story:
    """One node, and what happens to it; no socket is ever opened."""

    def __init__(self, config: NodeConfig) -> None:
        self.node = DhtNode(HOLDERS[0], config)
        self.engine, self.offers = self.node.engine, self.node.offers
        self.now = self.node.now()
        self.seq = 0
        for number in range(NEIGHBOURS):
            self.neighbour(number)

    def store(self, content: bytes, holder: object, *rest: object) -> None:
        user, price, lifetime_s, withdrawn = rest
        terms = OfferTerms(content, user, "", FileMetadata("::1", 1, price))  # type: ignore[arg-type]
        offer = sign_offer(holder, terms, self.now, lifetime_s=lifetime_s, withdrawn=withdrawn)  # type: ignore[arg-type]
        self.offers.handle_request(ASKER, encode_store([offer.envelope]), self.now)

    def register(self, content: bytes, price: int) -> None:
        self.offers.register(OfferTerms(content, b"own", "", FileMetadata("::1", 1, price)), self.now)

    def withdraw(self, content: bytes) -> None:
        with suppress(CallerFault):
            self.offers.withdraw(content, b"own", self.now)

    def announce(self, content: bytes, holder: object, addr: int) -> None:
        peer = PeerInfo(holder.peer_id, (addr_of(addr),))  # type: ignore[attr-defined]
        body = encode_request(Kind.ADD_PROVIDER, content) + encode_peer(Field.PROVIDER_PEERS, peer, 700)
        self.engine.handle_request(peer.peer_id, body, self.now)

    def forget_announcement(self, content: bytes, holder: object) -> None:
        self.engine.handlers.providers.remove(content, holder.peer_id)  # type: ignore[attr-defined]

    def provide(self, content: bytes) -> None:
        self.engine.provide(content, self.now)

    def learn(self, holder: object, source: AddrSource, addr: int) -> None:
        self.node.host.identifier.store.add(holder.peer_id, [addr_of(addr)], source, self.now)  # type: ignore[attr-defined]

    def identify(self, holder: object, addr: int) -> None:
        info = IdentifyInfo(listen_addrs=(addr_of(addr),))
        self.node.host.identifier.store.identified(holder.peer_id, info, self.now)  # type: ignore[attr-defined]

    def forget(self, holder: object, addr: int) -> None:
        self.node.host.identifier.store.forget(holder.peer_id, addr_of(addr))  # type: ignore[attr-defined]

    def move(self, addr: int) -> None:
        self.engine.set_local_addrs([addr_of(addr)] if addr else [])

    def neighbour(self, number: int) -> None:
        self.engine.on_peer_identified(peer_info_of(number), {CONFIG.kad.protocol}, self.now)

    def gone(self, number: int) -> None:
        self.engine.on_peer_identified(peer_info_of(number), {"/other/1"}, self.now)

    def neighbour_moved(self, number: int, addr: int) -> None:
        moved = PeerInfo(peer_info_of(number).peer_id, (addr_of(addr),))
        self.engine.on_peer_identified(moved, {CONFIG.kad.protocol}, self.now)

    def neighbour_doubted(self, alive: bool) -> None:
        """Others are not told of who is to prove itself; the first of these is found alive, or not."""
        routing, asked_at = self.engine.routing, self.now
        self.now += CONFIG.kad.prove_after_s
        first = routing.take_unproven(self.now)
        while routing.take_unproven(self.now) is not None:
            pass
        self.compare()
        if first is not None:
            routing.on_proven(first, alive, asked_at, self.now)

    def neighbour_replied(self, number: int) -> None:
        self.engine.routing.on_reply(peer_info_of(number).peer_id, self.now)

    def neighbour_failed(self, number: int) -> None:
        for _ in range(CONFIG.kad.max_failures):
            self.now += CONFIG.kad.max_failures * CONFIG.kad.failure_spacing_s
            self.engine.routing.on_seen(ASKER.key, self.now)  # somebody is heard: so the fault is not ours
            self.engine.on_peer_unreachable(peer_info_of(number).peer_id, self.now)

    def time(self, seconds: float) -> None:
        self.now += seconds

    def sweep(self) -> None:
        self.offers.store.handle_timer(self.now)
        self.engine.handlers.providers.expire(self.now)

    def compare(self) -> None:
        """Four times each: what was kept the first time is given the second, its closer peers are kept the
        third, and all of it is given the fourth."""
        for content in CONTENTS:
            body = encode_request(Kind.GET_PROVIDERS, content)
            ask = self.engine.handle_request
            fresh = [self.afresh(partial(ask, asker, body, self.now)) for asker in ASKERS]
            for _ in range(4):
                assert [ask(asker, body, self.now) for asker in ASKERS] == fresh
            self.check_books(self.engine.handlers.response_cache)
        for request in FINDS:
            body = encode_find(request)
            find = self.offers.handle_request
            fresh = [self.afresh(partial(find, asker, body, self.now)) for asker in ASKERS]
            for _ in range(4):
                for asker, right in zip(ASKERS, fresh, strict=True):
                    assert self.offers.response_cache.answer(body, asker, self.now) in (None, right)
                    assert find(asker, body, self.now) == right
                    assert self.offers.response_cache.answer(body, asker, self.now) in (None, right)
            self.check_books(self.offers.response_cache)

    def check_books(self, ready: ResponseCache) -> None:
        kept = ready._answers.values()
        assert ready.size_bytes == sum(answer.size for answer in kept) <= ready._most_bytes
        assert all(answer.near for answer in kept if answer.whole and len(self.engine.routing))

    def afresh(self, answer: Callable[[], bytes | None]) -> bytes | None:
        """What a node says that keeps no answers."""
        handlers, offers = self.engine.handlers, self.offers
        kept = handlers.response_cache, offers.response_cache
        handlers.response_cache = ResponseCache(0, self.engine.routing, lambda ready, asker: None)
        offers.response_cache = ResponseCache(0, self.engine.routing, lambda ready, asker: None)
        try:
            return answer()
        finally:
            handlers.response_cache, offers.response_cache = kept


def play(config: NodeConfig, steps: list[tuple[object, ...]]) -> None:
    async def run() -> None:
        story = Story(config)
        try:
            for name, *values in steps:
                with suppress(PeerFault):
                    getattr(story, str(name).replace(" ", "_"))(*values)
                story.compare()
        finally:
            await story.node.close()

    asyncio.run(run())


@pytest.mark.parametrize("config", [CONFIG, SNUG, TIGHT], ids=["roomy", "snug", "tight"])
@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_a_ready_answer_is_the_one_made_now(config: NodeConfig, steps: list[tuple[object, ...]]) -> None:
    play(config, steps)


def test_offers_and_providers_are_answered_out_of_what_is_kept() -> None:
    """Or the comparison above would compare nothing; and each change is seen."""

    async def run() -> None:
        story = Story(CONFIG)
        content, body = CONTENTS[0], encode_request(Kind.GET_PROVIDERS, CONTENTS[0])
        find = encode_find(FINDS[0])
        for holder in HOLDERS[1:]:
            story.store(content, holder, b"u", 1, 3600, False)
            story.compare()
            ready = story.engine.handlers.response_cache.get(body)
            assert ready is not None
            assert holder.peer_id.raw in ready.part
            assert story.offers.response_cache.answer(find, ASKER, story.now) is not None
            for kept in (ready, story.offers.response_cache.get(find)):
                assert kept is not None
                assert kept.whole is not None
                assert kept.part in kept.whole
                assert ASKER.key in kept.near  # one of the two askers is not told of itself
                assert ASKERS[1].key not in kept.near
        story.learn(HOLDERS[1], AddrSource.IDENTIFY, 7)
        assert story.engine.handlers.response_cache.get(body) is None
        assert story.offers.response_cache.answer(find, ASKER, story.now) is not None
        story.compare()
        ready = story.engine.handlers.response_cache.get(body)
        assert ready is not None
        assert addr_of(7).raw in ready.part
        await story.node.close()

    asyncio.run(run())


@pytest.mark.parametrize("source", [AddrSource.HINT, AddrSource.DIALED])
def test_addresses_that_are_forgotten_are_told_no_longer(source: AddrSource) -> None:
    """A hint by itself, any other when it turns out to be wrong."""

    async def run() -> None:
        story = Story(CONFIG)
        story.store(CONTENTS[0], HOLDERS[1], b"u", 1, 3600, False)
        story.learn(HOLDERS[1], source, 7)
        body = encode_request(Kind.GET_PROVIDERS, CONTENTS[0])
        for known in (True, False):
            story.compare()
            reply = story.engine.handle_request(ASKER, body, story.now)
            assert reply is not None
            assert (addr_of(7).raw in reply) is known
            if source is AddrSource.HINT:
                story.time(CONFIG.connection.hint_ttl_s + 1)
            else:
                story.forget(HOLDERS[1], 7)
        await story.node.close()

    asyncio.run(run())


def test_each_change_of_the_table_is_seen_in_what_is_kept_whole() -> None:
    async def run() -> None:
        story = Story(CONFIG)
        story.store(CONTENTS[0], HOLDERS[1], b"u", 1, 3600, False)
        story.compare()
        near = [number for number in range(NEIGHBOURS) if number != 3]
        near.sort(key=lambda number: distance(peer_info_of(number).peer_id.key, sha256(CONTENTS[0]).digest()))
        steps: list[Callable[[], None]] = [
            lambda: story.gone(near[0]),
            lambda: story.neighbour(near[0]),
            lambda: story.neighbour_moved(near[1], 7),
            lambda: story.neighbour_failed(near[2]),
            lambda: story.neighbour_doubted(True),
            lambda: story.neighbour_replied(near[3]),
        ]
        for step in steps:
            versions = story.engine.routing.version
            step()
            assert story.engine.routing.version > versions
            story.compare()
        await story.node.close()

    asyncio.run(run())


def distance(one: bytes, other: bytes) -> int:
    return int.from_bytes(one) ^ int.from_bytes(other)
