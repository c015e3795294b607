"""The queries of the Kademlia protocol itself: FIND_NODE, GET_PROVIDERS, and ADD_PROVIDER for storing."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Final

from fastmarket.config import KadConfig
from fastmarket.errors import LimitExceeded, PeerFault
from fastmarket.formats.choice import Choice
from fastmarket.formats.identity import PeerId
from fastmarket.formats.kad_key import RawKey
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.lookup.query import Answer, Query
from fastmarket.kad.wire.messages import (
    Field,
    Kind,
    Message,
    decode_message,
    decode_peers,
    encode_peer,
    encode_request,
    read_closer,
)

# Looking up an Enum's member costs more than what is done with it (CPython 3.11).
_FIND_NODE: Final = Kind.FIND_NODE


def read_reply(config: KadConfig, kind: Kind, payload: bytes) -> Message:
    """Decodes a reply, which must be of that type and within bounds. Raises PeerFault."""
    if len(payload) > config.max_reply_bytes:
        raise LimitExceeded("bytes in a reply", config.max_reply_bytes, len(payload))
    message = decode_message(payload, config.max_closer_peers, config.max_provider_peers)
    if message.kind != kind:
        raise PeerFault(f"reply of type {message.kind} to a request of type {int(kind)}")
    return message


def closer_peers(config: KadConfig, message: Message) -> tuple[PeerInfo, ...]:
    """The closer peers named in a reply."""
    return decode_peers(message.closer, config.max_addrs_per_peer, config.max_peer_bytes)


class FindNode(Query):
    """Query for the peers closest to a key."""

    __slots__ = ("_choices", "_config")

    def __init__(self, config: KadConfig, key: RawKey, *, spans_region: bool = False) -> None:
        """`spans_region`: something is to be stored at the peers found."""
        super().__init__(seeks_peers=True, spans_region=spans_region)
        self._config = config
        self._choices = (Choice(config.protocol, encode_request(Kind.FIND_NODE, key)),)

    def choices(self, peer: PeerInfo) -> tuple[Choice, ...]:
        """The same for all peers."""
        return self._choices

    def read(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> Answer:
        """Only closer peers."""
        config = self._config
        closer = read_closer(payload, _FIND_NODE, config.max_closer_peers, config.max_addrs_per_peer)
        if closer is None or len(payload) > config.max_reply_bytes:
            closer = closer_peers(config, read_reply(config, _FIND_NODE, payload))
        return Answer(closer)


class FindSelf(FindNode):
    """Query for the peers closest to this node. Peers that know it tell its addresses, as go does."""

    __slots__ = ("_local", "_named")

    def __init__(self, config: KadConfig, local: PeerId, named: Callable[[PeerInfo], None]) -> None:
        """`named(peer)` gets this node's entry, with the addresses that the other peer has for it."""
        super().__init__(config, RawKey(local.raw))
        self._local = local
        self._named = named

    def read(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> Answer:
        answer = super().read(peer, protocol, payload, now)
        for one in answer.closer:
            if one.peer_id == self._local:
                self._named(one)
        return answer


class GetProviders(Query):
    """Query for the providers of a key; every provider is an item, once."""

    __slots__ = ("_choices", "_config", "_hidden", "_limit", "found")

    def __init__(
        self,
        config: KadConfig,
        key: RawKey,
        limit: int | None = None,
        hidden: Callable[[float], Container[PeerId]] = lambda now: (),
    ) -> None:
        """`limit`: this many providers are enough; None: all that the k closest know. `hidden(now)`: peers
        that are not accepted as providers, whatever other nodes still hold."""
        self._hidden = hidden
        super().__init__(seeks_peers=False)
        self._config = config
        self._choices = (Choice(config.protocol, encode_request(Kind.GET_PROVIDERS, key)),)
        self._limit = limit
        self.found: dict[bytes, PeerInfo] = {}

    def choices(self, peer: PeerInfo) -> tuple[Choice, ...]:
        """The same for all peers."""
        return self._choices

    def read(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> Answer:
        """New providers, and closer peers."""
        config = self._config
        closer = read_closer(payload, Kind.GET_PROVIDERS, config.max_closer_peers, config.max_addrs_per_peer)
        if closer is not None and len(payload) <= config.max_reply_bytes:
            return Answer(closer)
        message = read_reply(config, Kind.GET_PROVIDERS, payload)
        entries = decode_peers(message.providers, config.max_addrs_per_peer, config.max_peer_bytes)
        if hidden := self._hidden(now):
            entries = tuple([one for one in entries if one.peer_id not in hidden])
        return Answer(closer_peers(config, message), tuple(self.take(entries)), self.has_enough)

    @property
    def has_enough(self) -> bool:
        """Whether the limit is reached."""
        return self._limit is not None and len(self.found) >= self._limit

    def take(self, providers: tuple[PeerInfo, ...]) -> list[PeerInfo]:
        """Adds providers; returns those that were unknown, or known without addresses."""
        news = []
        for provider in providers:
            raw = provider.peer_id.raw
            known = self.found.get(raw)
            if known is None and len(self.found) >= MAX_PROVIDERS_FOUND:
                continue
            if known is None or (provider.addrs and not known.addrs):
                self.found[raw] = provider
                news.append(provider)
        return news


# Providers collected by one lookup: 200 peers with 256 entries each would be too many to hold for one caller.
MAX_PROVIDERS_FOUND = 4096


class AnnounceProvider:
    """Announces this node with ADD_PROVIDER. There is no reply, so a request that could be written counts."""

    __slots__ = ("_choices", "_config", "_key", "_local", "_told")

    def __init__(self, config: KadConfig, key: RawKey, local: Callable[[], PeerInfo]) -> None:
        self._config = config
        self._key = key
        self._local = local
        self._told: PeerInfo | None = None  # the entry in `_choices`, which is the same for all storers
        self._choices: tuple[Choice, ...] = ()

    def choices(self, peer: PeerInfo, answered_protocol: str | None) -> tuple[Choice, ...]:
        """With the current addresses; without any, nothing is sent, because others would refuse it."""
        local = self._local()
        if not local.addrs:
            return ()
        if local is not self._told:
            entry = encode_peer(Field.PROVIDER_PEERS, local, self._config.max_entry_bytes)
            payload = encode_request(Kind.ADD_PROVIDER, self._key) + entry
            self._choices = (Choice(self._config.protocol, payload, expects_reply=False),)
            self._told = local
        return self._choices

    def is_counted(self, peer: PeerInfo, answered_protocol: str | None) -> bool:
        """Every peer of this protocol counts."""
        return True

    def read_ack(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> bool | None:
        """A written request is all there is to know."""
        return True

    def refusal(self, peer: PeerInfo) -> tuple[str, bool]:
        """Never used: without a reply there is no refusal."""
        return "refused", False

    def quorum_size(self, counting_peers: int) -> int:
        """One storer makes the key findable."""
        return min(1, counting_peers)
