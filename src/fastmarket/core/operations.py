"""Operations: a command in progress, from its start to its one `Finished`."""

from __future__ import annotations

from fastmarket.config import NodeConfig
from fastmarket.core.commands import FindOffers, OffersFound
from fastmarket.errors import FastmarketError
from fastmarket.kad.engine import Engine
from fastmarket.kad.jobs import Job
from fastmarket.kad.lookup.lookup import End
from fastmarket.kad.outcome import Outcome
from fastmarket.kad.records.put_job import PutResult
from fastmarket.kad.records.tracked_store import TrackedRecordStore
from fastmarket.offers.lookup.find_offers import FindOffersJob
from fastmarket.offers.lookup.local_answers import LocalAnswers
from fastmarket.offers.model.offer import Offer, OfferKey
from fastmarket.offers.protocol import OfferProtocol


class JobOwner:
    """Learns about the progress of a job. If a bug ends the job, `on_bug` is called instead of
    `on_result`."""

    __slots__ = ()

    @property
    def tag(self) -> object:
        """The tag of the operation that the job runs for; None if it runs for several, or for none."""
        return None

    def on_progress(self, item: object, now: float) -> None:
        """The job found something."""

    def on_result(self, result: object, now: float) -> None:
        """The job ended."""

    def on_bug(self, fault: FastmarketError, now: float) -> None:
        """A bug ended the job."""


class OperationHost:
    """What operations need from the node they run in."""

    __slots__ = ()

    config: NodeConfig
    engine: Engine
    records: TrackedRecordStore
    offers: OfferProtocol
    local_answers: LocalAnswers

    def note_joining(self) -> None:
        """A bootstrap starts: the node does not only wait for others to find it."""
        raise NotImplementedError

    def run(self, job: Job, owner: JobOwner, now: float) -> int:
        """Starts a job and returns its id. Raises Busy."""
        raise NotImplementedError

    def stop(self, job_id: int, now: float) -> None:
        """Ends a job with what it has."""
        raise NotImplementedError

    def arm(self, operation: Operation, when: float) -> None:
        """Calls `operation.on_timer` at `when`, unless it has ended by then."""
        raise NotImplementedError

    def explained(self, outcome: Outcome, now: float) -> Outcome:
        """The outcome, with reasons that it cannot know itself."""
        raise NotImplementedError

    def progress(self, operation: Operation, item: object) -> None:
        """Reports progress to the caller."""
        raise NotImplementedError

    def finish(
        self,
        operation: Operation,
        outcome: Outcome | None = None,
        result: object = None,
        fault: Exception | None = None,
    ) -> None:
        """Reports the end to the caller; later calls for the same operation are ignored."""
        raise NotImplementedError


class Operation(JobOwner):
    """One command. `begin` may raise the caller's faults; after that, only `finish` reports anything."""

    __slots__ = ("_host", "_tag", "is_finished", "number")

    def __init__(self, host: OperationHost, number: int) -> None:
        self._host = host
        self.number = number
        self._tag: object = None
        self.is_finished = False
        """Whether the caller has been told; what it asked for must not take effect later, after what it, or
        another caller, asked for since."""

    @property
    def tag(self) -> object:
        return self._tag

    def set_tag(self, tag: object) -> None:
        """Sets what the driver gets back in `JobEnded`."""
        self._tag = tag

    def begin(self, now: float) -> None:
        """Starts the work."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Releases what the operation has taken, after a failed `begin`."""

    def on_timer(self, now: float) -> None:
        """An armed timer fired."""

    def on_persisted(self, now: float) -> None:
        """Changes have become durable, or have failed to."""

    def cancel(self, now: float) -> None:
        """The caller has gone."""

    def on_bug(self, fault: FastmarketError, now: float) -> None:
        self._host.finish(self, fault=fault)


class LookupOperation(Operation):
    """A command that consists of one job: its progress and result are the job's."""

    __slots__ = ("_job", "_job_id")

    def __init__(self, host: OperationHost, number: int, job: Job) -> None:
        super().__init__(host, number)
        self._job = job
        self._job_id = 0

    def begin(self, now: float) -> None:
        self._job_id = self._host.run(self._job, self, now)

    def on_progress(self, item: object, now: float) -> None:
        self._host.progress(self, item)

    def on_result(self, result: object, now: float) -> None:
        outcome = result.outcome if isinstance(result, PutResult) else None
        self._host.finish(self, outcome, result)

    def cancel(self, now: float) -> None:
        self._host.stop(self._job_id, now)


class OfferSearch(LookupOperation):
    """`FindOffers`. The results of a complete lookup are kept for callers that ask again soon."""

    __slots__ = ("_begun", "_content", "_met", "_search", "_timeout_s", "_told")

    def __init__(self, host: OperationHost, number: int, command: FindOffers) -> None:
        self._search: FindOffersJob = host.offers.find(command.content, command.timeout_s, command.ranks)
        super().__init__(host, number, self._search)
        self._content = command.content
        self._timeout_s = command.timeout_s
        self._begun = 0.0
        self._told: set[OfferKey] = set()
        self._met: list[Offer] = []

    def begin(self, now: float) -> None:
        self._begun = now
        super().begin(now)

    def on_progress(self, item: object, now: float) -> None:
        if not isinstance(item, Offer):
            return
        self._met.append(item)
        if not item.withdrawn or item.key in self._told:
            self._told.add(item.key)
            self._host.progress(self, item)

    def on_result(self, result: object, now: float) -> None:
        assert isinstance(result, tuple)
        complete = self._search.lookup.end is End.COMPLETE
        if complete and now < self._begun + self._timeout_s:
            # The live ones first, in an order that only this search knows.
            live = {id(offer) for offer in result}
            others = (offer for offer in self._met if id(offer) not in live)
            self._host.local_answers.on_found(self._content, (*result, *others), self._begun)
        self._host.finish(self, result=OffersFound(result, complete))
