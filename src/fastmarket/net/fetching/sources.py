"""Where the holders of a content are found: offers, and providers that made none."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Hashable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import urlsplit

from fastmarket.config import HolderConfig
from fastmarket.errors import CallerFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.net.clock import Clock
from fastmarket.net.fetching.holders import BlockAnswers, BlockHolder
from fastmarket.net.fetching.http_dialer import HttpDialer
from fastmarket.net.fetching.http_holder import HttpHolder
from fastmarket.net.fetching.http_target import HttpTarget
from fastmarket.net.fetching.payer import Payer
from fastmarket.net.fetching.wallet import Wallet
from fastmarket.net.gateways import gateway_url
from fastmarket.offers.lookup.local_answers import LocalAnswer
from fastmarket.offers.model.metadata import Way
from fastmarket.offers.model.offer import Offer
from fastmarket.offers.model.offer_set import OfferSet

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class FoundHolder:
    """One that may be asked. Two with the same `identity` are the same; of these the cheaper counts.

    `make`: what to ask, given who is answered. `most_requests` at a time. `is_offered`: it made an offer;
    one that did is not asked for nothing as well.
    """

    identity: Hashable
    price_per_mb: int
    make: Callable[[BlockAnswers], BlockHolder]
    provider: PeerId | None = None
    name: str = ""
    most_requests: int | None = None
    is_offered: bool = False


class HolderSource(Protocol):
    """A way to find holders."""

    def find(self, content: bytes, timeout_s: float) -> AsyncGenerator[FoundHolder, None]:
        """Holders of a content (a multihash) as they are found. Closing it ends the search. Raises
        NetworkFault, Busy."""


class HolderReach:
    """Makes what is asked of holders: HTTP, or Bitswap where the node speaks it."""

    def __init__(
        self,
        dialer: HttpDialer,
        config: HolderConfig,
        clock: Clock,
        bitswap: Callable[[PeerInfo, BlockAnswers, Payer | None], BlockHolder] | None = None,
        wallet: Wallet | None = None,
    ) -> None:
        """`wallet`: pays for what costs something; None: all are asked as if it cost nothing."""
        self._wallet = wallet
        self._dialer = dialer
        self._config = config
        self._clock = clock
        self._bitswap = bitswap

    def of_offer(self, offer: Offer) -> FoundHolder | None:
        """How its content is fetched as it says; where it says nothing, HTTP is tried. None: no way of
        ours."""
        metadata = offer.metadata
        target: HttpTarget | None = None
        with suppress(CallerFault):
            if not metadata.ways:
                target = HttpTarget(metadata.ip, metadata.port)
            elif url := gateway_url(offer):
                target = target_of(url)
        found: FoundHolder | None = None
        if target is not None:
            found = self._over_http(target, offer.provider, offer.content, metadata.price_per_mb)
        elif metadata.ways & Way.BITSWAP:
            peer = PeerInfo(offer.provider, ())
            found = self._over_bitswap(peer, offer.content, metadata.price_per_mb)
        if found is None:
            return None
        return replace(found, price_per_mb=metadata.price_per_mb, name=offer.user_name, is_offered=True)

    def of_provider(self, peer: PeerInfo) -> FoundHolder | None:
        """How one that made no offer is asked: at its HTTP address if it has one."""
        for addr in peer.addrs:
            target = target_of_addr(addr)
            if target is not None:
                return self._over_http(target, peer.peer_id)
        return self._over_bitswap(peer)

    def _over_http(
        self, target: HttpTarget, provider: PeerId, content: bytes = b"", price: int = 0
    ) -> FoundHolder:
        def make(answers: BlockAnswers) -> BlockHolder:
            payer = self._payer(provider, content, price)
            return HttpHolder(target, answers, self._dialer, self._config, self._clock, payer)

        return FoundHolder(
            (provider.raw, target.url),
            0,
            make,
            provider,
            most_requests=self._config.max_connections_per_holder,
        )

    def _over_bitswap(self, peer: PeerInfo, content: bytes = b"", price: int = 0) -> FoundHolder | None:
        bitswap = self._bitswap
        if bitswap is None:
            return None

        def make(answers: BlockAnswers) -> BlockHolder:
            return bitswap(peer, answers, self._payer(peer.peer_id, content, price))

        return FoundHolder((peer.peer_id.raw, "bitswap"), 0, make, peer.peer_id)

    def _payer(self, provider: PeerId, content: bytes, price: int) -> Payer | None:
        """None: nothing is paid."""
        wallet = self._wallet
        return None if wallet is None or not price else Payer.of(wallet, provider, content, price)


class OfferFinder(Protocol):
    """The part of `market.dht.Dht` that finds offers."""

    def known_offers(self, content: bytes) -> LocalAnswer | None:
        """See `market.dht.Dht`."""

    def find_offers(self, content: bytes, deadline_s: float) -> AsyncGenerator[Offer, None]:
        """See `market.dht.Dht`."""


class OfferSource:
    """Holders that made an offer."""

    def __init__(self, dht: OfferFinder, reach: HolderReach, clock: Clock) -> None:
        self._dht = dht
        self._reach = reach
        self._clock = clock

    async def find(self, content: bytes, timeout_s: float) -> AsyncGenerator[FoundHolder, None]:
        """See `HolderSource`. An offer that is withdrawn while the search runs may have been told."""
        known = self._dht.known_offers(content)
        if known is not None:
            for offer in known.offers:
                if (holder := self._reach.of_offer(offer)) is not None:
                    yield holder
            return
        found = OfferSet()
        async with aclosing(self._dht.find_offers(content, timeout_s)) as offers:
            async for offer in offers:
                if not found.add(offer) or not offer.is_live(self._clock.now()):
                    continue
                if (holder := self._reach.of_offer(offer)) is not None:
                    yield holder


class ProviderFinder(Protocol):
    """The part of `net.dht_node.DhtNode` that finds providers."""

    async def find_providers(
        self, key: bytes, *, limit: int | None = None, deadline_s: float
    ) -> Sequence[PeerInfo]:
        """See `net.dht_node.DhtNode`."""


class ProviderHolders:
    """Holders that made no offer: other nodes of IPFS, which give what they have for nothing."""

    def __init__(self, dht: ProviderFinder, reach: HolderReach) -> None:
        self._dht = dht
        self._reach = reach

    async def find(self, content: bytes, timeout_s: float) -> AsyncGenerator[FoundHolder, None]:
        """See `HolderSource`."""
        for peer in await self._dht.find_providers(content, deadline_s=timeout_s):
            if (holder := self._reach.of_provider(peer)) is not None:
                yield holder


def target_of(url: str) -> HttpTarget:
    """Of a gateway's URL. Raises CallerFault."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise CallerFault("url", str(error)) from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise CallerFault("url", "is not one of http or https")
    is_tls = parts.scheme == "https"
    return HttpTarget(parts.hostname, port or _PORTS[parts.scheme], is_tls, parts.path.rstrip("/"))


def target_of_addr(addr: Multiaddr) -> HttpTarget | None:
    """The gateway that a multiaddr names; None: it names none (boxo, bitswap/network/http_multiaddr.go)."""
    names = [name for name, _ in addr.parts]
    if not {"http", "https"} & {*names} or "http-path" in names or len(addr.parts) < 2:
        return None
    values = dict(addr.parts)
    host = next((values[kind] for kind in ("dns", "dns4", "dns6", "ip4", "ip6") if kind in values), None)
    is_tls = "https" in names or "tls" in names
    port = str(values.get("tcp") or (443 if is_tls else 80))
    try:
        return None if host is None else HttpTarget(str(values.get("sni") or host), int(port), is_tls)
    except CallerFault:
        return None
