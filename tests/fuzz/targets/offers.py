"""Offers: bodies, batches, Merkle paths, and a whole node that gets requests and replies."""

from __future__ import annotations

from functools import partial
from typing import Final

from google.protobuf.message import DecodeError

from fastmarket.config import KadConfig, OfferConfig
from fastmarket.core import commands as c
from fastmarket.errors import CallerFault, FastmarketError, PeerFault
from fastmarket.kad.wire.messages import Field, Kind, encode_peer, encode_reply
from fastmarket.native import batch as batch_kernel
from fastmarket.native import merkle
from fastmarket.native.batch import SignedBatch
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import Offer
from fastmarket.offers.model.refusals import OfferRefused, Refusal
from fastmarket.offers.wire.messages import (
    Ack,
    FindRequest,
    decode_find_reply,
    decode_request,
    decode_store_reply,
    encode_acks,
    encode_find,
    encode_found,
    encode_store,
)
from fastmarket.offers.wire.verifying import OfferReader, OfferVerifier, open_offer, read_offer
from fastmarket.pb.fastmarket.v1.offer_pb2 import OfferBody
from tests.fuzz.target import Shape, Target, agree, is_sampled, round_trips
from tests.fuzz.targets.kad import whole
from tests.fuzz.values import ED25519, INFOS, NOW, batches, content, of_batches, singles, terms, whole_batches
from tests.fuzz.world import World
from tests.reference import merkle as twin

CONFIG: Final = OfferConfig()
KAD: Final = KadConfig()
TIMEOUT_S: Final = 5.0
COUNTS: Final = (1, 2, 3, 8, 17, 256, 2**63)


def _bodies() -> list[bytes]:
    return [offer.body for batch in batches() for offer in batch]


def body(data: bytes) -> object:
    """What the quick reader takes, protobuf reads the same."""
    plain = merkle.plain_body(data)
    if not is_sampled(data):
        return plain
    full = twin.body(data)
    if plain is not None:
        assert plain == full
    elif full is None:
        raise DecodeError
    if full is not None and full[5] < 1 << 32:
        assert twin.body(batch_kernel.encode_body(*full)) == full
        assert OfferBody.FromString(batch_kernel.encode_body(*full)) is not None
    return plain


def batched(data: bytes) -> object:
    """An offer of a batch as it travels by itself: taken apart, and its path hashed, as by the twin."""
    if not is_sampled(data):
        found = merkle.split_batched(data)
    else:
        found = agree(lambda: merkle.split_batched(data), lambda: twin.split_batched(data))
        signatures = batch_kernel.count_signatures([data, data, of_batches()[0], data])
        assert signatures == len({twin.batch_of(one) for one in (data, of_batches()[0])})
    _, index, path, leaf = found
    assert merkle.body_of(data) == leaf
    for count in (*COUNTS, index + 1):
        if count < 1 << 63:
            root = merkle.merkle_root(leaf, index, count, path)
            assert not is_sampled(data) or root == twin.merkle_root(leaf, index, count, path)
    return leaf


def merkle_path(data: bytes) -> object:
    """A path of any bytes, to any place."""
    index, count, path = data[:1], data[1:2], data[2:]
    where = index[0] if index else 0, count[0] + 1 if count else 1
    root = merkle.merkle_root(b"leaf", *where, path)
    assert not is_sampled(data) or root == twin.merkle_root(b"leaf", *where, path)
    return root


def quick_path(data: bytes) -> object:
    return merkle.merkle_root(b"leaf", 3, 16, data)


def quick_offer(data: bytes) -> object:
    return _HONEST.quick(data)


def quick_request(data: bytes) -> object:
    return decode_request(data, CONFIG.max_offers_per_store)


def quick_find_reply(data: bytes) -> object:
    return decode_find_reply(data, CONFIG.find_limit, KAD)


def whole_batch(data: bytes) -> object:
    """Taken apart as by the twin; each of its offers travels by itself, to the same root."""
    if not is_sampled(data):
        return SignedBatch(data).count
    envelope, bodies = agree(lambda: _taken_apart(SignedBatch(data)), lambda: twin.split_whole(data))
    batch = SignedBatch(data)
    assert SignedBatch.join(envelope, bodies).data == data
    root, paths = twin.merkle_tree(bodies)
    try:
        assert batch.root() == root
    except ValueError:
        assert max(map(len, bodies)) > 4096, "a root of bodies of usual length is refused"
        return batch.count
    for at in {0, batch.count // 2, batch.count - 1}:
        signed = batch.signed(at)
        assert merkle.split_batched(signed) == (envelope, at, paths[at], bodies[at])
        assert merkle.merkle_root(bodies[at], at, batch.count, paths[at]) == root
        assert len(signed) <= batch.longest
    return batch.count


def _taken_apart(batch: SignedBatch) -> tuple[bytes, list[bytes]]:
    return batch.envelope, [batch.body(at) for at in range(batch.count)]


class Verifying:
    """One verifier, which has seen the honest offers: what is cached must not vouch for what is changed."""

    def __init__(self) -> None:
        self.verifier = OfferVerifier(64, 64, 64)
        self._honest = {offer.body for batch in batches() for offer in batch}
        self._honest |= {self.verifier.open(one, NOW).body for one in singles()}
        for one in of_batches():
            self.verifier.open(one, NOW)

    def open(self, data: bytes) -> object:
        """One offer by itself."""
        offer = self.verifier.open(data, NOW)
        assert offer.body in self._honest, "a forged offer is accepted"
        assert offer.envelope == data
        assert open_offer(data, NOW).body == offer.body
        again = read_offer(data)
        assert (again.body, again.metadata, again.key) == (offer.body, offer.metadata, offer.key)
        return offer.body

    def open_whole(self, data: bytes) -> object:
        """A whole batch, from a stranger and from our own disk."""
        try:
            batch = SignedBatch(data)
        except ValueError as error:
            raise OfferRefused(Refusal.MALFORMED, str(error)) from None
        opened = self.verifier.open_whole(batch, NOW)
        assert len(opened) == batch.count
        for one in opened:
            assert isinstance(one, OfferRefused) or one.body in self._honest, "a forged offer is accepted"
        OfferReader(ED25519[0].peer_id).read_batch(data)
        return [isinstance(one, Offer) for one in opened]


class Lazily:
    """Made with the first input: keys and batches take a second."""

    def __init__(self) -> None:
        self._made: Verifying | None = None

    def open(self, data: bytes) -> object:
        return self._verifying.open(data)

    def open_whole(self, data: bytes) -> object:
        return self._verifying.open_whole(data)

    def quick(self, data: bytes) -> object:
        """Nothing but opened."""
        return self._verifying.verifier.open(data, NOW)

    @property
    def _verifying(self) -> Verifying:
        if self._made is None:
            self._made = Verifying()
        return self._made


def _requests() -> list[bytes]:
    finds = [FindRequest(content(number), 20) for number in range(8)]
    finds += [FindRequest(content(1), 20, 7, 3), FindRequest(content(2), 0), FindRequest(content(90), 2000)]
    return [
        encode_store(singles()[:3], whole_batches()[:2]),
        encode_store(of_batches()[:5]),
        encode_store((), whole_batches()),
        *map(encode_find, finds),
    ]


def request(data: bytes) -> object:
    read = decode_request(data, CONFIG.max_offers_per_store)
    again = encode_find(read) if isinstance(read, FindRequest) else encode_store(read.envelopes, read.whole)
    assert decode_request(again, CONFIG.max_offers_per_store) == read
    return data


def _found() -> list[bytes]:
    closer = b"".join(encode_peer(Field.CLOSER_PEERS, peer, 512) for peer in INFOS)
    return [
        encode_found(of_batches()[:5], True) + closer,
        encode_found(singles(), False),
        encode_found((), False),
        closer,
        encode_reply(Kind.FIND_NODE, [closer]),
    ]


def find_reply(data: bytes) -> object:
    read = decode_find_reply(data, CONFIG.find_limit, KAD)
    assert len(read.closer) <= KAD.max_closer_peers
    return read.envelopes


def _acks() -> list[bytes]:
    reasons = [Refusal.EXPIRED, Refusal.FORGED, Refusal.FUTURE]
    return [
        encode_acks([Ack.STORED]),
        encode_acks([Ack.STORED] * 40),
        encode_acks([Ack.FULL, Ack.SUPERSEDED, Ack.STORED]),
        encode_acks([Ack.EXPIRED, Ack.INVALID, Ack.EXPIRED], reasons, NOW),
    ]


def store_reply(data: bytes) -> object:
    read = decode_store_reply(data)
    assert read.acks.count(Ack.STORED) == len(read.acks) or len(read.reasons) <= len(read.acks)
    return read.acks


def metadata(data: bytes) -> object:
    """What describes a file, as it stands in an offer."""
    return round_trips(FileMetadata.from_bytes(data), lambda value: FileMetadata.from_bytes(value.to_bytes()))


def metadata_json(data: bytes) -> object:
    """And as a caller writes it."""
    return round_trips(FileMetadata.from_json(data), lambda value: FileMetadata.from_json(value.to_json()))


DESCRIBED: Final = (
    FileMetadata("192.0.2.7", 4000, 5),
    FileMetadata("2001:db8::1", 1, 2**31, size=2**40, name="a b", url="https://a.example/x"),
)
ODD_JSON: Final = (
    b'{"ip": 1, "port": "x", "price_per_mb": []}',
    b'{"ip": "192.0.2.1", "port": 1e3, "price_per_mb": true, "size": -1, "name": {}, "ways": null, "url": 5}',
    b'{"ip": "\\ud800", "port": 18446744073709551616, "price_per_mb": NaN}',
    b"[" * 500,
)


def _request(world: World, data: bytes) -> object:
    """What the node replies, its peers can read."""
    reply = world.request(world.node.config.offers.protocol, data)
    assert reply is not None
    read = decode_request(data, CONFIG.max_offers_per_store)
    if isinstance(read, FindRequest):
        decode_find_reply(reply, CONFIG.max_offers_per_store, KAD)
    else:
        decode_store_reply(reply)
    return reply


def _reply(command: c.Command, world: World, data: bytes) -> object:
    return world.reply(command, data)


def _register(world: World, data: bytes) -> object:
    """The offer is taken back, so that the next input finds the same node."""
    outcome = world.reply(c.Register(terms(70), TIMEOUT_S), data)
    world.run(world.node, c.Withdraw(content(70), b"u", TIMEOUT_S))
    return outcome


_HONEST = Lazily()
_WIRE = "fastmarket.offers.wire"
_NATIVE = "fastmarket.native"

TARGETS: tuple[Target, ...] = (
    Target(
        "offer-body",
        f"{_NATIVE}.merkle.plain_body",
        _bodies,
        body,
        (DecodeError,),
        Shape.PROTOBUF,
        quick=merkle.plain_body,
    ),
    Target(
        "batched-offer",
        f"{_NATIVE}.merkle.split_batched",
        of_batches,
        batched,
        (ValueError,),
        Shape.PROTOBUF,
        quick=merkle.split_batched,
        first=True,
    ),
    Target(
        "merkle-path",
        f"{_NATIVE}.merkle.merkle_root",
        lambda: [bytes((3, count)) + bytes(32 * size) for count in (3, 16, 255) for size in (0, 2, 4, 8)],
        merkle_path,
        (),
        Shape.BYTES,
        quick=quick_path,
    ),
    Target(
        "whole-batch",
        f"{_NATIVE}.batch.SignedBatch",
        whole_batches,
        whole_batch,
        (ValueError,),
        Shape.PROTOBUF,
        longest=8192,
        quick=SignedBatch,
        first=True,
    ),
    Target(
        "offer-open",
        f"{_WIRE}.verifying.OfferVerifier.open",
        lambda: [*singles(), *of_batches()],
        _HONEST.open,
        (FastmarketError,),
        Shape.PROTOBUF,
        first=True,
        quick=quick_offer,
    ),
    Target(
        "whole-batch-open",
        f"{_WIRE}.verifying.OfferVerifier.open_whole",
        whole_batches,
        _HONEST.open_whole,
        (FastmarketError,),
        Shape.PROTOBUF,
        longest=8192,
    ),
    Target(
        "offer-request-decoder",
        f"{_WIRE}.messages.decode_request",
        _requests,
        request,
        (PeerFault,),
        Shape.PROTOBUF,
        longest=8192,
        first=True,
        quick=quick_request,
    ),
    Target(
        "offer-find-decoder",
        f"{_WIRE}.messages.decode_find_reply",
        _found,
        find_reply,
        (PeerFault,),
        Shape.PROTOBUF,
        quick=quick_find_reply,
    ),
    Target(
        "offer-acks-decoder",
        f"{_WIRE}.messages.decode_store_reply",
        _acks,
        store_reply,
        (PeerFault,),
        Shape.PROTOBUF,
        quick=decode_store_reply,
    ),
    Target(
        "file-metadata",
        "fastmarket.offers.model.metadata.FileMetadata.from_bytes",
        lambda: [one.to_bytes() for one in DESCRIBED],
        metadata,
        (PeerFault,),
        Shape.PROTOBUF,
    ),
    Target(
        "file-metadata-json",
        "fastmarket.offers.model.metadata.FileMetadata.from_json",
        lambda: [*(one.to_json().encode() for one in DESCRIBED), *ODD_JSON],
        metadata_json,
        (CallerFault,),
        Shape.JSON,
    ),
    whole("offer-request", "fastmarket.offers.protocol.OfferProtocol.answer", _requests, _request),
    whole(
        "offer-reply-find",
        "fastmarket.core.node.NodeCore.handle_reply",
        _found,
        partial(_reply, c.FindOffers(content(4), TIMEOUT_S)),
    ),
    whole("offer-reply-store", "fastmarket.core.node.NodeCore.handle_reply", _acks, _register),
)
