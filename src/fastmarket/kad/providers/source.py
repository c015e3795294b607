"""Providers of a key that another protocol of this node knows of."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo


class ProviderSource:
    """What replies to GET_PROVIDERS tell beside the provider records; this one knows of no others.

    Its owner tells the cache of these replies what changed: the key, or the addresses of a provider.
    """

    __slots__ = ()

    def holders(self, key: bytes, now: float) -> tuple[Iterable[PeerInfo], float]:
        """The providers, and until when they stay just these unless one of them changes (unix seconds). The
        local peer may come without addresses."""
        return (), inf

    def withdrawn_providers(self, key: bytes, now: float) -> frozenset[PeerId]:
        """Peers whose provider records of the key are not told: they have taken back what they announced."""
        return frozenset()


NO_OTHER_PROVIDERS = ProviderSource()
