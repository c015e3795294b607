"""Operations that put own offers: single and batched registrations, and withdrawals.

Over 400 lines: an operation and its batch know each other; in two files they would import each other.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastmarket.core.batching import RegistrationBatcher, SliceQueue, Slot
from fastmarket.core.durability import Durability, Tickets
from fastmarket.core.operations import JobOwner, Operation, OperationHost
from fastmarket.errors import FastmarketError, NotDurable
from fastmarket.kad.outcome import NOBODY_ASKED, Outcome
from fastmarket.kad.records.put_job import PutJob
from fastmarket.native.sha256 import sha256_many
from fastmarket.offers.announce.sweep import Settled
from fastmarket.offers.model.offer import OfferTerms
from fastmarket.offers.protocol import Announcement, Sweep, Wanted

# Share of a command's time for the disk; the rest is for reporting to the caller.
DISK_SHARE = 0.8
# Minimum of seconds for the disk after the network has used up a command's time: a commit takes less.
MIN_DISK_WAIT_S = 0.02
# Batches in progress, including retried ones; while there are more, each keeps its slot to its end.
MAX_EARLY_RELEASES = 256


class RegistrationHost(OperationHost):
    """What registrations and withdrawals need in addition."""

    __slots__ = ()

    tickets: Tickets
    batcher: RegistrationBatcher[Registration]
    slices: SliceQueue[RegistrationPart]

    @property
    def batch_count(self) -> int:
        """Batches of registrations in progress."""
        raise NotImplementedError

    def announce(self, wanted: Wanted, owner: JobOwner | None, now: float) -> bool:
        """Starts an announcement, whose end returns to its schedule; False: it is postponed."""
        raise NotImplementedError

    def begin_batch(self, batch: RegistrationBatch, now: float) -> None:
        """Starts a batch."""
        raise NotImplementedError

    def end_batch(self, batch: RegistrationBatch) -> None:
        """The registrations of a batch have settled."""
        raise NotImplementedError

    def await_durable(self, operation: PutOperation) -> int:
        """The ticket that covers all changes of own offers so far; `operation.on_persisted` is called when it
        is answered."""
        raise NotImplementedError


class PutOperation(Operation):
    """Puts something of this node: signed and made durable here, and stored by a quorum.

    It is *acknowledged* when the network part has settled with its quorum reached and everything signed for
    it is durable: in `try_finish`, and nowhere else.
    """

    __slots__ = ("_disk_until", "_is_settled", "_node", "_timeout_s", "ticket")

    def __init__(self, host: RegistrationHost, number: int, timeout_s: float) -> None:
        super().__init__(host, number)
        self._node = host
        self._timeout_s = timeout_s
        self._is_settled = False
        self.ticket = 0
        """The ticket of the last changes that must be durable; 0: none."""
        self._disk_until = 0.0

    def begin(self, now: float) -> None:
        self._disk_until = now + DISK_SHARE * self._timeout_s
        self._node.arm(self, now + self._timeout_s)

    def note_signed(self) -> None:
        """Own offers have changed for this operation and must become durable."""
        self.ticket = self._node.await_durable(self)

    def settle(self, now: float) -> None:
        """The network part has ended, or its time is used up."""
        if not self._is_settled:
            self._is_settled = True
            self._disk_until = max(self._disk_until, now + MIN_DISK_WAIT_S)
            self.try_finish(now)
            self._node.arm(self, self._disk_until)

    def try_finish(self, now: float) -> None:
        """Finishes once settled and durable, or when it cannot become durable."""
        state = self._node.tickets.state(self.ticket)
        if state is Durability.FAILED:
            self._node.finish(self, fault=NotDurable(self._node.tickets.fault))
        elif self._is_settled and state is Durability.DURABLE:
            self.report(now)
        elif self._is_settled and now >= self._disk_until:
            wait_s = DISK_SHARE * self._timeout_s
            self._node.finish(self, fault=NotDurable(f"the disk has not taken it within {wait_s:.1f} s"))

    def report(self, now: float) -> None:
        """Finishes with the outcome."""
        raise NotImplementedError

    def on_timer(self, now: float) -> None:
        if self._is_settled:
            self.try_finish(now)
        else:
            self.settle(now)

    def on_persisted(self, now: float) -> None:
        self.try_finish(now)


class Announcing(PutOperation):
    """One announcement by a job of its own: a withdrawal, or a registration that came alone."""

    __slots__ = ("_job", "_slot", "_waits_for_all", "_wanted")

    def __init__(
        self,
        host: RegistrationHost,
        number: int,
        timeout_s: float,
        wanted: Announcement,
        *,
        waits_for_all: bool,
    ) -> None:
        """`waits_for_all`: for all storers, not only for the quorum."""
        super().__init__(host, number, timeout_s)
        self._wanted = wanted
        self._job: PutJob = wanted.job
        self._waits_for_all = waits_for_all
        self._slot: Slot | None = None

    def begin(self, now: float) -> None:
        super().begin(now)
        self.note_signed()
        if not self._waits_for_all:
            self._slot = self._node.batcher.begin_alone()
        if not self._node.announce(self._wanted, self, now):
            self.settle(now)

    def on_progress(self, item: object, now: float) -> None:
        if not self._waits_for_all:
            self.settle(now)

    def on_result(self, result: object, now: float) -> None:
        self.settle(now)

    def abandon(self) -> None:
        self._release()

    def on_bug(self, fault: FastmarketError, now: float) -> None:
        self._release()
        super().on_bug(fault, now)

    def settle(self, now: float) -> None:
        self._release()
        super().settle(now)

    def report(self, now: float) -> None:
        self._node.finish(self, self._node.explained(self._job.so_far().outcome, now))

    def _release(self) -> None:
        if self._slot is not None:
            self._slot.release()


class Registration(PutOperation):
    """A batched registration. It is made even if its caller goes away."""

    __slots__ = ("_outcome", "terms")

    def __init__(self, host: RegistrationHost, number: int, timeout_s: float, terms: OfferTerms) -> None:
        super().__init__(host, number, timeout_s)
        self.terms = terms
        self._outcome = NOBODY_ASKED

    def begin(self, now: float) -> None:
        super().begin(now)
        self._node.batcher.add(self)

    def on_outcome(self, outcome: Outcome, is_final: bool, now: float) -> None:
        """Takes the outcome, preliminary or final."""
        self._outcome = outcome
        if is_final:
            self.settle(now)

    def report(self, now: float) -> None:
        self._node.finish(self, self._node.explained(self._outcome, now))


class ManyRegistrations(PutOperation):
    """`RegisterMany`, slice by slice along the key space; a slice is signed and stored when an earlier one
    has been, so that little is held at once.

    Offers not signed before the timeout were never registered: their outcome has none asked, and one wanted.
    """

    __slots__ = ("_left", "_outcomes", "_terms")

    def __init__(
        self, host: RegistrationHost, number: int, timeout_s: float, terms: Sequence[OfferTerms]
    ) -> None:
        super().__init__(host, number, timeout_s)
        self._terms = terms
        self._outcomes = [NOBODY_ASKED] * len(terms)
        self._left = len(terms)

    @property
    def is_open(self) -> bool:
        """Whether slices that have not started are still wanted."""
        return not (self._is_settled or self.is_finished)

    def begin(self, now: float) -> None:
        host = self._node
        host.offers.own.check_room(self._terms)
        super().begin(now)
        keys = sha256_many([terms.content for terms in self._terms])
        order = sorted(range(len(self._terms)), key=keys.__getitem__)
        host.slices.add(RegistrationPart(self, order, now + self._timeout_s))
        if not order:
            self.settle(now)

    def terms_at(self, indices: Sequence[int]) -> list[OfferTerms]:
        """The terms of a slice."""
        return [self._terms[index] for index in indices]

    def on_outcome(self, index: int, outcome: Outcome, is_final: bool, now: float) -> None:
        """Takes the outcome of one registration, preliminary or final."""
        self._outcomes[index] = outcome
        self._left -= is_final
        if not self._left:
            self.settle(now)

    def fail(self, fault: Exception) -> None:
        """A slice could not be signed."""
        self._node.finish(self, fault=fault)

    def report(self, now: float) -> None:
        host = self._node
        host.finish(self, result=[host.explained(outcome, now) for outcome in self._outcomes])

    def cancel(self, now: float) -> None:
        self.settle(now)  # with the counts so far: slices that have not started never will


class BatchTarget:
    """The registrations in a batch."""

    __slots__ = ()

    is_divisible = True
    """Whether, if some are faulty, the others are made nevertheless."""

    def on_signed(self, index: int) -> None:
        """The registration is signed and stored here."""

    def on_outcome(self, index: int, outcome: Outcome, is_final: bool, now: float) -> None:
        """The outcome of the registration at `index` in the batch; not `is_final`: it is retried."""
        raise NotImplementedError

    def on_fault(self, index: int, fault: FastmarketError) -> None:
        """The registration could not be made."""
        raise NotImplementedError


class RegistrationPart(BatchTarget):
    """A slice of `ManyRegistrations`, or those not begun yet: with the first fault none of it is made, and
    the caller is told."""

    __slots__ = ("_deadline", "indices", "owner")

    is_divisible = False

    def __init__(self, owner: ManyRegistrations, indices: Sequence[int], deadline: float) -> None:
        self.owner = owner
        self.indices = indices
        self._deadline = deadline

    def __len__(self) -> int:
        return len(self.indices)

    def cut(self, size: int) -> RegistrationPart:
        """See `batching.Divisible`."""
        indices = self.indices
        self.indices = indices[size:]
        return RegistrationPart(self.owner, indices[:size], self._deadline)

    def retry_s(self, most_s: float, now: float) -> float:
        """Some of many may be refused for good, while the caller waits for all."""
        return max(min(self._deadline - now, most_s), 0.0)

    def on_signed(self, index: int) -> None:
        self.owner.note_signed()

    def on_outcome(self, index: int, outcome: Outcome, is_final: bool, now: float) -> None:
        self.owner.on_outcome(self.indices[index], outcome, is_final, now)

    def on_fault(self, index: int, fault: FastmarketError) -> None:
        self.owner.fail(fault)


class RegistrationGroup(BatchTarget):
    """Registrations that are batched together."""

    __slots__ = ("_host", "_members")

    def __init__(self, host: RegistrationHost, members: Sequence[Registration]) -> None:
        self._host = host
        self._members = members

    def on_signed(self, index: int) -> None:
        self._members[index].note_signed()

    def on_outcome(self, index: int, outcome: Outcome, is_final: bool, now: float) -> None:
        self._members[index].on_outcome(outcome, is_final, now)

    def on_fault(self, index: int, fault: FastmarketError) -> None:
        self._host.finish(self._members[index], fault=fault)


class RegistrationBatch(JobOwner):
    """Registrations that one sweep signs, stores and announces together."""

    __slots__ = ("_first", "_host", "_open", "_places", "_retry_s", "_slot", "_target", "_terms")

    def __init__(
        self,
        host: RegistrationHost,
        terms: Sequence[OfferTerms],
        target: BatchTarget,
        slot: Slot,
        retry_s: float,
        first: int = 0,
    ) -> None:
        """`first`: index of the first of these terms in the target."""
        self._host = host
        self._terms = terms
        self._target = target
        self._slot = slot
        self._retry_s = retry_s
        self._first = first
        self._places: Sequence[Sequence[int]] = ()
        self._open = set(range(len(terms)))

    def begin(self, now: float) -> None:
        """Signs and announces. If some terms are faulty, halves the batch, if that is allowed."""
        terms, host = self._terms, self._host
        try:
            sweep = host.offers.register_many(terms, now, self._retry_s)
        except FastmarketError as fault:
            host.end_batch(self)
            self._split(fault, now)
            return
        self._places = places_of(terms, sweep)
        for index in self._open:
            self._target.on_signed(self._first + index)
        if not host.announce(sweep, self, now):
            self._end(now)

    def _split(self, fault: FastmarketError, now: float) -> None:
        terms = self._terms
        if len(terms) == 1 or not self._target.is_divisible:
            self._fail(fault)
            return
        middle = len(terms) // 2
        for part, first in ((terms[:middle], 0), (terms[middle:], middle)):
            half = RegistrationBatch(
                self._host, part, self._target, self._slot, self._retry_s, self._first + first
            )
            self._host.begin_batch(half, now)

    def on_progress(self, item: object, now: float) -> None:
        assert isinstance(item, Settled)
        for is_final, groups in ((False, item.again), (True, item.groups)):
            for group, outcome in groups:
                for place in group:
                    for index in self._places[place]:
                        self._settle(index, outcome, is_final, now)
        if not self._open:
            self._host.end_batch(self)  # storers beyond the quorum need not be waited for

    def on_result(self, result: object, now: float) -> None:
        self._end(now)

    def on_bug(self, fault: FastmarketError, now: float) -> None:
        self._fail(fault)
        self._host.end_batch(self)

    def _fail(self, fault: FastmarketError) -> None:
        for index in sorted(self._open):
            self._target.on_fault(self._first + index, fault)
            self._slot.report(self._first + index)
        self._open.clear()

    def _end(self, now: float) -> None:
        for index in sorted(self._open):
            self._settle(index, NOBODY_ASKED, True, now)
        self._host.end_batch(self)

    def _settle(self, index: int, outcome: Outcome, is_final: bool, now: float) -> None:
        self._target.on_outcome(self._first + index, outcome, is_final, now)
        if is_final:  # not before: after a bug in the target, its callers are still told of the bug
            self._open.discard(index)
        if is_final or self._host.batch_count <= MAX_EARLY_RELEASES:
            self._slot.report(self._first + index)


def places_of(terms: Sequence[OfferTerms], sweep: Sweep) -> Sequence[Sequence[int]]:
    """For each offer of the sweep, the indices of its terms: terms with equal keys share one offer."""
    if len(sweep.offers) == len(terms):
        return [(index,) for index in range(len(terms))]
    places: dict[tuple[bytes, bytes], list[int]] = {}
    for index, one in enumerate(terms):
        places.setdefault((one.content, one.user_id), []).append(index)
    return [places[offer.content, offer.user_id] for offer in sweep.offers]
