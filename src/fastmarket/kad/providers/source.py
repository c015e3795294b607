"""Providers of a key that another protocol of this node knows."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo


class ProviderSource:
    """Additional providers for replies to GET_PROVIDERS, beside the provider records; this class has none.

    Its owner invalidates the cache of these replies when something changes: the key, or a provider's
    addresses.
    """

    __slots__ = ()

    def holders(self, key: bytes, now: float) -> tuple[Iterable[PeerInfo], float]:
        """The providers, and how long they stay the same unless one of them changes (unix seconds). The local
        peer may come without addresses."""
        return (), inf

    def withdrawn_providers(self, key: bytes, now: float) -> frozenset[PeerId]:
        """Peers whose provider records of the key are omitted, because they have withdrawn what they
        announced."""
        return frozenset()


NO_OTHER_PROVIDERS = ProviderSource()
