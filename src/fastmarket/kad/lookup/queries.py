"""The questions of the Kademlia protocol itself: FIND_NODE, GET_PROVIDERS, and what goes with them."""

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

# To ask an Enum's class for a member costs more than what is done with it (CPython 3.11).
_FIND_NODE: Final = Kind.FIND_NODE


def read_reply(config: KadConfig, kind: Kind, payload: bytes) -> Message:
    """A reply of the type asked for, within bounds. Raises PeerFault."""
    if len(payload) > config.max_reply_bytes:
        raise LimitExceeded("bytes in a reply", config.max_reply_bytes, len(payload))
    message = decode_message(payload, config.max_closer_peers, config.max_provider_peers)
    if message.kind != kind:
        raise PeerFault(f"reply of type {message.kind} to a request of type {int(kind)}")
    return message


def closer_peers(config: KadConfig, message: Message) -> tuple[PeerInfo, ...]:
    """The closer peers a reply names."""
    return decode_peers(message.closer, config.max_addrs_per_peer, config.max_peer_bytes)


class FindNode(Query):
    """Ask for the peers closest to a key."""

    __slots__ = ("_choices", "_config")

    def __init__(self, config: KadConfig, key: RawKey) -> None:
        super().__init__(seeks_peers=True)
        self._config = config
        self._choices = (Choice(config.protocol, encode_request(Kind.FIND_NODE, key)),)

    def choices(self, peer: PeerInfo) -> tuple[Choice, ...]:
        """The same to everyone."""
        return self._choices

    def read(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> Answer:
        """Closer peers alone."""
        config = self._config
        closer = read_closer(payload, _FIND_NODE, config.max_closer_peers, config.max_addrs_per_peer)
        if closer is None or len(payload) > config.max_reply_bytes:
            closer = closer_peers(config, read_reply(config, _FIND_NODE, payload))
        return Answer(closer)


class FindSelf(FindNode):
    """Ask for the peers closest to ourselves; who knows us tells how, too, as go does."""

    __slots__ = ("_local", "_named")

    def __init__(self, config: KadConfig, local: PeerId, named: Callable[[PeerInfo], None]) -> None:
        """`named(peer)`: ourselves, with the addresses that somebody has of us."""
        super().__init__(config, RawKey(local.raw))
        self._local = local
        self._named = named

    def read(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> Answer:
        """Closer peers alone."""
        answer = super().read(peer, protocol, payload, now)
        for one in answer.closer:
            if one.peer_id == self._local:
                self._named(one)
        return answer


class GetProviders(Query):
    """Ask for who provides a key; every provider is an item, once."""

    __slots__ = ("_choices", "_config", "_hidden", "_limit", "found")

    def __init__(
        self,
        config: KadConfig,
        key: RawKey,
        limit: int | None = None,
        hidden: Callable[[float], Container[PeerId]] = lambda now: (),
    ) -> None:
        """`limit`: this many providers are enough, None: all that the k closest know. `hidden(now)`: who is
        not taken for one, whatever others still hold of it."""
        self._hidden = hidden
        super().__init__(seeks_peers=False)
        self._config = config
        self._choices = (Choice(config.protocol, encode_request(Kind.GET_PROVIDERS, key)),)
        self._limit = limit
        self.found: dict[bytes, PeerInfo] = {}

    def choices(self, peer: PeerInfo) -> tuple[Choice, ...]:
        """The same to everyone."""
        return self._choices

    def read(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> Answer:
        """Providers that are new, and closer peers."""
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
        """The limit is reached."""
        return self._limit is not None and len(self.found) >= self._limit

    def take(self, providers: tuple[PeerInfo, ...]) -> list[PeerInfo]:
        """Note providers; those not known before, or known without addresses so far."""
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


# Providers one lookup notes: 200 peers with 256 entries each would be too many to hold for one caller.
MAX_PROVIDERS_FOUND = 4096


class AnnounceProvider:
    """Store: ADD_PROVIDER of ourselves. It has no reply, so one that could be written counts."""

    __slots__ = ("_choices", "_config", "_key", "_local", "_told")

    def __init__(self, config: KadConfig, key: RawKey, local: Callable[[], PeerInfo]) -> None:
        self._config = config
        self._key = key
        self._local = local
        self._told: PeerInfo | None = None  # who `_choices` tell of: they are the same for all storers
        self._choices: tuple[Choice, ...] = ()

    def choices(self, peer: PeerInfo, answered_protocol: str | None) -> tuple[Choice, ...]:
        """With the addresses we have now; none at all: others would refuse it, so nothing is sent."""
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
        """Every peer of this protocol does."""
        return True

    def read_ack(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> bool | None:
        """Written is all there is to know."""
        return True

    def refusal(self, peer: PeerInfo) -> tuple[str, bool]:
        """Nobody says no to what has no reply."""
        return "refused", False

    def quorum_size(self, counting_peers: int) -> int:
        """One storer makes the key findable."""
        return min(1, counting_peers)
