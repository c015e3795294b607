"""Kademlia: the decoders of its messages and records, and a whole node that gets requests and replies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from fastmarket.config import KadConfig
from fastmarket.core import commands as c
from fastmarket.errors import CallerFault, FastmarketError, PeerFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.scope import ip_of
from fastmarket.kad.lookup.query import Quorum
from fastmarket.kad.records.record import DEFAULT_RULES, Record, decode_record, encode_record, rule_for
from fastmarket.kad.records.signed_values import ipns_key, read_value, sign_value, signed_key
from fastmarket.kad.wire.messages import (
    Field,
    Kind,
    decode_message,
    decode_peers,
    encode_peer,
    encode_put,
    encode_reply,
    encode_request,
    read_closer,
)
from fastmarket.libp2p.peerstore import worth_keeping
from fastmarket.native import kad_fields
from fastmarket.native.peer_cache import PeerInfoCache
from fastmarket.net.public_routing import Superseded, check_latest
from tests.fuzz.target import Shape, Target, agree, is_sampled
from tests.fuzz.values import ADDRS, ED25519, INFOS, NOW, PEERS, content, vectors
from tests.fuzz.world import VALUE_KEY, World, Worlds
from tests.reference import kad_fields as fields_twin
from tests.reference import peer_cache as cache_twin
from tests.virtual.values import addr_of

CONFIG: Final = KadConfig()
TIMEOUT_S: Final = 5.0
LIMIT: Final = 512
TAG: Final = 0x42


def message_fields(data: bytes) -> object:
    if not is_sampled(data):
        return kad_fields.message_fields(data, 3, 2)
    return agree(
        lambda: kad_fields.message_fields(data, 3, 2), lambda: fields_twin.message_fields(data, 3, 2)
    )


def reply_decoder(data: bytes) -> object:
    """The quick reading and the careful one tell the same peers, with which all can be done that is done."""
    quick = read_closer(data, Kind.FIND_NODE, CONFIG.max_closer_peers, CONFIG.max_addrs_per_peer)
    message = decode_message(data, CONFIG.max_closer_peers, CONFIG.max_provider_peers)
    careful = decode_peers(message.closer, CONFIG.max_addrs_per_peer, CONFIG.max_peer_bytes)
    if quick is not None and message.kind == Kind.FIND_NODE:
        assert quick == careful
    if not is_sampled(data):
        return careful
    assert len(careful) <= CONFIG.max_closer_peers
    for peer in careful:
        assert len(peer.addrs) <= CONFIG.max_addrs_per_peer
        for addr in peer.addrs:
            worth_keeping(addr)
            ip_of(addr)
    entries = b"".join(encode_peer(Field.CLOSER_PEERS, peer, 1 << 16) for peer in careful)
    again = decode_message(encode_reply(Kind.FIND_NODE, [entries]), CONFIG.max_closer_peers, 0).closer
    assert decode_peers(again, CONFIG.max_addrs_per_peer, 1 << 16) == careful
    return careful


CACHE: Final = PeerInfoCache[bytes](64, LIMIT, lambda raw: raw if len(raw) % 5 else None)
TWIN: Final = cache_twin.PeerInfoCache[bytes](LIMIT, lambda raw: raw if len(raw) % 5 else None)
HEAD: Final = b"\x08\x04"


def peer_cache(data: bytes) -> object:
    strict, limit = len(data) % 2 == 0, 30
    read = CACHE.read_all(data, HEAD, TAG, limit, strict)
    assert not is_sampled(data) or read == TWIN.read_all(data, HEAD, TAG, limit, strict)
    return read


def quick_fields(data: bytes) -> object:
    return kad_fields.message_fields(data, CONFIG.max_closer_peers, CONFIG.max_provider_peers)


def quick_reply(data: bytes) -> object:
    message = decode_message(data, CONFIG.max_closer_peers, CONFIG.max_provider_peers)
    return decode_peers(message.closer, CONFIG.max_addrs_per_peer, CONFIG.max_peer_bytes)


def quick_cache(data: bytes) -> object:
    return CACHE.read_all(data, HEAD, TAG, 30, True)


def record(data: bytes) -> object:
    read = decode_record(data, 3600.0, NOW)
    back = decode_record(encode_record(read, NOW), 3600.0, NOW)
    assert (back.key, back.value, back.publisher) == (read.key, read.value, read.publisher)
    assert NOW < read.expires <= NOW + 3600
    return read.value


@dataclass(frozen=True)
class Values:
    """Of one namespace: the values of its key."""

    key: bytes
    values: tuple[bytes, ...]
    read: Callable[[bytes], object] = bytes
    """Of a valid one."""

    def check(self, data: bytes) -> object:
        """A value that is valid can be compared with a stored one."""
        rule = rule_for(DEFAULT_RULES, self.key)
        try:
            rule.validate(self.key, data, NOW)
        except PeerFault:
            self._compare(data)
            raise
        old = self.values[0]
        assert rule.select(self.key, [data, old]) in (0, 1)
        rule.replaces(self.key, data, old)
        self.read(data)
        return data

    def _compare(self, data: bytes) -> None:
        """As of a value that was valid when it was stored, and is of an older version of this program."""
        rule = rule_for(DEFAULT_RULES, self.key)
        try:
            rule.replaces(self.key, data, self.values[0])
            rule.select(self.key, [data, self.values[0]])
        except PeerFault:
            pass


def _ipns() -> Values:
    told = vectors("ipns.json")
    records = tuple(bytes.fromhex(one["record"]) for one in told["records"])
    return Values(ipns_key(PeerId.from_text(told["peer_id"])), records)


IPNS: Final = _ipns()
NAMED: Final = Values(
    signed_key(ED25519[0].peer_id, "name"),
    (sign_value(ED25519[0], "name", b"hello", 3, int(NOW) + 5000),),
    read_value,
)
KEYS: Final = Values(
    b"/pk/" + PEERS[5].peer_id.raw, tuple(peer.public_key.encode() for peer in (PEERS[5], *PEERS))
)


def latest_record(data: bytes) -> object:
    """What a caller puts in place of the record that the network has."""
    check_latest(IPNS.key, data, IPNS.values[0])
    return data


# -- a whole node


def _requests() -> list[bytes]:
    sender = ED25519[3]
    values = {VALUE_KEY: b"a value", b"other": b"v" * 300}
    values |= {one.key: one.values[0] for one in (IPNS, NAMED, KEYS)}
    asked = [
        *values,
        *(content(number) for number in (1, 90)),
        ED25519[0].peer_id.raw,
        ED25519[3].peer_id.raw,
    ]
    seeds = [
        encode_put(key, encode_record(Record(key, value, NOW, NOW + 99, sender.peer_id.raw), NOW))
        for key, value in values.items()
    ]
    kinds = (Kind.GET_VALUE, Kind.FIND_NODE, Kind.GET_PROVIDERS)
    seeds += [encode_request(kind, key) for key in asked for kind in kinds]
    entries = [
        encode_peer(Field.PROVIDER_PEERS, PeerInfo(sender.peer_id, ADDRS[at : at + 4]), 512)
        for at in (0, 4, 8)
    ]
    return [*seeds, *(encode_request(Kind.ADD_PROVIDER, content(1)) + entry for entry in entries)]


def _request(world: World, data: bytes) -> object:
    return world.request(world.node.config.kad.protocol, data)


def _replies(kind: Kind, field: Field) -> list[bytes]:
    closer = [encode_peer(Field.CLOSER_PEERS, peer, 900) for peer in INFOS]
    named = [encode_peer(field, peer, 900) for peer in INFOS]
    key = VALUE_KEY
    held = encode_record(Record(key, b"a value", NOW, NOW + 99, ED25519[3].peer_id.raw), NOW)
    return [
        encode_reply(kind, closer),
        encode_reply(kind, [*closer[:3], *named]),
        encode_reply(kind, ()),
        encode_reply(kind, closer[:2], held),
        encode_put(key, held),
    ]


def _reply(command: c.Command, world: World, data: bytes) -> object:
    return world.reply(command, data)


COMMANDS: Final[dict[str, tuple[Kind, Field, Callable[[], c.Command]]]] = {
    "closest": (Kind.FIND_NODE, Field.CLOSER_PEERS, lambda: c.Closest(content(3), TIMEOUT_S)),
    "join": (Kind.FIND_NODE, Field.CLOSER_PEERS, lambda: c.Bootstrap([_hostile()], TIMEOUT_S)),
    "find-peer": (Kind.FIND_NODE, Field.CLOSER_PEERS, lambda: c.FindPeer(PEERS[6].peer_id, TIMEOUT_S)),
    "providers": (
        Kind.GET_PROVIDERS,
        Field.PROVIDER_PEERS,
        lambda: c.FindProviders(content(3), None, TIMEOUT_S),
    ),
    "value": (
        Kind.GET_VALUE,
        Field.CLOSER_PEERS,
        lambda: c.GetValue(VALUE_KEY, Quorum.MAJORITY, TIMEOUT_S),
    ),
    "provide": (
        Kind.ADD_PROVIDER,
        Field.PROVIDER_PEERS,
        lambda: c.Provide(content(3), TIMEOUT_S),
    ),
    "put": (
        Kind.PUT_VALUE,
        Field.CLOSER_PEERS,
        lambda: c.PutValue(VALUE_KEY, b"a value", Quorum.MAJORITY, TIMEOUT_S),
    ),
}


def _hostile() -> PeerInfo:
    return PeerInfo(ED25519[3].peer_id, (addr_of(4),))


def whole(
    name: str,
    entry: str,
    seeds: Callable[[], list[bytes]],
    feed: Callable[[World, bytes], object],
    shape: Shape = Shape.PROTOBUF,
    first: bool = False,
) -> Target:
    """A target that is a whole node."""
    worlds = Worlds(feed)
    return Target(
        name,
        entry,
        seeds,
        worlds.check,
        (FastmarketError,),
        shape,
        first=first,
        after=worlds.after,
        reset=worlds.reset,
        spare_bytes=2 << 20,
    )


_WIRE = "fastmarket.kad.wire.messages"
_RULES = "fastmarket.kad.records"

TARGETS: tuple[Target, ...] = (
    Target(
        "kad-fields",
        "fastmarket.native.kad_fields.message_fields",
        lambda: [*_requests(), *_replies(Kind.GET_PROVIDERS, Field.PROVIDER_PEERS)],
        message_fields,
        (ValueError,),
        Shape.PROTOBUF,
        quick=quick_fields,
        first=True,
    ),
    Target(
        "kad-reply-decoder",
        f"{_WIRE}.decode_message",
        lambda: _replies(Kind.FIND_NODE, Field.CLOSER_PEERS),
        reply_decoder,
        (PeerFault,),
        Shape.PROTOBUF,
        first=True,
        quick=quick_reply,
    ),
    Target(
        "peer-cache",
        "fastmarket.native.peer_cache.PeerInfoCache.read_all",
        lambda: [
            encode_reply(Kind.FIND_NODE, [encode_peer(Field.CLOSER_PEERS, peer, LIMIT) for peer in INFOS]),
            encode_reply(Kind.FIND_NODE, [encode_peer(Field.CLOSER_PEERS, INFOS[0], LIMIT)] * 40),
        ],
        peer_cache,
        (),
        Shape.PROTOBUF,
        quick=quick_cache,
    ),
    Target(
        "kad-record",
        f"{_RULES}.record.decode_record",
        lambda: [encode_record(Record(b"k", b"v", NOW, NOW + 9, ED25519[0].peer_id.raw), NOW)],
        record,
        (PeerFault,),
        Shape.PROTOBUF,
    ),
    Target(
        "ipns-record",
        f"{_RULES}.signed_values.IpnsRule.validate",
        lambda: IPNS.values,
        IPNS.check,
        (PeerFault,),
        Shape.PROTOBUF,
        longest=12 << 10,
    ),
    Target(
        "signed-value",
        f"{_RULES}.signed_values.SignedValueRule.validate",
        lambda: NAMED.values,
        NAMED.check,
        (PeerFault,),
        Shape.PROTOBUF,
    ),
    Target(
        "public-key-record",
        f"{_RULES}.record.PublicKeyRule.validate",
        lambda: KEYS.values,
        KEYS.check,
        (PeerFault,),
        Shape.PROTOBUF,
    ),
    Target(
        "latest-record",
        "fastmarket.net.public_routing.check_latest",
        lambda: IPNS.values,
        latest_record,
        (CallerFault, Superseded),
        Shape.PROTOBUF,
        longest=12 << 10,
    ),
    whole("kad-request", "fastmarket.kad.handlers.Handlers.handle", _requests, _request, first=True),
    *(
        whole(
            f"kad-reply-{name}",
            "fastmarket.core.node.NodeCore.handle_reply",
            partial(_replies, kind, field),
            partial(lambda make, world, data: _reply(make(), world, data), make),
            first=name == "closest",
        )
        for name, (kind, field, make) in COMMANDS.items()
    ),
)
