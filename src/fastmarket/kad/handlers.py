"""Replies to requests: one handler for each message type (specs kad-dht, "RPC messages"; go and rust)."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from itertools import islice
from typing import Final

from fastmarket.config import KadConfig
from fastmarket.errors import LimitExceeded, PeerFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.kad_key import KadKey, kad_key
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.providers.source import ProviderSource
from fastmarket.kad.records.record import Record, RecordRule, decode_record, encode_record, rule_for
from fastmarket.kad.records.record_store import ProviderStore, RecordStore
from fastmarket.kad.records.shares import NEARBY, Source
from fastmarket.kad.records.work import FORGED_FACTOR, PLACE_US, SIGNATURE_US, WorkShares
from fastmarket.kad.routing.table import RoutingTable
from fastmarket.kad.wire.messages import (
    Field,
    Kind,
    Message,
    decode_message,
    decode_peers,
    encode_peer,
    encode_put,
    encode_reply,
    encode_request,
)
from fastmarket.kad.wire.response_cache import CachedResponse, ResponseCache, ResponseCaches

# FIND_NODE as every implementation encodes it: only type and key, with a key below 128 bytes.
_FIND_NODE_HEAD: Final = b"\x08\x04\x12"
_FIND_NODE_REPLY: Final = encode_reply(Kind.FIND_NODE, ())
_GET_PROVIDERS_REPLY: Final = encode_reply(Kind.GET_PROVIDERS, ())


class Handlers:
    """Answers requests from the table and the stores."""

    __slots__ = (
        "_block",
        "_by_kind",
        "_config",
        "_local",
        "_local_entry",
        "_local_key",
        "_other_source",
        "_provides",
        "_rules",
        "_work",
        "providers",
        "records",
        "response_cache",
        "routing",
    )

    def __init__(
        self,
        config: KadConfig,
        local: PeerId,
        routing: RoutingTable,
        rules: Mapping[bytes, RecordRule],
        records: RecordStore,
        others: ProviderSource,
        caches: ResponseCaches,
        provides: Callable[[bytes], bool],
    ) -> None:
        """`others` supplies providers known by other protocols; `provides(key)`: whether this node announces
        the key itself; `caches` gets the cache of GET_PROVIDERS replies."""
        self._config = config
        self._local = PeerInfo(local)
        self._local_key = local.key
        self._other_source = others
        self._provides = provides
        self._local_entry: bytes | None = None
        self._rules = rules
        self.routing = routing
        self._block = NEARBY  # of the sender of the current request
        self._work = WorkShares(config.max_work_share)
        self.records = records
        self.response_cache = ResponseCache(
            config.max_ready_bytes,
            routing,
            lambda ready, asker: self._providers_reply(asker, ready.target, ready.part),
        )
        """Replies to GET_PROVIDERS, with their key and the peers (`PeerId`) in them as sources."""
        caches.add(self.response_cache)
        self.providers = ProviderStore(config, self.response_cache.invalidate, local.key)
        self._by_kind: dict[int, Callable[[PeerId, Message, float], bytes | None]] = {
            Kind.PUT_VALUE: self._put_value,
            Kind.GET_VALUE: self._get_value,
            Kind.ADD_PROVIDER: self._add_provider,
            Kind.GET_PROVIDERS: self._get_providers,
            Kind.FIND_NODE: lambda sender, message, now: self._find_node(sender, message.key, now),
        }

    def set_local(self, local: PeerInfo) -> None:
        """Sets our own entry, returned to peers that look for us."""
        limit = self._config.max_entry_bytes
        self._local_entry = encode_peer(Field.CLOSER_PEERS, local, limit) if local.addrs else None
        self._local = local
        self.response_cache.invalidate(local.peer_id)

    def handle(self, sender: PeerId, body: bytes, now: float, block: bytes = NEARBY) -> bytes | None:
        """The reply to one request; None if there is none. Raises PeerFault.

        `block`: the address block of the sender.
        """
        size = len(body) - 4  # of its key
        if 0 <= size < 128 and body[3] == size and body[:3] == _FIND_NODE_HEAD:
            return self._find_node(sender, body[4:], now)
        ready = self.response_cache.answer(body, sender, now)
        if ready is not None:
            self.routing.on_seen(sender.key, now)
            return ready
        config = self._config
        if len(body) > config.max_request_bytes:
            raise LimitExceeded("bytes in a request", config.max_request_bytes, len(body))
        message = decode_message(body, 0, config.max_provider_peers)
        handler = self._by_kind.get(message.kind)
        if handler is None:
            raise PeerFault(f"request of type {message.kind}")
        self.routing.on_seen(sender.key, now)
        self._block = block
        return handler(sender, message, now)

    def _find_node(self, sender: PeerId, key: bytes, now: float) -> bytes:
        config, routing = self._config, self.routing
        if not 0 < len(key) <= config.max_key_bytes:
            raise LimitExceeded("bytes in a key", config.max_key_bytes, len(key))
        sender_key = sender.key
        asker = routing.on_seen(sender_key, now)
        target = kad_key(key)
        if target == sender_key and asker is not None:  # it gets its own entry, as from go
            return routing.joined(_FIND_NODE_REPLY, target, None, config.k + 1)
        first = self._local_entry if target == self._local_key else routing.target_entry(target)
        head = _FIND_NODE_REPLY if first is None else _FIND_NODE_REPLY + first
        return routing.joined(head, target, sender_key, config.k)

    def _put_value(self, sender: PeerId, message: Message, now: float) -> bytes:
        key = self._checked_key(message)
        if message.record is None:
            raise PeerFault("PUT_VALUE has no record")
        record = decode_record(message.record, self._config.record_ttl_s, now)
        if record.key != key:
            raise PeerFault("the record's key differs from the message's")
        self._take_record(record, now, Source(self._block, sender.raw))
        return encode_put(key, message.record)

    def _take_record(self, record: Record, now: float, source: Source) -> None:
        """As `store_record` of a stranger's value, which is not verified if it would not be kept."""
        if not self._work.allows(source, now):
            raise PeerFault("its address block had its share of values verified")
        if self.records.would_refuse(record, now, source):
            raise LimitExceeded("records stored", self._config.max_records)
        try:
            self._validate(record, now)
        except PeerFault:
            self._work.spend(source, FORGED_FACTOR * SIGNATURE_US, now)
            raise
        self._work.spend(source, SIGNATURE_US + PLACE_US, now)
        self._keep(record, now, source)

    def store_record(self, record: Record, now: float, source: Source | None = None) -> None:
        """Stores a record if its rule allows it. `source`: the sender; None: this node itself. Raises
        PeerFault."""
        self._validate(record, now)
        self._keep(record, now, source)

    def _validate(self, record: Record, now: float) -> None:
        if len(record.value) > self._config.max_value_bytes:
            raise LimitExceeded("bytes in a value", self._config.max_value_bytes, len(record.value))
        rule_for(self._rules, record.key).validate(record.key, record.value, now)

    def _keep(self, record: Record, now: float, source: Source | None) -> None:
        key, value = record.key, record.value
        rule, old = rule_for(self._rules, key), self.records.get(key, now)
        if old is not None and old.value != value and not rule.replaces(key, value, old.value):
            raise PeerFault("a better record is stored")
        if not self.records.put(record, now, source):
            raise LimitExceeded("records stored", self._config.max_records)

    def valid_record(self, key: bytes, now: float) -> Record | None:
        """The record held under a key, if it is still valid by its rule: signed values have an expiry of
        their own. Raises PeerFault for a namespace without a rule."""
        record = self.records.get(key, now)
        if record is None:
            return None
        rule = rule_for(self._rules, key)
        try:
            rule.validate(key, record.value, now)
        except PeerFault:
            return None
        return record

    def _get_value(self, sender: PeerId, message: Message, now: float) -> bytes:
        key = self._checked_key(message)
        record = self.records.get(key, now)
        encoded = None if record is None else encode_record(record, now)
        head = encode_reply(Kind.GET_VALUE, (), encoded)
        room = self._config.max_message_bytes - _REPLY_OVERHEAD_BYTES - (len(encoded) if encoded else 0)
        return self.routing.joined(head, kad_key(key), sender.key, self._config.k, b"", room)

    def _add_provider(self, sender: PeerId, message: Message, now: float) -> None:
        """Sends no reply: go, rust and js expect none. Only the sender's own entry is accepted."""
        key = self._checked_provider_key(message)
        config = self._config
        stored = False
        for peer in decode_peers(message.providers, config.max_addrs_per_peer, config.max_peer_bytes):
            if peer.peer_id == sender and peer.addrs:
                if not self.providers.add(key, peer, now, Source(self._block, sender.raw)):
                    raise LimitExceeded("provider records stored", config.max_provider_records)
                stored = True
        if not stored:
            raise PeerFault("ADD_PROVIDER has no provider that is the sender and has addresses")

    def _get_providers(self, sender: PeerId, message: Message, now: float) -> bytes:
        key = self._checked_provider_key(message)
        config, target = self._config, kad_key(key)
        hidden = self.withdrawn_providers(key, now)
        records = [
            one for one in self.providers.live_records(key, now) if one.provider.peer.peer_id not in hidden
        ]
        others, until = self._others(key, {record.provider.peer.peer_id for record in records}, now)
        entries = [record.entry(now) for record in records]
        entries += [encode_peer(Field.PROVIDER_PEERS, peer, config.max_entry_bytes) for peer in others]
        # At least half of the reply is left for closer peers.
        part = b"".join(_fitting(entries, config.max_message_bytes // 2))
        if entries:
            sources = (key, *(peer.peer_id for peer in others))
            until = min([until, *(record.expires_at(now) for record in records)])
            answer = CachedResponse(part, target, until, sources)
            self.response_cache.put(encode_request(Kind.GET_PROVIDERS, key), answer)
        return self._providers_reply(sender, target, part)

    def _providers_reply(self, sender: PeerId | None, target: KadKey, providers: bytes) -> bytes:
        """Closer peers, as many as fit, then the providers."""
        config = self._config
        room = config.max_message_bytes - _REPLY_OVERHEAD_BYTES - len(providers)
        key = sender.key if sender is not None else None
        return self.routing.joined(_GET_PROVIDERS_REPLY, target, key, config.k, providers, room)

    def withdrawn_providers(self, key: bytes, now: float) -> frozenset[PeerId]:
        """Peers whose provider records of the key are omitted; never this node while it announces the key."""
        hidden, local = self._other_source.withdrawn_providers(key, now), self._local.peer_id
        return hidden - {local} if local in hidden and self._provides(key) else hidden

    def known_providers(self, key: bytes, now: float) -> list[PeerInfo]:
        """Providers that announced a key here, or that another protocol knows."""
        hidden = self.withdrawn_providers(key, now)
        announced = [one for one in self.providers.providers(key, now) if one.peer_id not in hidden]
        return announced + self.other_providers(key, now)

    def other_providers(self, key: bytes, now: float) -> list[PeerInfo]:
        """Providers that other protocols know and that have not announced themselves here."""
        announced = {record.provider.peer.peer_id for record in self.providers.live_records(key, now)}
        return self._others(key, announced, now)[0]

    def _others(self, key: bytes, announced: Container[PeerId], now: float) -> tuple[list[PeerInfo], float]:
        peers, until = self._other_source.holders(key, now)
        local = self._local
        others = (
            local if peer.peer_id == local.peer_id else peer
            for peer in peers
            if peer.peer_id not in announced
        )
        return list(islice(others, self._config.max_providers_per_key)), until

    def _checked_key(self, message: Message) -> bytes:
        if not 0 < len(message.key) <= self._config.max_key_bytes:
            raise LimitExceeded("bytes in a key", self._config.max_key_bytes, len(message.key))
        return message.key

    def _checked_provider_key(self, message: Message) -> bytes:
        if not 0 < len(message.key) <= self._config.max_provider_key_bytes:
            raise LimitExceeded("bytes in a key", self._config.max_provider_key_bytes, len(message.key))
        return message.key


# Type, record tag and length: bytes of a reply in addition to its parts.
_REPLY_OVERHEAD_BYTES = 16


def _fitting(entries: Iterable[bytes], room: int) -> list[bytes]:
    """The longest prefix of entries that fits into `room` bytes."""
    fitting = []
    room -= _REPLY_OVERHEAD_BYTES
    for entry in entries:
        room -= len(entry)
        if room < 0:
            break
        fitting.append(entry)
    return fitting
