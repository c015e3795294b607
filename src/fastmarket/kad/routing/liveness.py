"""Liveness probes: entries that block a newcomer, new entries, and unresponsive peers."""

from __future__ import annotations

from collections.abc import Callable

from fastmarket.config import KadConfig
from fastmarket.formats.identity import PeerId
from fastmarket.formats.kad_key import RawKey
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.jobs import JobRunner
from fastmarket.kad.lookup.lookup import earlier
from fastmarket.kad.lookup.queries import FindNode
from fastmarket.kad.routing.contact import Contact
from fastmarket.kad.routing.full_table import FullTable
from fastmarket.kad.routing.probe import ProbeJob
from fastmarket.kad.routing.table import RoutingTable


class ProbeList:
    """Starts the probes of one node, a few at a time; the table gets the results."""

    __slots__ = (
        "_check_at",
        "_checks",
        "_config",
        "_jobs",
        "_probe_at",
        "_probes",
        "_proofs",
        "_query",
        "_routing",
    )

    def __init__(self, config: KadConfig, local: PeerId, jobs: JobRunner, routing: RoutingTable) -> None:
        self._config = config
        self._query = FindNode(config, RawKey(local.raw))
        self._jobs = jobs
        self._routing = routing
        self._proofs = 0  # in progress
        self._checks = 0
        self._check_at = 0.0  # no probe of the full table before
        self._probes = 0
        self._probe_at = float("-inf")  # no probe before

    def check(self, oldest: Contact, now: float) -> None:
        """Probes an entry whose place a newcomer wants."""

        def done(alive: bool, at: float) -> None:
            # A peer that sent a request meanwhile is alive, even if the probe was lost.
            self._routing.on_checked(oldest, alive or oldest.seen > now, at)

        self._start(oldest.info, done, now)

    def next_timer(self) -> float | None:
        """When the next probe may start."""
        config, routing = self._config, self._routing
        when = routing.unproven[0][0] if routing.unproven and self._proofs < config.max_proofs else None
        if routing.unresponsive.by_key and self._probes < self._most_probes():
            due = routing.unresponsive.next_due()
            if due is not None:
                when = earlier(when, max(due, self._probe_at))
        if config.large_table and self._checks < config.max_proofs:
            due = routing.full_table.next_due()
            if due is not None:
                when = earlier(when, max(due, self._check_at))
        return when

    def handle_timer(self, now: float) -> None:
        """Probes the peers that are due."""
        config, routing = self._config, self._routing
        while self._proofs < config.max_proofs and (contact := routing.take_unproven(now)) is not None:
            self._prove(contact, now)
        while self._probes < self._most_probes() and self._probe_at <= now:
            if not self._probe(now):
                break
        if self._checks < config.max_proofs and self._check_at <= now:
            self._check_full_table(routing.full_table, now)

    def _most_probes(self) -> int:
        return self._config.max_probes if len(self._routing) else self._config.alpha

    def _prove(self, contact: Contact, now: float) -> None:
        def done(alive: bool, at: float) -> None:
            self._proofs -= 1
            self._routing.on_proven(contact, alive or contact.seen > now, now, at)

        self._proofs += 1
        self._start(contact.info, done, now)

    def _probe(self, now: float) -> bool:
        """Probes one unresponsive peer; its answer, like any answer, brings it back. False: none is due."""
        peer = self._routing.unresponsive.take_due(now)
        if peer is None:
            return False

        def done(alive: bool, at: float) -> None:
            self._probes -= 1

        self._probes += 1
        if len(self._routing):
            self._probe_at = now + self._config.probe_pause_s
        self._start(peer.info, done, now)
        return True

    def _check_full_table(self, full_table: FullTable, now: float) -> None:
        """Asks a peer of the full table for the peers around it; as with any request, the outcome decides
        whether it stays."""
        info = full_table.take_due(now)
        if info is None:
            return

        def done(alive: bool, at: float) -> None:
            self._checks -= 1

        self._checks += 1
        self._check_at = now + self._config.large_check_pause_s
        query = FindNode(self._config, RawKey(info.peer_id.raw))
        self._run(ProbeJob(info, query, self._config.check_timeout_s, full_table.on_named), done, now)

    def _start(self, peer: PeerInfo, done: Callable[[bool, float], None], now: float) -> None:
        self._run(ProbeJob(peer, self._query, self._config.check_timeout_s), done, now)

    def _run(self, job: ProbeJob, done: Callable[[bool, float], None], now: float) -> None:
        if len(self._jobs) >= self._config.max_jobs:
            done(True, now)  # no room for the probe: the peer is not to blame
        else:
            # None, after a bug of ours, is not held against the peer either.
            self._jobs.start(job, now, lambda alive, at: done(alive is not False, at))
