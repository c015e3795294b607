"""The lookup for providers."""

from __future__ import annotations

from dataclasses import dataclass

from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.lookup.lookup import End, Lookup
from fastmarket.kad.lookup.lookup_job import LookupJob, LookupResult, Seeds, lookup_result
from fastmarket.kad.lookup.queries import GetProviders


@dataclass(frozen=True, slots=True)
class FindProvidersResult:
    """All providers found, in order; a lookup with another end than COMPLETE may have missed some."""

    providers: tuple[PeerInfo, ...]
    lookup: LookupResult


class FindProvidersJob(LookupJob):
    """Progress: PeerInfo of each provider, again if its addresses arrive later. Result:
    FindProvidersResult."""

    __slots__ = ("_own", "_query")

    def __init__(
        self, lookup: Lookup, query: GetProviders, seeds: Seeds, timeout_s: float, own: tuple[PeerInfo, ...]
    ) -> None:
        """`own`: providers known here."""
        super().__init__(lookup, seeds, timeout_s)
        self._query = query
        self._own = own

    def start(self, now: float) -> None:
        """Those known here come first, and may be enough."""
        super().start(now)
        self._events.extend(self._query.take(self._own))
        if self._query.has_enough:
            self.lookup.stop(End.STOPPED)

    def conclude(self, now: float) -> FindProvidersResult:
        """All providers collected."""
        return FindProvidersResult(tuple(self._query.found.values()), lookup_result(self.lookup))
