"""A node is killed between any two of its actions: nothing acknowledged is lost, nothing withdrawn comes
back."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.config import NodeConfig
from fastmarket.core import commands as c
from fastmarket.core.events import Finished
from fastmarket.core.registrations import PutOperation, RegistrationBatch
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import OfferTerms
from tests.virtual import VirtualNetwork, VirtualNode
from tests.virtual.ledger import Asked, Ledger

TIMEOUT_S = 10.0
CONFIG = NodeConfig()
# Short slices and waits, so that few registrations make several batches.
CONFIG = replace(CONFIG, offers=replace(CONFIG.offers, register_slice=3, max_registering=2, gather_s=0.01))


def content(number: int) -> bytes:
    return b"\x12\x20" + sha256(b"content %d" % number).digest()


def terms(number: int, price: int) -> OfferTerms:
    return OfferTerms(content(number), b"u", "name", FileMetadata("192.0.2.7", 4000, price))


Waiting = tuple[int, list[Asked]]
"""An operation, and what it asks for."""

Step = tuple[str, tuple[int, ...], int]
"""(what, contents, price): "one" registers each by itself at once, "many" together, "withdraw" takes back."""


class Story:
    """Steps by one node among others, up to the kill; then its second life."""

    def __init__(self, others: int = 3, kill_at: int | None = None, disk_s: float = 0.005) -> None:
        self.network = VirtualNetwork(config=CONFIG)
        self.node, *self.others = self.network.grow(others + 1)
        self.node.disk.takes_s = disk_s
        self.node.action_count = 0
        self.node.kill_at = kill_at
        self.ledger = Ledger()

    def tell(self, steps: list[Step]) -> None:
        """Each step begins before the one before has ended."""
        waiting: list[Waiting] = []
        for kind, numbers, price in steps:
            if not self.node.is_up:
                break
            waiting += self._begin(kind, numbers, price)
            self.network.rest(0.03)
            waiting = [one for one in waiting if not self._note(*one)]
        self.network.run(
            lambda: not self.node.is_up or all(one[0] in self.node.finished for one in waiting), 60.0
        )
        for one in waiting:
            self._note(*one)

    def _begin(self, kind: str, numbers: tuple[int, ...], price: int) -> list[Waiting]:
        own, me = self.node.core.offers.own, self.node.identity.peer_id.raw
        if kind == "withdraw":
            number = numbers[0]
            if own.current((content(number), me, b"u")) is None:
                return []
            return self._start(c.Withdraw(content(number), b"u", TIMEOUT_S), (number,), None)
        if kind == "many":
            many = c.RegisterMany([terms(number, price) for number in numbers], TIMEOUT_S)
            return self._start(many, numbers, price)
        begun = []
        for number in numbers:
            begun += self._start(c.Register(terms(number, price), TIMEOUT_S), (number,), price)
        return begun

    def _start(self, command: c.Command, numbers: tuple[int, ...], price: int | None) -> list[Waiting]:
        if not self.node.is_up:
            return []
        asked = [self.ledger.ask(number, price, self.network.now) for number in numbers]
        return [(self.node.start(command), asked)]

    def _note(self, operation: int, asked: list[Asked]) -> bool:
        finished = self.node.finished.get(operation)
        if finished is None:
            return False
        for one, reached in zip(asked, acknowledgements(finished, len(asked)), strict=True):
            one.ended, one.is_acknowledged = self.network.now, reached
        return True

    def live_here(self, node: VirtualNode) -> dict[int, int]:
        own = {offer.content: offer.price_per_mb for offer in node.core.offers.own}
        return {number: own[content(number)] for number in self.ledger.asked if content(number) in own}

    def found_by(self, node: VirtualNode) -> dict[int, int]:
        found = {}
        for number in self.ledger.asked:
            result = node.run(c.FindOffers(content(number), TIMEOUT_S)).result
            assert isinstance(result, c.OffersFound)
            for offer in result.offers:
                if offer.provider == self.node.identity.peer_id:
                    found[number] = offer.price_per_mb
        return found

    def live_again(self) -> None:
        """The node starts from its disk, joins, and announces what it has."""
        self.node.kill()
        self.node.kill_at = None
        self.network.rest(1.0)
        self.node.boot()
        self.ledger.check(self.live_here(self.node), "after the restart")
        self.network.join(self.node, self.others[0])
        self.network.rest(CONFIG.offers.restore_delay_s + CONFIG.offers.restore_spread_s + 60.0)
        self.ledger.check(self.found_by(self.others[-1]), "found by another node")


def acknowledgements(finished: Finished, count: int) -> list[bool]:
    if finished.fault is not None:
        return [False] * count
    if finished.outcome is not None:
        return [finished.outcome.is_reached] * count
    assert isinstance(finished.result, list)
    return [outcome.is_reached for outcome in finished.result]


def tell(steps: list[Step], kill_at: int | None, disk_s: float) -> None:
    """A story with a kill, and the node's second life."""
    story = Story(kill_at=kill_at, disk_s=disk_s)
    story.tell(steps)
    story.live_again()


SCRIPT: list[Step] = [
    ("one", (1,), 5),
    ("one", (2, 3, 4, 5), 6),
    ("many", (6, 7, 8, 9, 10, 11, 12), 7),
    ("withdraw", (1,), 0),
    ("one", (2,), 9),
    ("withdraw", (6,), 0),
    ("one", (1,), 3),
]


def actions_of(steps: list[Step]) -> int:
    story = Story()
    story.tell(steps)
    return story.node.action_count


def test_every_point_of_one_story() -> None:
    count = actions_of(SCRIPT)
    assert count > 50
    for kill_at in range(count):
        story = Story(kill_at=kill_at)
        story.tell(SCRIPT)
        assert not story.node.is_up
        story.live_again()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["one", "many", "withdraw"]),
        st.lists(st.integers(0, 5), min_size=1, max_size=5, unique=True).map(tuple),
        st.integers(1, 9),
    ),
    min_size=1,
    max_size=5,
)


@given(STEPS, st.integers(0, 200), st.sampled_from([0.0, 0.005, 0.2]))
@settings(deadline=None, max_examples=25)
def test_any_point_of_any_story(steps: list[Step], kill_at: int, disk_s: float) -> None:
    tell(steps, kill_at, disk_s)


def test_a_disk_that_fails_is_no_acknowledgement() -> None:
    story = Story()
    story.node.disk.fault = "no space left on device"
    for command in (
        c.Register(terms(1, 5), TIMEOUT_S),
        c.RegisterMany([terms(2, 5), terms(3, 5)], TIMEOUT_S),
        c.Withdraw(content(1), b"u", TIMEOUT_S),
    ):
        finished = story.node.run(command)
        assert "no space left" in str(finished.fault)
    story.node.disk.fault = ""
    finished = story.node.run(c.Register(terms(4, 5), TIMEOUT_S))
    assert finished.outcome is not None
    assert finished.outcome.is_reached


def test_a_slow_disk_is_waited_for_within_the_callers_time() -> None:
    story = Story(disk_s=3.0)
    begun = story.network.now
    assert acknowledgements(story.node.run(c.Register(terms(1, 5), TIMEOUT_S)), 1) == [True]
    assert story.network.now - begun == pytest.approx(3.0, abs=0.1)
    begun = story.network.now
    finished = story.node.run(c.Register(terms(2, 5), 2.0))
    assert "the disk has not taken it" in str(finished.fault)
    assert story.network.now - begun == pytest.approx(1.6, abs=0.1)


# -- the same tests find what could be wrong


def test_an_acknowledgement_before_the_disk_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(self: PutOperation, now: float) -> None:
        if self._is_settled:
            self.report(now)

    monkeypatch.setattr(PutOperation, "try_finish", hasty)

    def kill_everywhere() -> None:
        for kill_at in range(120):
            tell(SCRIPT[:2], kill_at, 0.2)

    with pytest.raises(AssertionError, match="content"):
        kill_everywhere()


def test_a_batch_that_is_split_wrongly_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of what came together is left out, though its callers are told that it went well."""
    begin = RegistrationBatch.begin

    def lossy(self: RegistrationBatch, now: float) -> None:
        if len(self._terms) > 1:
            self._terms = [*self._terms[: len(self._terms) // 2]] * 2
        begin(self, now)

    monkeypatch.setattr(RegistrationBatch, "begin", lossy)
    with pytest.raises(AssertionError, match="content"):
        tell(SCRIPT[:2], None, 0.005)
