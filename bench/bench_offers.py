"""What an offer costs: to sign, to verify (cold and from the cache), to store, to be answered with."""

from __future__ import annotations

from hashlib import sha256
from itertools import cycle
from random import Random

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fastmarket.config import KadConfig, OfferConfig
from fastmarket.formats.identity import Identity
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.engine import Engine
from fastmarket.native.batch import SignedBatch
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import Offer, OfferTerms, Signing, sign_offer, sign_offers
from fastmarket.offers.protocol import OfferProtocol
from fastmarket.offers.store.offer_store import OfferStore
from fastmarket.offers.wire.messages import FindRequest, decode_find_reply, encode_find, encode_store
from fastmarket.offers.wire.verifying import OfferVerifier, open_offer

NOW = 1_700_000_000.0
CONTENT = b"\x12\x20" + sha256(b"content").digest()


def identity(n: int) -> Identity:
    return Identity.from_seed(sha256(b"bench %d" % n).digest())


def offers(count: int) -> list[Offer]:
    metadata = [FileMetadata("192.0.2.7", 4000, price, 10**9, "a file.bin") for price in range(count)]
    return [
        sign_offer(identity(n), OfferTerms(CONTENT, b"user", "someone", metadata[n]), NOW)
        for n in range(count)
    ]


def node(held: list[Offer]) -> tuple[OfferProtocol, PeerInfo]:
    """A node with a table of 200 peers that stores `held`; and one of the peers."""
    config, random = KadConfig(), Random(1)
    me = identity(1000)
    engine = Engine(config, me.peer_id, now=NOW, entropy=random.randbytes)
    protocol = OfferProtocol(me, engine)
    peer = PeerInfo(me.peer_id)
    for n in range(200):
        peer = PeerInfo(identity(2000 + n).peer_id, (Multiaddr.from_text(f"/ip4/192.0.2.1/tcp/{1000 + n}"),))
        engine.on_peer_identified(peer, [config.protocol, protocol.config.protocol], NOW)
    for offer in held:
        protocol.store.add(offer, NOW)
    return protocol, peer


def test_sign(benchmark: BenchmarkFixture) -> None:
    me = identity(1)
    terms = OfferTerms(CONTENT, b"user", "someone", FileMetadata("192.0.2.7", 4000, 5))
    assert benchmark(sign_offer, me, terms, NOW).envelope


def test_verify_cold(benchmark: BenchmarkFixture) -> None:
    envelope = offers(1)[0].envelope
    assert benchmark(open_offer, envelope, NOW).content == CONTENT


def test_verify_cached(benchmark: BenchmarkFixture) -> None:
    envelope = offers(1)[0].envelope
    verifier = OfferVerifier(10)
    assert benchmark(verifier.open, envelope, NOW).content == CONTENT


BATCH = 256


METADATA = FileMetadata("192.0.2.7", 4000, 5, 10**9, "a file.bin")
TERMS = [
    OfferTerms(b"\x12\x20" + sha256(b"%d" % n).digest(), b"user", "someone", METADATA) for n in range(BATCH)
]


def many(signed_together: bool) -> list[bytes]:
    """Offers of one holder, as they travel one by one."""
    if signed_together:
        return [offer.envelope for offer in sign_offers(identity(1), [Signing(one) for one in TERMS], NOW)]
    return [sign_offer(identity(1), one, NOW).envelope for one in TERMS]


def whole() -> SignedBatch:
    """The same, as they travel together."""
    signed = sign_offers(identity(1), [Signing(one) for one in TERMS], NOW)[0].signed
    assert isinstance(signed, SignedBatch)
    return signed


@pytest.mark.parametrize("together", [True, False], ids=["one-signature", "a-signature-each"])
def test_sign_256(benchmark: BenchmarkFixture, together: bool) -> None:
    assert len(set(benchmark(many, together))) == BATCH


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("together", [True, False], ids=["one-signature", "a-signature-each"])
def test_verify_256(benchmark: BenchmarkFixture, together: bool, warm: bool) -> None:
    """Cold: nothing of them was seen before. Warm: the signatures were."""
    signed = many(together)
    known = OfferVerifier(BATCH, 10)

    def verify() -> int:
        verifier = known if warm else OfferVerifier(BATCH, 10)
        return len([verifier.open(one, NOW) for one in signed])

    verify()
    assert benchmark(verify) == BATCH


@pytest.mark.parametrize("form", ["whole", "one-signature", "a-signature-each"])
def test_store_256(benchmark: BenchmarkFixture, form: str) -> None:
    """What storers do with them: 256 in one message, or as many messages as 64 signatures each allow."""
    sender = identity(2).peer_id
    size = OfferConfig().max_signatures_per_store if form == "a-signature-each" else BATCH
    signed = many(form != "a-signature-each")
    bodies = [encode_store(signed[at : at + size]) for at in range(0, BATCH, size)]
    if form == "whole":
        bodies = [encode_store([], [whole().data])]

    def fresh() -> tuple[tuple[OfferProtocol], dict[str, object]]:
        return (node([])[0],), {}

    def store(protocol: OfferProtocol) -> None:
        for body in bodies:
            protocol.handle_request(sender, body, NOW)
        assert len(protocol.store) == BATCH

    benchmark.pedantic(store, setup=fresh, rounds=10)


def test_take_up_256_own_ones(benchmark: BenchmarkFixture) -> None:
    """What a holder does with what it kept on disk, when it starts."""
    me = identity(1)
    data = whole().data

    def fresh() -> tuple[tuple[OfferProtocol], dict[str, object]]:
        engine = Engine(KadConfig(), me.peer_id, now=NOW, entropy=Random(1).randbytes)
        return (OfferProtocol(me, engine),), {}

    def take_up(protocol: OfferProtocol) -> None:
        protocol.restore_batch(data, True, (), NOW)
        assert len(protocol.own) == BATCH

    benchmark.pedantic(take_up, setup=fresh, rounds=10)


def test_find_reply_with_20_offers(benchmark: BenchmarkFixture) -> None:
    protocol, asker = node(offers(20))
    request = encode_find(FindRequest(CONTENT, OfferConfig().find_limit))
    reply = benchmark(protocol.handle_request, asker.peer_id, request, NOW)
    found = decode_find_reply(reply, 200, KadConfig())
    assert (len(found.envelopes), len(found.closer)) == (20, 20)


def test_find_reply_without_offers(benchmark: BenchmarkFixture) -> None:
    protocol, asker = node([])
    request = encode_find(FindRequest(CONTENT, OfferConfig().find_limit))
    assert benchmark(protocol.handle_request, asker.peer_id, request, NOW)


def test_read_find_reply_with_20_offers_known(benchmark: BenchmarkFixture) -> None:
    protocol, asker = node(offers(20))
    request = encode_find(FindRequest(CONTENT, OfferConfig().find_limit))
    reply = protocol.handle_request(asker.peer_id, request, NOW)
    verifier = OfferVerifier(100)

    def read() -> int:
        found = decode_find_reply(reply, 200, KadConfig())
        return len([verifier.open(envelope, NOW) for envelope in found.envelopes])

    assert benchmark(read) == 20


def test_store_request_of_a_known_offer(benchmark: BenchmarkFixture) -> None:
    protocol, asker = node([])
    body = encode_store([offers(1)[0].envelope])
    assert benchmark(protocol.handle_request, asker.peer_id, body, NOW)


def test_replace_in_a_store_of_1000(benchmark: BenchmarkFixture) -> None:
    store = OfferStore(OfferConfig())
    held = offers(100)
    for offer in held:
        for n in range(10):
            terms = OfferTerms(CONTENT, b"%d" % n, "", offer.metadata)
            store.add(sign_offer(identity(offer.price_per_mb), terms, NOW), NOW)
    versions, offer = [], held[0]
    for _ in range(5000):
        offer = sign_offer(identity(0), OfferTerms(CONTENT, b"user", "", offer.metadata), NOW, previous=offer)
        versions.append(offer)
    turn = cycle(versions)
    benchmark(lambda: store.add(next(turn), NOW))
