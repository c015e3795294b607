"""Faults put into the product on purpose: the oracle finds each, or it would find no others either."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any

import pytest

from fastmarket.core.node import NodeCore
from fastmarket.core.registrations import PutOperation
from fastmarket.formats.choice import FailureKind
from fastmarket.kad.outcome import Outcome
from fastmarket.kad.records import put_job
from fastmarket.net.clock import Clock
from fastmarket.offers.announce.reprovider import Reprovider
from fastmarket.offers.model import offer as offers
from fastmarket.storage.database import OfferDatabase
from fastmarket.storage.unwritten import Unwritten
from fastmarket.storage.whole_file import WholeFile

Plant = Callable[[pytest.MonkeyPatch], None]


def acknowledged_before_it_is_on_disk(patch: pytest.MonkeyPatch) -> None:
    def hasty(self: PutOperation, now: float) -> None:
        if self._is_settled:
            self.report(now)

    patch.setattr(PutOperation, "try_finish", hasty)


def acknowledged_before_it_is_synced(patch: pytest.MonkeyPatch) -> None:
    migrate = OfferDatabase._migrate

    def careless(self: OfferDatabase) -> None:
        migrate(self)
        self._connection.execute("PRAGMA synchronous=OFF")

    patch.setattr(OfferDatabase, "_migrate", careless)


def a_withdrawal_is_forgotten_by_a_restart(patch: pytest.MonkeyPatch) -> None:
    add = Unwritten.add

    def forgetful(self: Unwritten, change: Any) -> None:
        if not (change.own and change.offer.withdrawn):
            add(self, change)

    patch.setattr(Unwritten, "add", forgetful)


def a_dead_slot_is_forgotten_by_a_restart(patch: pytest.MonkeyPatch) -> None:
    take = Unwritten.take

    def forgetful(self: Unwritten) -> Any:
        rows, together = take(self)
        return [row for row in rows if not row[2]], offers_without_dead(together)

    def offers_without_dead(together: Any) -> Any:
        return type(together)(together.gone, together.batches, (), together.over, together.seq)

    patch.setattr(Unwritten, "take", forgetful)


def a_seq_is_what_the_clock_says(patch: pytest.MonkeyPatch) -> None:
    stamp = offers._stamp

    def naive(signing: Any, now: float, seq: int) -> Any:
        return int(now * 1_000_000), *stamp(signing, now, seq)[1:]

    patch.setattr(offers, "_stamp", naive)


def a_timer_is_not_armed_after_an_error(patch: pytest.MonkeyPatch) -> None:
    handle, timer = NodeCore.handle_failure, NodeCore.next_timer
    broken: set[int] = set()

    def handle_failure(self: NodeCore, request_id: int, kind: FailureKind, now: float) -> None:
        broken.add(id(self))
        handle(self, request_id, kind, now)

    def next_timer(self: NodeCore) -> float:
        when = timer(self)
        if id(self) in broken:
            broken.discard(id(self))
            return inf
        return when

    patch.setattr(NodeCore, "handle_failure", handle_failure)
    patch.setattr(NodeCore, "next_timer", next_timer)


def a_failed_write_is_not_repeated(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Unwritten, "own_of", lambda self, failed: None)


def a_quorum_is_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Outcome, "is_reached", property(lambda self: self.acknowledged >= min(self.wanted, 1)))


def a_failed_storer_counts(patch: pytest.MonkeyPatch) -> None:
    on_failure = put_job.PutJob.on_failure

    def counted(self: put_job.PutJob, token: int, kind: FailureKind, now: float) -> None:
        out = self._out.get(token)
        on_failure(self, token, kind, now)
        if out is not None:
            self._copies[out.peer.peer_id.key] = put_job._Copy.STORED
            self._check_quorum()

    patch.setattr(put_job.PutJob, "on_failure", counted)


def a_newer_version_of_ours_is_not_taken_over(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reprovider, "on_newer", lambda self, offer, now: None)


def timers_follow_the_system_clock(patch: pytest.MonkeyPatch) -> None:
    def step(self: Clock, system: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._monotonic, self._offset = system, 0.0

    patch.setattr(Clock, "__init__", step)


def a_file_is_replaced_in_its_place(patch: pytest.MonkeyPatch) -> None:
    def write(self: WholeFile, content: bytes) -> None:
        with suppress(OSError):
            self._system.write(self.path, content)

    patch.setattr(WholeFile, "write", write)


@dataclass(frozen=True)
class Planted:
    """`put` puts a fault into the product for a test; `seed`: of a small plan that shows it."""

    put: Plant
    seed: int


PLANTED: Mapping[str, Planted] = {
    planted.put.__name__: planted
    for planted in (
        Planted(acknowledged_before_it_is_on_disk, 18),
        Planted(acknowledged_before_it_is_synced, 1),
        Planted(a_withdrawal_is_forgotten_by_a_restart, 2),
        Planted(a_dead_slot_is_forgotten_by_a_restart, 4),
        Planted(a_seq_is_what_the_clock_says, 11),
        Planted(a_timer_is_not_armed_after_an_error, 8),
        Planted(a_failed_write_is_not_repeated, 11),
        Planted(a_quorum_is_one, 1),
        Planted(a_failed_storer_counts, 1),
        Planted(a_newer_version_of_ours_is_not_taken_over, 4),
        Planted(timers_follow_the_system_clock, 3),
        Planted(a_file_is_replaced_in_its_place, 26),
    )
}
