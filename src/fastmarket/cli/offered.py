"""What the node offers in the user's name. The node is asked, since the list on disk may be ahead of it.

Its database may have been lost or restored from a backup, its offers may have expired while it was down, and
the same contents may have been registered since under other terms.
"""

from __future__ import annotations

import ipaddress
import time
from contextlib import aclosing
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from fastmarket.cli.profile import Profile
from fastmarket.errors import CallerFault
from fastmarket.formats.cid import Cid

if TYPE_CHECKING:
    from fastmarket.market.grpc_client import MarketClient, OwnOffer


class Terms(NamedTuple):
    """Terms of an offer; the list stores those of the profile as `text`."""

    price: int | None
    ip: str
    port: int
    name: str

    @classmethod
    def of(cls, profile: Profile) -> Terms:
        """The terms the user currently offers under."""
        return cls(profile.price, profile.client_ip, profile.client_port, profile.username)

    @property
    def text(self) -> str:
        """The form in which the list stores them."""
        return repr(tuple(self))


class Offered:
    """Contents for which one user has a live offer under given terms."""

    def __init__(self, terms: Terms) -> None:
        self._terms = _canonical(terms)
        self._contents: set[bytes] = set()

    def take(self, offer: OwnOffer, now: float) -> None:
        """Adds one of the node's offers if it is live and has these terms."""
        holder = offer.holder
        live = holder.not_after is None or holder.not_after > now
        if live and _canonical(Terms(holder.price, holder.ip, holder.port, holder.name)) == self._terms:
            self._contents.add(_multihash(offer.content))

    def __contains__(self, cid: str) -> bool:
        return _multihash(cid) in self._contents


async def offered(client: MarketClient, user_id: bytes, profile: Profile) -> Offered:
    """Lists the node's offers and keeps the user's."""
    found, now = Offered(Terms.of(profile)), time.time()
    async with aclosing(client.list_offers()) as offers:
        async for offer in offers:
            if offer.holder.id == user_id:
                found.take(offer, now)
    return found


@lru_cache(maxsize=1024)
def _canonical(terms: Terms) -> Terms:
    try:
        return terms._replace(ip=str(ipaddress.ip_address(terms.ip)))
    except ValueError:
        return terms


def _multihash(content: str) -> bytes:
    """The multihash of a CID, or one in hex."""
    try:
        return Cid.from_text(content).multihash
    except CallerFault:
        try:
            return bytes.fromhex(content)
        except ValueError:
            return content.encode()
