"""Properties of lookups and of the table's policy, whatever peers do."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fastmarket.config import KadConfig
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.lookup.iterative import IterativeLookup
from fastmarket.kad.lookup.lookup import End
from fastmarket.kad.lookup.query import Answer
from fastmarket.kad.routing.table import RoutingTable
from fastmarket.kad.wire.messages import (
    Field,
    Kind,
    decode_message,
    decode_peers,
    encode_peer,
    encode_reply,
    encode_request,
)
from tests.reference.lookup import distance, iterative_lookup
from tests.virtual import START, addr_of, peer_id_of, peer_info_of

PEERS = [peer_info_of(number) for number in range(60)]
NUMBER_OF = {peer.peer_id: number for number, peer in enumerate(PEERS)}
LOCAL = peer_id_of("local")
SMALL = KadConfig(k=5, alpha=3, max_asked=40, shortlist_size=32)

graphs = st.lists(st.lists(st.integers(0, 59), max_size=8), min_size=60, max_size=60)
targets = st.integers(0, 1000).map(lambda n: hashlib.sha256(b"target %d" % n).digest())


class Naming:
    """A query whose payload lists the numbers of peers."""

    seeks_peers = True
    spans_region = False

    def choices(self, peer: PeerInfo) -> tuple[Choice, ...]:
        return (Choice("/test", b""),)

    def read(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> Answer:
        return Answer(tuple(PEERS[number] for number in payload))


@given(
    graphs,
    targets,
    st.lists(st.integers(0, 59), min_size=1, max_size=6),
    st.data(),
)
@settings(max_examples=150, deadline=None)
def test_lookup_ends_and_never_exceeds_alpha(
    graph: list[list[int]], target: bytes, seeds: list[int], data: st.DataObject
) -> None:
    """Answers come in any order, late, twice, or never."""
    lookup = IterativeLookup(target, Naming(), SMALL, LOCAL)
    lookup.add([PEERS[number] for number in seeds])
    now, asked, open_tokens = START, {}, []
    for _ in range(10 * len(PEERS)):
        for out in lookup.poll(now):
            assert out.peer.peer_id not in {peer.peer_id for peer in asked.values()}, "asked twice"
            asked[out.token] = out.peer
            open_tokens.append(out.token)
        assert lookup.in_flight_count <= SMALL.alpha
        if lookup.end is not None:
            break
        step = data.draw(st.sampled_from(["answer", "fail", "again", "wait"] if open_tokens else ["wait"]))
        if step == "wait":
            timer = lookup.next_timer()
            assert timer is not None, "nothing to wait for, and yet not ended"
            now = max(timer, now)
            lookup.handle_timer(now)
        elif step == "again" and asked:
            token = data.draw(st.sampled_from(sorted(asked)))
            if token not in open_tokens:
                before = (lookup.answered_count, lookup.in_flight_count)
                assert lookup.on_reply(token, "/test", bytes(graph[0]), now) == ()
                assert (lookup.answered_count, lookup.in_flight_count) == before
        else:
            token = open_tokens.pop(data.draw(st.integers(0, len(open_tokens) - 1)))
            if step == "answer":
                lookup.on_reply(token, "/test", bytes(graph[NUMBER_OF[asked[token].peer_id]]), now)
            else:
                lookup.on_failure(token, FailureKind.RESET, now)
    assert lookup.end in (End.COMPLETE, End.LIMIT)
    assert len(asked) <= SMALL.max_asked
    keys = [answered.peer.peer_id.key for answered in lookup.closest()]
    assert keys == sorted(keys, key=lambda key: distance(key, target))
    assert len(keys) <= SMALL.k


@given(graphs, targets, st.lists(st.integers(0, 59), min_size=1, max_size=6), st.sets(st.integers(0, 59)))
@settings(max_examples=150, deadline=None)
def test_one_at_a_time_it_is_the_reference_lookup(
    graph: list[list[int]], target: bytes, seeds: list[int], dead: set[int]
) -> None:
    lookup = IterativeLookup(
        target, Naming(), replace(SMALL, alpha=1, max_asked=200, shortlist_size=60), LOCAL
    )
    lookup.add([PEERS[number] for number in seeds])
    while requests := lookup.poll(START):
        (out,) = requests
        number = NUMBER_OF[out.peer.peer_id]
        if number in dead:
            lookup.on_failure(out.token, FailureKind.UNREACHABLE, START)
        else:
            lookup.on_reply(out.token, "/test", bytes(graph[number]), START)
    by_key = {peer.peer_id.key: number for number, peer in enumerate(PEERS)}

    def ask(key: bytes) -> list[bytes] | None:
        number = by_key[key]
        return None if number in dead else [PEERS[other].peer_id.key for other in graph[number]]

    wanted = iterative_lookup(target, [PEERS[number].peer_id.key for number in seeds], ask, SMALL.k)
    assert [answered.peer.peer_id.key for answered in lookup.closest()] == wanted


@given(targets, st.integers(0, 59), st.sampled_from([1, 3, 10]))
@settings(deadline=None)
def test_where_peers_know_their_neighbours_the_true_closest_are_found(
    target: bytes, seed: int, alpha: int
) -> None:
    """Every peer names the k closest to the target in its table: one peer for each prefix length, or more."""
    keys = [peer.peer_id.key for peer in PEERS]
    tables = []
    for own in keys:
        routing = RoutingTable(SMALL, PEERS[keys.index(own)].peer_id)
        for peer in PEERS:
            routing.on_identified(peer, {SMALL.protocol}, START)
        tables.append(routing)
    lookup = IterativeLookup(target, Naming(), replace(SMALL, alpha=alpha), LOCAL)
    lookup.add([PEERS[seed]])
    while requests := lookup.poll(START):
        for out in requests:
            nearest = tables[NUMBER_OF[out.peer.peer_id]].nearest(target, SMALL.k)
            payload = bytes(NUMBER_OF[contact.info.peer_id] for contact in nearest)
            lookup.on_reply(out.token, "/test", payload, START)
    found = [answered.peer.peer_id.key for answered in lookup.closest()]
    assert found == sorted(keys, key=lambda key: distance(key, target))[: SMALL.k]


class TablePolicy(RuleBasedStateMachine):
    """The table against a plain record of who was identified and who was lost."""

    def __init__(self) -> None:
        super().__init__()
        self.config = KadConfig(k=3)
        self.routing = RoutingTable(self.config, LOCAL)
        self.now = START
        self.servers: set[int] = set()
        self.clients: set[int] = set()
        self.silent: set[int] = set()

    @rule(number=st.integers(0, 59), server=st.booleans(), moved=st.booleans())
    def identify(self, number: int, server: bool, moved: bool) -> None:
        info = PeerInfo(peer_id_of(number), (addr_of(number + 1000 * moved),))
        protocols = {self.config.protocol} if server else {"/other"}
        oldest = self.routing.on_identified(info, protocols, self.now)
        (self.servers if server else self.clients).add(number)
        (self.clients if server else self.servers).discard(number)
        self.silent.discard(number)
        if oldest is not None:
            assert oldest.seen + self.config.check_after_s <= self.now
            assert self.routing.contact(oldest.info.peer_id) is oldest
        contact = self.routing.contact(info.peer_id)
        if contact is not None:
            assert server
            assert contact.info == info
            assert contact.encoded == encode_peer(Field.CLOSER_PEERS, info, self.config.max_entry_bytes)

    @rule(number=st.integers(0, 59), alive=st.booleans())
    def check(self, number: int, alive: bool) -> None:
        contact = self.routing.contact(peer_id_of(number))
        if contact is not None:
            self.routing.on_checked(contact, alive, self.now)
            if not alive:
                self.servers.discard(number)
                self.silent.add(number)

    @rule(number=st.integers(0, 59), kind=st.sampled_from(FailureKind))
    def fail(self, number: int, kind: FailureKind) -> None:
        self.routing.on_failure(peer_id_of(number), kind, self.now)

    @rule(number=st.integers(0, 59))
    def reply(self, number: int) -> None:
        """One that had fallen silent is back by that."""
        self.routing.on_reply(peer_id_of(number), self.now)
        if number in self.silent:
            self.silent.discard(number)
            self.servers.add(number)

    @rule(seconds=st.sampled_from([0.1, 2.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def table_holds_servers_alone(self) -> None:
        held = {contact.info.peer_id for contact in self.routing.contacts()}
        assert held <= {peer_id_of(number) for number in self.servers}
        assert not any(peer_id_of(number) in held for number in self.clients)

    @invariant()
    def buckets_are_bounded_and_nobody_waits_for_a_free_place(self) -> None:
        sizes: dict[int, int] = {}
        for contact in self.routing.contacts():
            bucket = self.routing.bucket_of(contact.info.peer_id.key)
            sizes[bucket] = sizes.get(bucket, 0) + 1
        assert all(size <= self.config.k for size in sizes.values())
        waiting = self.routing.known_count() - len(self.routing)
        full = sum(size == self.config.k for size in sizes.values())
        assert waiting <= self.config.k * full

    @invariant()
    def nearest_is_sorted(self) -> None:
        target = hashlib.sha256(b"any").digest()
        keys = [contact.info.peer_id.key for contact in self.routing.contacts()]
        nearest = [contact.info.peer_id.key for contact in self.routing.nearest(target, 10)]
        assert nearest == sorted(keys, key=lambda key: distance(key, target))[:10]


TablePolicy.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTablePolicy = TablePolicy.TestCase


@given(
    st.lists(st.integers(0, 59), max_size=45),
    st.lists(st.integers(0, 59), max_size=5),
    st.binary(max_size=200),
)
def test_messages_round_trip(closer: list[int], providers: list[int], key: bytes) -> None:
    parts = [encode_peer(Field.CLOSER_PEERS, PEERS[number], 700) for number in closer]
    parts += [encode_peer(Field.PROVIDER_PEERS, PEERS[number], 700) for number in providers]
    message = decode_message(encode_reply(Kind.GET_PROVIDERS, parts), 40, 256)
    assert message.kind == Kind.GET_PROVIDERS
    assert decode_peers(message.closer, 16, 8192) == tuple(PEERS[number] for number in closer[:40])
    assert decode_peers(message.providers, 16, 8192) == tuple(PEERS[number] for number in providers)
    for kind in Kind:
        request = decode_message(encode_request(kind, key), 0, 0)
        assert (request.kind, request.key) == (kind, key)
