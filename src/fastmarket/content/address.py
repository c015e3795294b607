"""Where buyers find the content port: the address, ways and URL that offers state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from fastmarket.config import ContentConfig
from fastmarket.errors import CallerFault
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.scope import ip_of, scope_of
from fastmarket.offers.model.metadata import MAX_URL_BYTES, Way, check_host

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class ContentPlace:
    """What an offer says of where its bytes are."""

    ip: str
    port: int
    ways: int
    url: str = ""

    @property
    def base_url(self) -> str:
        """The URL before /ipfs/CID, without a slash at its end."""
        if self.url:
            return self.url
        scheme = "https" if self.ways & Way.HTTPS else "http"
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"{scheme}://{host}:{self.port}"


def check_url(url: str) -> None:
    """Raises CallerFault ("content-url") unless it is the URL of a place where a content port may be."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise CallerFault("content-url", str(error)) from None
    if parts.scheme not in _PORTS or not parts.hostname or port == 0 or parts.query or parts.fragment:
        raise CallerFault("content-url", f"expects http://HOST[:PORT] or https://HOST[:PORT], not {url!r}")
    if parts.username or parts.password:
        raise CallerFault("content-url", "holds credentials, which every buyer would see")
    if len(url) > MAX_URL_BYTES:
        raise CallerFault("content-url", f"has more than {MAX_URL_BYTES} characters")
    check_host("content-url", parts.hostname)


def content_place(
    config: ContentConfig,
    port: int,
    announced: Iterable[Multiaddr],
    forwarded: tuple[str, int] | None = None,
) -> ContentPlace:
    """The place of a content port bound to `port`. `forwarded`: an address and port outside that lead there.

    If it listens on all interfaces, the address is the one of widest scope in `announced`, the node's own for
    libp2p."""
    if config.url:
        return _behind(config.url)
    ways = int(Way.HTTPS if config.cert else Way.HTTP)
    ip = config.host
    if forwarded is not None:
        return ContentPlace(*forwarded, ways)
    if _is_any(ip):
        ip = _widest(announced) or ("::1" if ":" in ip else "127.0.0.1")
    return ContentPlace(ip, port, ways)


def open_address(config: ContentConfig) -> IPv4Address | IPv6Address | None:
    """The address at which buyers on other machines can connect to the content port itself; None: at none
    that is known here."""
    try:
        found = ip_address(config.host)
    except ValueError:
        return None
    return None if config.url or found.is_loopback else found


def _behind(url: str) -> ContentPlace:
    parts = urlsplit(url)
    assert parts.hostname is not None, "checked by check_url"
    port = parts.port or _PORTS[parts.scheme]
    ways = int(Way.HTTPS if parts.scheme == "https" else Way.HTTP)
    return ContentPlace(parts.hostname, port, ways, url.rstrip("/") if parts.path.strip("/") else "")


def _is_any(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def _widest(announced: Iterable[Multiaddr]) -> str:
    """The IP address of the widest scope, IPv4 first: more buyers have it."""
    found = []
    for addr in announced:
        ip = ip_of(addr)
        if ip is not None:
            found.append((scope_of(ip), -ip.version, str(ip)))
    return max(found, key=lambda entry: entry[:2])[2] if found else ""
