"""What offers say of fetching, in the terms of Delegated Routing V1: transfer protocols and addresses.

Names: multicodec table, 0x0900 and 0x0920. Addresses: those that boxo 0.43 and Helia 7 take for a gateway.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from fastmarket.errors import CallerFault
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.offers.model.metadata import Way
from fastmarket.offers.model.offer import Offer

# A holder of an offer gives its bytes to buyers that pay, as the offer says.
OFFER_TRANSFER = "fastmarket-offer"
BITSWAP_TRANSFER = "transport-bitswap"
GATEWAY_TRANSFER = "transport-ipfs-gateway-http"
TRANSFERS = frozenset({OFFER_TRANSFER, BITSWAP_TRANSFER, GATEWAY_TRANSFER})

_PORTS = {"http": 80, "https": 443}
_SUFFIXES = {"http": "/http", "https": "/tls/http"}


def transfers_of(offers: Iterable[Offer]) -> tuple[str, ...]:
    """How the contents of one holder's offers can be fetched.

    Bitswap only where the price is 0: who asks for it there has no way to pay."""
    names = [OFFER_TRANSFER]
    for offer in offers:
        if gateway_addr(offer) is not None:
            names.append(GATEWAY_TRANSFER)
        if offer.metadata.ways & Way.BITSWAP and offer.price_per_mb == 0:
            names.append(BITSWAP_TRANSFER)
    return tuple(dict.fromkeys(names))


def gateway_addrs(offers: Iterable[Offer]) -> tuple[Multiaddr, ...]:
    """The addresses of their gateways."""
    addrs = (gateway_addr(offer) for offer in offers)
    return tuple(dict.fromkeys(addr for addr in addrs if addr is not None))


def gateway_addr(offer: Offer) -> Multiaddr | None:
    """Where the offer's content is served over HTTP, or None: nowhere, or below a path, which no multiaddr of
    a gateway can name."""
    url = gateway_url(offer)
    if not url:
        return None
    parts = urlsplit(url)
    if parts.path not in ("", "/") or parts.hostname is None:
        return None
    port = parts.port or _PORTS[parts.scheme]
    text = f"{_host(parts.hostname)}/tcp/{port}{_SUFFIXES[parts.scheme]}"
    try:
        return Multiaddr.from_text(text)
    except CallerFault:
        return None


def gateway_url(offer: Offer) -> str:
    """The URL at which /ipfs/CID of the offer's content begins, without a slash at its end; "" if the offer
    names none, or one that is not of HTTP."""
    metadata = offer.metadata
    if not metadata.ways & (Way.HTTP | Way.HTTPS):
        return ""
    if metadata.url:
        return metadata.url.rstrip("/") if _is_usable(metadata.url) else ""
    scheme = "https" if metadata.ways & Way.HTTPS else "http"
    host = f"[{metadata.ip}]" if ":" in metadata.ip else metadata.ip
    return f"{scheme}://{host}:{metadata.port}"


def _is_usable(url: str) -> bool:
    """A stranger wrote it: no credentials, query or fragment, and a port that is one."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        return False
    return not (parts.username or parts.password or parts.query or parts.fragment)


def _host(host: str) -> str:
    try:
        return f"/ip{ip_address(host).version}/{host}"
    except ValueError:
        return f"/dns/{host}"
