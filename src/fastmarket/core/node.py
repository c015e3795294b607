"""The node as one sans-IO object: Kademlia, offers, what connects them, and every command.

A driver feeds it requests, outcomes of its own requests, events of peers, and time. After each of these it
executes `poll_actions`, delivers `poll_events`, and arms `next_timer`. `core.driving` does that in one place
for all drivers: the network, the simulator, the tests.

Over 400 lines: it has a method for each input, each output, and each need of an operation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any, TypeAlias

from fastmarket.config import NodeConfig
from fastmarket.core import commands as c
from fastmarket.core.answers import AddressBook, OfferHolders
from fastmarket.core.batching import RegistrationBatcher, SliceQueue
from fastmarket.core.durability import Tickets
from fastmarket.core.events import (
    Action,
    AnnouncingPostponed,
    BugFound,
    ClockDiffers,
    Event,
    Finished,
    JobEnded,
    KnownAs,
    OffersRefused,
    PeerAnswered,
    PeerDisconnected,
    PeerEvent,
    PeerIdentified,
    PeerUnreachable,
    Persist,
    Progress,
)
from fastmarket.core.in_progress import InProgress
from fastmarket.core.making import make_operation
from fastmarket.core.operations import JobOwner, LookupOperation, Operation
from fastmarket.core.registrations import (
    PutOperation,
    Registration,
    RegistrationBatch,
    RegistrationGroup,
    RegistrationHost,
    RegistrationPart,
)
from fastmarket.errors import FastmarketError, NodeFault
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.kad.engine import Engine, Mode
from fastmarket.kad.events import JobFault, JobFinished, JobProgress
from fastmarket.kad.jobs import Job
from fastmarket.kad.lookup.lookup import earlier
from fastmarket.kad.outcome import Outcome
from fastmarket.kad.records.record import DEFAULT_RULES, RecordRule
from fastmarket.kad.records.tracked_store import TrackedRecordStore
from fastmarket.kad.wire.response_cache import ResponseCaches
from fastmarket.offers.lookup.local_answers import LocalAnswers
from fastmarket.offers.protocol import OfferProtocol, Wanted
from fastmarket.offers.store.offer_store import OfferStore
from fastmarket.run_all import PAUSE_S
from fastmarket.trace import NULL_TRACE, Trace

Responder: TypeAlias = Callable[[PeerId, bytes, float, bytes], bytes | None]
"""`(sender, request, now, sender's address block)` -> the reply, unframed; None: no reply. Raises PeerFault:
reset the stream."""


def _responders(config: NodeConfig, engine: Engine, offers: OfferProtocol) -> dict[str, Responder]:
    # A server's need not look at the mode.
    kademlia = engine.handlers.handle if config.server_mode else engine.handle_request
    return {config.kad.protocol: kademlia, config.offers.protocol: offers.answer}


class _Running:
    """A job in progress; `wanted`: the announcement it makes."""

    __slots__ = ("began", "job", "owner", "wanted")

    def __init__(self, job: Job, owner: JobOwner | None, wanted: Wanted | None, began: float) -> None:
        self.job = job
        self.owner = owner
        self.wanted = wanted
        self.began = began


class NodeCore(RegistrationHost):
    """One node. Times are unix seconds on one scale; entropy is an argument; no method blocks."""

    __slots__ = (
        "_are_timers_old",
        "_batches",
        "_changes",
        "_entries",
        "_events",
        "_is_touched",
        "_jobs",
        "_not_before",
        "_offers_due",
        "_operations",
        "_operations_at",
        "_parts_at",
        "_runner",
        "_table",
        "_table_size",
        "batcher",
        "caches",
        "config",
        "engine",
        "has_more",
        "is_joining",
        "local_answers",
        "offers",
        "records",
        "responders",
        "slices",
        "tickets",
        "turn",
    )

    def __init__(
        self,
        identity: Identity,
        config: NodeConfig,
        addresses: AddressBook,
        *,
        now: float,
        entropy: Callable[[int], bytes],
        rules: Mapping[bytes, RecordRule] = DEFAULT_RULES,
        trace: Trace = NULL_TRACE,
    ) -> None:
        """`rules`: which values are valid under the keys of a namespace (`kad.records.record`)."""
        local = identity.peer_id
        self.config = config
        caches = self.caches = ResponseCaches()
        """Invalidated when the offers of a content, or the addresses of a peer, change."""
        store = OfferStore(config.offers, None, local.key, caches)
        self._changes = store.changes
        self.records = TrackedRecordStore(config.kad, local.key)
        self.engine = Engine(
            config.kad,
            local,
            now=now,
            entropy=entropy,
            rules=rules,
            trace=trace,
            records=self.records,
            providers=OfferHolders(local, store, addresses),
            caches=caches,
            mode=Mode.SERVER if config.server_mode else Mode.CLIENT,
        )
        self._runner = self.engine.jobs
        self.offers = OfferProtocol(identity, self.engine, config.offers, trace, store=store, caches=caches)
        self.responders = _responders(config, self.engine, self.offers)
        """Answers inbound requests, by protocol. Check `turn.is_wanted` after each."""
        table = self._table = self.engine.routing
        self._entries, self.turn = table.entries, table.turn
        self.local_answers = LocalAnswers(store, (table.entries, table.full_table.entries), config.offers)
        self._begin_idle()

    def _begin_idle(self) -> None:
        """Nothing is in progress, and nothing has been looked at."""
        self.tickets = Tickets()
        self.batcher: RegistrationBatcher[Registration] = RegistrationBatcher(self.config.offers)
        self.slices: SliceQueue[RegistrationPart] = SliceQueue(self.config.offers)
        self.is_joining = False
        """A bootstrap has been started."""
        self._operations = InProgress()
        self._jobs: dict[int, _Running] = {}
        self._batches: set[RegistrationBatch] = set()
        self._events: list[Event] = []
        self.has_more = False
        """Whether polling again may return more."""
        self._table_size = 0
        self._offers_due = False  # announcements may be due, or there is room for more
        # Offers, registrations and commands may want something, or earlier timers. Nearly all turns concern
        # lookups alone; these read nothing of the others, which are seldom in the processor's caches.
        self._is_touched = self._are_timers_old = True
        self._parts_at = self._operations_at = inf  # timers of offers and registrations; of commands
        self._not_before = 0.0  # of the timer, after a bug

    # --- commands

    def start(self, command: c.Command, now: float, tag: object = None) -> int:
        """Starts a command and returns the operation's id. Raises CallerFault for its arguments (Busy: too
        much is in progress); everything else is reported by its `Finished`. `tag` is returned in
        `JobEnded`."""
        return self._begin(make_operation(self, self._operations.next_number(), command, now), now, tag)

    def start_job(self, job: Job, now: float, tag: object = None) -> int:
        """Like `start`, for a job without a command: a lookup with the caller's own query."""
        return self._begin(LookupOperation(self, self._operations.next_number(), job), now, tag)

    def cancel(self, operation: int, now: float) -> None:
        """The caller has gone: a lookup ends with what it has; a registration is announced nevertheless. An
        unknown or finished operation is ignored."""
        self.touch()
        begun = self._operations.get(operation)
        if begun is not None:
            self._tell(begun, "cancelling a command", begun.cancel, now)

    def keep_changes(self) -> None:
        """From now on changes of the offer store are emitted as `Persist`, and commands wait for the
        answers."""
        self._changes.collect()

    # --- input from the driver

    def touch(self) -> None:
        """Offers or commands may have changed: the next turn looks at all of them. Every method here that
        changes one calls it; so does whoever changes `offers` directly."""
        self._is_touched = self._are_timers_old = True

    def handle_reply(self, request_id: int, protocol: str, payload: bytes, now: float) -> None:
        """The reply to a SendRequest; ignored if it is no longer awaited."""
        self.engine.handle_reply(request_id, protocol, payload, now)

    def handle_failure(self, request_id: int, kind: FailureKind, now: float) -> None:
        """The failure of a SendRequest."""
        self.engine.handle_failure(request_id, kind, now)

    def handle_peer(self, event: PeerEvent, now: float) -> None:
        """Takes an event of a peer."""
        _PEER_HANDLERS[type(event)](self, event, now)
        self._look_at_table(now)

    def handle_persisted(self, ticket: int, fault: str, now: float) -> None:
        """The answer to a `Persist`; `fault` says why the changes are not durable, empty if they are."""
        self.touch()
        self.tickets.answer(ticket, fault)
        for operation in self._operations.take_answered(ticket):
            self._tell(operation, "acknowledging what is durable", operation.on_persisted, now)

    def next_timer(self) -> float:
        """When to call `handle_timer`."""
        if self._are_timers_old:
            self._are_timers_old = False
            self._note_timers()
        when = self.engine.next_timer()
        if self._parts_at < when:
            when = self._parts_at
        if when < self._not_before:
            when = self._not_before
        # Those of commands fire once each, so that none is due again at once.
        return self._operations_at if self._operations_at < when else when

    def handle_timer(self, now: float) -> None:
        """Lets time pass."""
        self._guard_timer("a turn of the DHT", self.engine.handle_timer, now)
        self._guard_timer("a look at the table", self._look_at_table, now)
        if self._are_timers_old or self._parts_at <= now or self._operations_at <= now:
            self._handle_other_timers(now)

    def poll_actions(self, now: float) -> Sequence[Action]:
        """Actions, in order."""
        if self.turn.is_wanted:
            self.turn.is_wanted = False
            self.touch()
        if not self._is_touched:
            return self._runner.poll_actions()
        if self._offers_due:
            self._offers_due = False
            self._guard_timer("beginning to announce offers", self._announce_due, now)
        if self.batcher.waiting or self.slices.waiting:
            self._guard_timer("beginning registrations", self._begin_registrations, now)
        requests = self._runner.poll_actions()
        if not self._changes.noted:
            return requests
        changes = self._changes.take()
        own = any(change.own for change in changes)
        return [*requests, Persist(changes, self.tickets.issue(own=own))]

    def poll_events(self, now: float) -> Sequence[Event]:
        """Events, in order; if `has_more` afterwards, poll both again."""
        of_jobs = self._runner.poll_events()
        if of_jobs:
            self.touch()
            for event in of_jobs:
                _JOB_HANDLERS[type(event)](self, event, now)
        elif not self._is_touched:
            self.has_more = False
            return ()
        if self.engine.named_us:
            self._events += [KnownAs(peer) for peer in self.engine.take_named_us()]
        if self.offers.refused_count:
            self._events.append(OffersRefused(self.offers.take_refused_count()))
        events, self._events = self._events, []
        self._is_touched = self.has_more = bool(of_jobs or events)
        return events

    @property
    def operation_count(self) -> int:
        """Commands in progress."""
        return len(self._operations)

    @property
    def awaiting_count(self) -> int:
        """Commands that wait for the answer to a `Persist`."""
        return self._operations.awaiting_count

    # --- for operations (RegistrationHost)

    @property
    def batch_count(self) -> int:
        return len(self._batches)

    def note_joining(self) -> None:
        self.is_joining = True

    def run(self, job: Job, owner: JobOwner, now: float) -> int:
        return self._run(job, owner, None, now)

    def stop(self, job_id: int, now: float) -> None:
        self.engine.cancel(job_id, now)

    def announce(self, wanted: Wanted, owner: JobOwner | None, now: float) -> bool:
        try:
            self._run(wanted.job, owner, wanted, now)
        except FastmarketError as fault:
            self._events.append(AnnouncingPostponed(fault))
        except Exception as error:  # noqa: BLE001 - what it offers has its next turn all the same
            self._events.append(BugFound("beginning to announce offers", error))
        else:
            return True
        self._guard("ending an announcement", self._end_announcement, wanted, None, now)
        return False

    def begin_batch(self, batch: RegistrationBatch, now: float) -> None:
        self._batches.add(batch)
        self._tell(batch, "registering offers", batch.begin, now)

    def end_batch(self, batch: RegistrationBatch) -> None:
        self._batches.discard(batch)

    def await_durable(self, operation: PutOperation) -> int:
        ticket = self.tickets.awaited(pending=self._changes.has_own)
        self._operations.await_ticket(operation, ticket)
        return ticket

    def arm(self, operation: Operation, when: float) -> None:
        self._operations.arm(operation, when)

    def explained(self, outcome: Outcome, now: float) -> Outcome:
        """Adds what storers say about our clock, if refusals are among the reasons."""
        if outcome.is_reached or "refused" not in outcome.why:
            return outcome
        said = self.offers.clock.complained(now)
        return replace(outcome, why=f"{outcome.why}; {said}") if said else outcome

    def progress(self, operation: Operation, item: object) -> None:
        self._events.append(Progress(operation.number, item))

    def finish(
        self,
        operation: Operation,
        outcome: Outcome | None = None,
        result: object = None,
        fault: Exception | None = None,
    ) -> None:
        operation.is_finished = True
        if self._operations.remove(operation):
            self._events.append(Finished(operation.number, outcome, result, fault))

    # --- private

    def _handle_other_timers(self, now: float) -> None:
        """Those of offers, registrations and commands."""
        self.touch()
        due = self.offers.next_timer()
        if due is not None and due <= now:
            self._guard_timer("a turn of the offers", self.offers.handle_timer, now)
            self._offers_due = True
        for operation in self._operations.take_due(now):
            self._tell(operation, "a command's timer", operation.on_timer, now)

    def _note_timers(self) -> None:
        """Those of offers and registrations, and of commands; callers that have gone are not kept."""
        when = earlier(self.offers.next_timer(), inf)
        if self.batcher.waiting:
            when = earlier(self.batcher.next_timer(), when)
        if self.slices.waiting:
            when = earlier(self.slices.next_timer(), when)
        self._parts_at = when
        self._operations_at = self._operations.next_timer()

    def _begin(self, operation: Operation, now: float, tag: object) -> int:
        self.touch()
        operation.set_tag(tag)
        self._operations.add(operation)
        try:
            operation.begin(now)
        except Exception:
            self._operations.remove(operation)
            operation.abandon()
            raise
        return operation.number

    def _identified(self, event: PeerIdentified, now: float) -> None:
        engine = self.engine
        alone = not len(self._entries) and not self.is_joining
        engine.on_peer_identified(event.peer, event.protocols, now)
        if alone and len(self._entries):
            # Found by others: perhaps by a network that knows us from before, and that we have forgotten.
            engine.maintenance.refresh_soon(engine.config.return_delay_s, 0.0, now)

    def _disconnected(self, event: PeerDisconnected, now: float) -> None:
        self.engine.on_peer_disconnected(event.peer_id, now)

    def _unreachable(self, event: PeerUnreachable, now: float) -> None:
        self.engine.on_peer_unreachable(event.peer_id, now)

    def _answered(self, event: PeerAnswered, now: float) -> None:
        self.engine.knowledge.rtt.on_answer(event.peer_id, event.took_s, True)

    def _look_at_table(self, now: float) -> None:
        """Newcomers get offers handed over; own offers may reach more storers once the table has grown."""
        if self._table.newcomers:
            self.touch()
            for newcomer in self.engine.take_newcomers():
                self.offers.handovers.on_newcomer(newcomer.peer, newcomer.protocols, newcomer.entered_at)
        size = len(self._entries)
        if size != self._table_size:
            self.touch()
            self._table_size = size
            self.offers.on_table_size(size, now)

    def _run(self, job: Job, owner: JobOwner | None, wanted: Wanted | None, now: float) -> int:
        job_id = self.engine.start(job, now)
        self._jobs[job_id] = _Running(job, owner, wanted, now)
        return job_id

    def _announce_due(self, now: float) -> None:
        for wanted in self.offers.poll_jobs(now):
            self.announce(wanted, None, now)

    def _begin_registrations(self, now: float) -> None:
        retry_s = self.config.offers.retry_s
        while (taken := self.batcher.take(now)) is not None:
            members, slot = taken
            members = [member for member in members if not member.is_finished]
            if not members:
                slot.release()
                continue
            terms = [member.terms for member in members]
            self.begin_batch(
                RegistrationBatch(self, terms, RegistrationGroup(self, members), slot, retry_s), now
            )
        while (next_slice := self.slices.take(now)) is not None:
            part, slot = next_slice
            if part.owner.is_open:
                self.slices.pause(now)
                terms = part.owner.terms_at(part.indices)
                self.begin_batch(RegistrationBatch(self, terms, part, slot, part.retry_s(retry_s, now)), now)
            else:
                slot.release()

    def _job_progress(self, event: JobProgress, now: float) -> None:
        running = self._jobs.get(event.job_id)
        if running is not None and running.owner is not None:
            self._tell(running.owner, "following a job", running.owner.on_progress, event.item, now)

    def _job_finished(self, event: JobFinished, now: float) -> None:
        running = self._jobs.pop(event.job_id, None)
        if running is None:
            return
        if running.wanted is not None:
            self._guard("ending an announcement", self._end_announcement, running.wanted, event.result, now)
        owner = running.owner
        if owner is not None:
            self._tell(owner, "following a job", owner.on_result, event.result, now)
        kind, lookup = type(running.job).__name__, getattr(running.job, "lookup", None)
        tag = None if owner is None else owner.tag
        self._events.append(JobEnded(kind, lookup, now - running.began, tag, event.result))

    def _job_fault(self, event: JobFault, now: float) -> None:
        self._events.append(BugFound(f"the job {event.kind}", event.error))
        running = self._jobs.pop(event.job_id, None) if event.ended else None
        if running is None:
            return
        if running.wanted is not None:
            self._guard("ending an announcement", self._end_announcement, running.wanted, None, now)
        if running.owner is not None:
            running.owner.on_bug(NodeFault(f"a bug of ours ended it: {event.error!r}"), now)

    def _end_announcement(self, wanted: Wanted, result: object, now: float) -> None:
        """Returns an announcement or handover to its schedule; `result` None: it was not made."""
        self._offers_due = True
        self.offers.on_ended(wanted, result, now)
        offset_s = self.offers.clock.warning(now)
        if offset_s is not None:
            self._events.append(ClockDiffers(offset_s))

    def _tell(self, owner: JobOwner, place: str, call: Callable[..., None], *args: Any) -> None:
        """Calls a method of `owner`, with the time last. A bug ends the owner's work, and its callers are
        told."""
        try:
            call(*args)
        except Exception as error:  # noqa: BLE001 - see above
            self._note_bug(place, error)
            owner.on_bug(NodeFault(f"a bug of ours ended it: {error!r}"), args[-1])

    def _guard(self, place: str, call: Callable[..., object], *args: object) -> bool:
        """Contains a bug to what `place` names; returns False if there was one."""
        try:
            call(*args)
        except Exception as error:  # noqa: BLE001 - see above
            self._note_bug(place, error)
            return False
        return True

    def _note_bug(self, place: str, error: Exception) -> None:
        self.touch()
        self._events.append(BugFound(place, error))

    def _guard_timer(self, place: str, call: Callable[[float], None], now: float) -> None:
        """Like `_guard`; after a bug, delays what would be due again at once."""
        if not self._guard(place, call, now):
            self._not_before = now + PAUSE_S


_PEER_HANDLERS: Mapping[type[PeerEvent], Callable[[NodeCore, Any, float], None]] = {
    PeerIdentified: NodeCore._identified,
    PeerDisconnected: NodeCore._disconnected,
    PeerUnreachable: NodeCore._unreachable,
    PeerAnswered: NodeCore._answered,
}
_JOB_HANDLERS: Mapping[type, Callable[[NodeCore, Any, float], None]] = {
    JobProgress: NodeCore._job_progress,
    JobFinished: NodeCore._job_finished,
    JobFault: NodeCore._job_fault,
}
