"""What a node answers to each request."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from random import Random

import pytest

from fastmarket.config import KadConfig
from fastmarket.errors import PeerFault
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.engine import Engine, Mode
from fastmarket.kad.records.record import OpaqueRule
from fastmarket.kad.wire.messages import Kind, encode_put, encode_request
from fastmarket.pb.libp2p import kad_pb2
from tests.reference.lookup import distance
from tests.virtual import START, addr_of, peer_id_of, peer_info_of

CONFIG = KadConfig()
ASKER = peer_info_of(3)
STRANGER = peer_id_of("stranger")


def make_engine(peers: int = 60, config: KadConfig = CONFIG) -> Engine:
    engine = Engine(config, peer_id_of("local"), now=START, entropy=Random(1).randbytes)
    engine.set_local_addrs([addr_of(9999)])
    for number in range(peers):
        engine.on_peer_identified(peer_info_of(number), {config.protocol}, START)
    return engine


def ask(engine: Engine, body: bytes, sender: PeerId = STRANGER, now: float = START) -> kad_pb2.Message:
    reply = engine.handle_request(sender, body, now)
    assert reply is not None
    assert len(reply) <= CONFIG.max_message_bytes
    return kad_pb2.Message.FromString(reply)


def ids(message: kad_pb2.Message) -> list[bytes]:
    return [peer.id for peer in message.closerPeers]


def in_table(engine: Engine, key: bytes) -> list[bytes]:
    peers = [contact.info.peer_id for contact in engine.contacts()]
    return [peer.raw for peer in sorted(peers, key=lambda peer: distance(peer.key, key))]


class TestFindNode:
    @pytest.mark.parametrize("number", [500, 501, 502])
    def test_the_k_closest_in_order(self, number: int) -> None:
        engine, target = make_engine(), peer_id_of(number)
        reply = ask(engine, encode_request(Kind.FIND_NODE, target.raw))
        assert reply.type == kad_pb2.Message.FIND_NODE
        assert ids(reply) == in_table(engine, target.key)[:20]

    def test_odd_encodings_say_the_same(self) -> None:
        engine, key = make_engine(), peer_id_of(500).raw
        plain = engine.handle_request(STRANGER, encode_request(Kind.FIND_NODE, key), START)
        swapped = kad_pb2.Message(key=key).SerializeToString() + b"\x08\x04"
        level = kad_pb2.Message(type=4, key=key, clusterLevelRaw=1).SerializeToString()
        for body in (swapped, level):
            assert engine.handle_request(STRANGER, body, START) == plain

    def test_a_long_key(self) -> None:
        engine = make_engine()
        for size in (127, 128, 129, 130, 131, 1024):
            assert len(ids(ask(engine, encode_request(Kind.FIND_NODE, b"k" * size)))) == 20
        with pytest.raises(PeerFault):
            engine.handle_request(STRANGER, encode_request(Kind.FIND_NODE, b"k" * 1025), START)

    def test_the_asker_is_left_out_when_it_looks_for_another(self) -> None:
        engine = make_engine(15)
        reply = ask(engine, encode_request(Kind.FIND_NODE, peer_id_of(500).raw), ASKER.peer_id)
        assert ASKER.peer_id.raw not in ids(reply)
        assert len(ids(reply)) == 14

    def test_the_target_comes_first_even_if_it_asks(self) -> None:
        engine = make_engine()
        for sender in (STRANGER, ASKER.peer_id):
            reply = ask(engine, encode_request(Kind.FIND_NODE, ASKER.peer_id.raw), sender)
            assert ids(reply)[0] == ASKER.peer_id.raw
            assert len(ids(reply)) == (21 if sender == ASKER.peer_id else 20)

    def test_the_target_comes_first_though_it_is_a_client(self) -> None:
        engine, client = make_engine(), peer_info_of(700)
        engine.on_peer_identified(client, {"/ipfs/ping/1.0.0"}, START)
        body = encode_request(Kind.FIND_NODE, client.peer_id.raw)
        assert ids(ask(engine, body))[0] == client.peer_id.raw
        assert client.peer_id.raw not in ids(ask(engine, encode_request(Kind.FIND_NODE, b"other")))
        engine.on_peer_disconnected(client.peer_id, START)
        assert client.peer_id.raw not in ids(ask(engine, body))

    def test_we_are_the_target(self) -> None:
        engine = make_engine()
        reply = ask(engine, encode_request(Kind.FIND_NODE, peer_id_of("local").raw))
        assert reply.closerPeers[0].id == peer_id_of("local").raw
        assert list(reply.closerPeers[0].addrs) == [addr_of(9999).raw]

    def test_new_addresses_are_handed_out(self) -> None:
        engine = make_engine(5)
        moved = PeerInfo(ASKER.peer_id, (addr_of(77).with_peer(ASKER.peer_id),))
        engine.on_peer_identified(moved, {CONFIG.protocol}, START)
        reply = ask(engine, encode_request(Kind.FIND_NODE, ASKER.peer_id.raw))
        assert list(reply.closerPeers[0].addrs) == [addr_of(77).raw]

    def test_the_largest_reply_fits_sixteen_kib(self) -> None:
        engine = make_engine(0)
        for number in range(40):
            addrs = [Multiaddr.from_text(f"/dns4/{'h' * 60}{n}.example/tcp/1") for n in range(40)]
            engine.on_peer_identified(PeerInfo(peer_id_of(number), tuple(addrs)), {CONFIG.protocol}, START)
        body = encode_request(Kind.FIND_NODE, peer_id_of(1).raw)
        assert len(ids(ask(engine, body, peer_id_of(1)))) == 21

    def test_a_request_is_a_sign_of_life(self) -> None:
        engine = make_engine(5)
        ask(engine, encode_request(Kind.FIND_NODE, b"k"), ASKER.peer_id, START + 50)
        contact = engine.routing.contact(ASKER.peer_id)
        assert contact is not None
        assert contact.seen == START + 50

    def test_who_asks_does_not_get_into_the_table(self) -> None:
        engine = make_engine(5)
        ask(engine, encode_request(Kind.FIND_NODE, b"k"), STRANGER)
        assert engine.table_size == 5


class TestValues:
    def put(self, engine: Engine, key: bytes, value: bytes, **fields: object) -> bytes | None:
        record = kad_pb2.Record(key=key, value=value, **fields).SerializeToString()  # type: ignore[arg-type]
        return engine.handle_request(STRANGER, encode_put(key, record), START)

    def test_put_is_echoed_and_got(self) -> None:
        engine = make_engine()
        reply = self.put(engine, b"key", b"value", ttl=100, publisher=b"\x12\x20" + bytes(32))
        echo = kad_pb2.Message.FromString(reply or b"")
        assert (echo.type, echo.key, echo.record.value) == (0, b"key", b"value")
        got = ask(engine, encode_request(Kind.GET_VALUE, b"key"), now=START + 40)
        assert (got.record.key, got.record.value, got.record.ttl) == (b"key", b"value", 60)
        assert got.record.timeReceived == "2023-11-14T22:13:20Z"
        assert len(got.closerPeers) == 20
        late = ask(engine, encode_request(Kind.GET_VALUE, b"key"), now=START + 100)
        assert not late.HasField("record")
        assert len(late.closerPeers) == 20

    def test_put_of_another_key_is_refused(self) -> None:
        record = kad_pb2.Record(key=b"other", value=b"v").SerializeToString()
        with pytest.raises(PeerFault):
            make_engine().handle_request(STRANGER, encode_put(b"key", record), START)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            (b"", b"v"),
            (b"k" * 1025, b"v"),
            (b"k", b""),
            (b"k", b"v" * (10 * 1024 + 1)),
            (b"/nobody/knows", b"v"),
            (b"/pk/" + peer_id_of(1).raw, b"not a key"),
        ],
    )
    def test_bad_puts_are_refused(self, key: bytes, value: bytes) -> None:
        engine = make_engine()
        with pytest.raises(PeerFault):
            self.put(engine, key, value)
        assert len(engine.handlers.records) == 0

    def test_put_without_a_record_is_refused(self) -> None:
        with pytest.raises(PeerFault):
            make_engine().handle_request(STRANGER, encode_request(Kind.PUT_VALUE, b"key"), START)

    def test_public_keys(self) -> None:
        engine, identity = make_engine(), Identity.from_seed(bytes(32))
        key = b"/pk/" + identity.peer_id.raw
        self.put(engine, key, identity.public_key.encode())
        assert ask(engine, encode_request(Kind.GET_VALUE, key)).record.value == identity.public_key.encode()
        with pytest.raises(PeerFault):
            self.put(engine, b"/pk/" + peer_id_of(1).raw, identity.public_key.encode())

    def test_a_full_store_refuses_and_keeps_what_it_has(self) -> None:
        engine = make_engine(config=replace(CONFIG, max_records=2))
        self.put(engine, b"1", b"one", ttl=10)
        self.put(engine, b"2", b"two")
        with pytest.raises(PeerFault):
            self.put(engine, b"3", b"three")
        self.put(engine, b"2", b"TWO")
        assert ask(engine, encode_request(Kind.GET_VALUE, b"2")).record.value == b"TWO"
        record = kad_pb2.Record(key=b"3", value=b"three").SerializeToString()
        engine.handle_request(STRANGER, encode_put(b"3", record), START + 11)  # the first has expired

    def test_a_value_without_room_is_not_verified(self) -> None:
        """Nor is one of a block that had its share of such work; others' values are."""
        seen: list[bytes] = []

        class Counting(OpaqueRule):
            def validate(self, key: bytes, value: bytes, now: float) -> None:
                seen.append(key)
                if value == b"forged":
                    raise PeerFault("badly signed")

        config = replace(CONFIG, max_records=2)
        entropy = Random(1).randbytes
        engine = Engine(config, peer_id_of("local"), now=START, entropy=entropy, rules={b"c": Counting()})

        def put(key: bytes, value: bytes, sender: int, block: bytes) -> bool:
            record = kad_pb2.Record(key=key, value=value).SerializeToString()
            try:
                engine.handle_request(peer_id_of(sender), encode_put(key, record), START, block)
            except PeerFault:
                return False
            return True

        home, elsewhere = b"\x08\x08", b"\x09\x09"
        assert [put(b"/c/%d" % n, b"value", 100 + n, home) for n in range(3)] == [True, True, False]
        assert seen == [b"/c/0", b"/c/1"]
        assert put(b"/c/9", b"value", 300, elsewhere)
        tries = 2000
        assert not any(put(b"/c/9", b"forged", 300 + n, elsewhere) for n in range(tries))
        assert len(seen) < tries / 2
        assert any(put(b"/c/%d" % n, b"newer", 100 + n, home) for n in range(2))  # the one that is left

    def test_a_large_value_leaves_room_in_the_reply(self) -> None:
        engine = make_engine(0)
        for number in range(40):
            addrs = tuple(Multiaddr.from_text(f"/dns4/{'h' * 60}{n}.example/tcp/1") for n in range(40))
            engine.on_peer_identified(PeerInfo(peer_id_of(number), addrs), {CONFIG.protocol}, START)
        self.put(engine, b"key", b"v" * CONFIG.max_value_bytes)
        got = ask(engine, encode_request(Kind.GET_VALUE, b"key"))
        assert len(got.record.value) == CONFIG.max_value_bytes
        assert 5 <= len(got.closerPeers) < 20


class TestProviders:
    def announce(
        self, engine: Engine, key: bytes, peers: list[PeerInfo], sender: PeerId, now: float = START
    ) -> bytes | None:
        entries = [
            kad_pb2.Message.Peer(id=peer.peer_id.raw, addrs=[addr.raw for addr in peer.addrs])
            for peer in peers
        ]
        body = kad_pb2.Message(type=2, key=key, providerPeers=entries).SerializeToString()
        return engine.handle_request(sender, body, now)

    def test_announced_and_found_without_a_reply(self) -> None:
        engine = make_engine()
        assert self.announce(engine, b"key", [ASKER], ASKER.peer_id) is None
        reply = ask(engine, encode_request(Kind.GET_PROVIDERS, b"key"))
        assert [peer.id for peer in reply.providerPeers] == [ASKER.peer_id.raw]
        assert list(reply.providerPeers[0].addrs) == [ASKER.addrs[0].raw]
        assert len(reply.closerPeers) == 20

    def test_only_the_sender_and_only_with_addresses(self) -> None:
        engine, other = make_engine(), peer_info_of(4)
        for peers in ([other], [PeerInfo(ASKER.peer_id)], []):
            with pytest.raises(PeerFault):
                self.announce(engine, b"key", peers, ASKER.peer_id)
        self.announce(engine, b"key", [other, ASKER], ASKER.peer_id)
        assert [peer.peer_id for peer in engine.handlers.providers.providers(b"key", START)] == [
            ASKER.peer_id
        ]

    @pytest.mark.parametrize("key", [b"", b"k" * 81])
    def test_keys_are_one_to_eighty_bytes(self, key: bytes) -> None:
        engine = make_engine()
        with pytest.raises(PeerFault):
            self.announce(engine, key, [ASKER], ASKER.peer_id)
        with pytest.raises(PeerFault):
            ask(engine, encode_request(Kind.GET_PROVIDERS, key))

    def test_addresses_age_before_the_provider_does(self) -> None:
        engine = make_engine()
        self.announce(engine, b"key", [ASKER], ASKER.peer_id)
        body = encode_request(Kind.GET_PROVIDERS, b"key")
        reply = ask(engine, body, now=START + CONFIG.provider_addr_ttl_s)
        assert [(peer.id, len(peer.addrs)) for peer in reply.providerPeers] == [(ASKER.peer_id.raw, 0)]
        assert not ask(engine, body, now=START + CONFIG.provider_ttl_s).providerPeers

    def test_many_providers_are_bounded_and_leave_room_for_closer_peers(self) -> None:
        engine = make_engine()
        for number in range(200):
            addrs = tuple(addr_of(number * 16 + n) for n in range(16))
            peer = PeerInfo(peer_id_of(number), addrs)
            self.announce(engine, b"key", [peer], peer.peer_id, START + number)
        reply = ask(engine, encode_request(Kind.GET_PROVIDERS, b"key"), now=START + 200)
        assert len(engine.handlers.providers) == CONFIG.max_providers_per_key
        assert len(reply.closerPeers) == 20
        assert reply.providerPeers[0].id == peer_id_of(199).raw  # the freshest first
        assert len(reply.providerPeers) > 20


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x08\x05\x12\x01k",  # PING: out of use
        b"\x08\x63\x12\x01k",  # no such type
        b"\x08\x04",  # no key
        b"\x08\x04\x12\x00",
        b"\x08\x04\x12\x05ab",
        b"\xff" * 40,
        b"\x08\x04\x12\x01k" + b"\x42\x02\x08\x01" * 20_000,  # larger than any request
    ],
)
def test_garbage_is_the_peers_fault_and_changes_nothing(body: bytes) -> None:
    engine = make_engine(5)
    with pytest.raises(PeerFault):
        engine.handle_request(STRANGER, body, START)
    assert engine.table_size == 5
    assert engine.poll_actions() == []


def test_a_client_serves_nobody() -> None:
    engine = make_engine(5)
    engine.mode = Mode.CLIENT
    with pytest.raises(PeerFault):
        engine.handle_request(STRANGER, encode_request(Kind.FIND_NODE, b"k"), START)


def test_closer_to_a_target_are_the_entries_of_a_reply() -> None:
    engine = make_engine()
    key = b"content"
    target = sha256(key).digest()
    reply = engine.handle_request(ASKER.peer_id, encode_request(Kind.FIND_NODE, key), START)
    assert reply == b"\x08\x04" + engine.closer_to(target, ASKER.peer_id)
    assert len(ids(kad_pb2.Message.FromString(engine.closer_to(target, None)))) == 20
