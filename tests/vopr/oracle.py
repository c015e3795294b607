"""What was promised to callers, and whether it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastmarket.core.commands import OffersFound
from fastmarket.core.events import Finished
from fastmarket.formats.identity import PeerId
from fastmarket.kad.outcome import Outcome
from fastmarket.offers.model.offer import Offer, OfferKey
from tests.core.test_crashes import acknowledgements, content
from tests.virtual.ledger import Asked, Ledger

if TYPE_CHECKING:
    from tests.vopr.life import Life
    from tests.vopr.machine import Machine
    from tests.vopr.world import World

USER = b"u"
MAX_VIOLATIONS = 5  # told of one run


@dataclass
class Account:
    """What one machine promised."""

    ledger: Ledger = field(default_factory=Ledger)
    seqs: dict[OfferKey, int] = field(default_factory=dict)
    """The highest seq acknowledged."""


class Oracle:
    """Collects violations; a run goes on after one, and others may follow from it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._accounts: dict[int, Account] = {}
        self.violations: list[str] = []
        self.values: dict[int, set[bytes]] = {}
        """By key: every value that any caller put."""
        self.acknowledged = self.refused = 0

    def violate(self, what: str) -> None:
        """A promise was broken."""
        if len(self.violations) < MAX_VIOLATIONS:
            self.violations.append(f"{self._world.elapsed:.1f} s: {what}")

    def escaped(self, place: str, error: BaseException) -> None:
        """An exception came to where none may."""
        self.violate(f"{place}: {type(error).__name__}: {error}")
        if self._world.raises:
            raise error

    def account(self, machine: Machine) -> Account:
        """Of one machine, for all its processes."""
        return self._accounts.setdefault(machine.number, Account())

    # --- commands

    def ask(self, machine: Machine, number: int, price: int | None) -> Asked:
        """A caller asks for an offer at that price, or for none."""
        return self.account(machine).ledger.ask(number, price, self._world.now)

    def refuse(self, machine: Machine, number: int, asked: Asked) -> None:
        """The command did not begin."""
        self.account(machine).ledger.forget(number, asked)

    def on_put(self, life: Life, numbers: tuple[int, ...], asked: list[Asked], finished: Finished) -> None:
        """A registration or withdrawal has ended."""
        account = self.account(life.machine)
        outcomes = finished.result if isinstance(finished.result, list) else [finished.outcome] * len(asked)
        for number, one, reached, outcome in zip(
            numbers, asked, acknowledgements(finished, len(asked)), outcomes, strict=True
        ):
            one.ended, one.is_acknowledged = self._world.now, reached
            self.acknowledged += reached
            self.refused += not reached
            if reached:
                key = (content(number), life.peer_id.raw, USER)
                current = life.core.offers.own.current(key)
                # With another request under way, the current version may be that one's, not kept yet.
                history = account.ledger.asked[number]
                is_alone = all(other is one or other.ended <= one.begun for other in history)
                if current is not None and is_alone:
                    account.seqs[key] = max(account.seqs.get(key, 0), current.seq)
                if isinstance(outcome, Outcome):
                    self._check_quorum(life, key, one, outcome)

    def on_found(self, life: Life, finished: Finished) -> None:
        """A lookup of offers has ended: each was signed by its provider, as it was registered."""
        if isinstance(finished.result, OffersFound):
            for offer in finished.result.offers:
                self._check_genuine(offer)

    def on_value(self, number: int, value: bytes) -> None:
        """A lookup has returned a value."""
        if value not in self.values.get(number, ()):
            self.violate(f"key {number} has the value {value!r}, which was never put")

    # --- at a start

    def on_boot(self, life: Life) -> None:
        """What a process finds on its disk is what the earlier ones acknowledged."""
        if life.bad_count:
            self.violate(f"machine {life.number} cannot read {life.bad_count} offers on its disk")
        self.check_live(life, "after a restart")
        self.check_seqs(life)

    def check_seqs(self, life: Life) -> None:
        """No version of an own offer is older than one that was acknowledged."""
        for key, seq in self.account(life.machine).seqs.items():
            current = life.core.offers.own.current(key)
            if current is not None and current.seq < seq:
                self.violate(f"machine {life.number}: a seq went from {seq} back to {current.seq}")

    def check_live(self, life: Life, where: str) -> None:
        """Own offers here."""
        ledger = self.account(life.machine).ledger
        try:
            ledger.check(self.live(life), f"machine {life.number} {where}")
        except AssertionError as wrong:
            self.violate(str(wrong))

    def live(self, life: Life) -> dict[int, int]:
        """Prices of own offers, by number."""
        own = {offer.content: offer.price_per_mb for offer in life.core.offers.own}
        ledger = self.account(life.machine).ledger
        return {number: own[content(number)] for number in ledger.asked if content(number) in own}

    # --- at the end

    def check_found(self, finder: Life, number: int, offers: tuple[Offer, ...]) -> None:
        """What another machine finds once everything is well: all that is acknowledged, nothing withdrawn."""
        found: Mapping[PeerId, int] = {offer.provider: offer.price_per_mb for offer in offers}
        for machine in self._world.machines:
            ledger = self.account(machine).ledger
            if number not in ledger.asked:
                continue
            may, price = ledger.may_be(number), found.get(machine.peer_id)
            if price not in may:
                self.violate(
                    f"content {number} of machine {machine.number} is found at {price} by machine "
                    f"{finder.number}, may be {may}"
                )

    # --- private

    def _check_genuine(self, offer: Offer) -> None:
        machine = self._world.by_peer.get(offer.provider)
        numbers = (
            [
                one
                for one, history in self.account(machine).ledger.asked.items()
                if content(one) == offer.content
            ]
            if machine
            else []
        )
        if machine is None or not numbers:
            self.violate(f"an offer of {offer.provider} is found that was never registered")
            return
        asked = self.account(machine).ledger.asked[numbers[0]]
        if offer.price_per_mb not in {one.price for one in asked}:
            self.violate(f"content {numbers[0]} of machine {machine.number} is found at {offer.price_per_mb}")

    def _check_quorum(self, life: Life, key: OfferKey, asked: Asked, outcome: Outcome) -> None:
        """Storers hold what the outcome says; machines that lied or ended meanwhile may have held it."""
        if 2 * outcome.acknowledged < outcome.asked:
            self.violate(f"machine {life.number}: {outcome} is a quorum")
        current = life.core.offers.own.current(key)
        holders = 0
        for machine in self._world.machines:
            if machine is life.machine:
                continue
            held = None if machine.life is None else machine.life.core.offers.store.get(key)
            is_holding = held is not None and current is not None and held.seq >= current.seq
            # A newer version may be under way here while an earlier one was acknowledged there.
            begun = asked.begun + life.now() - self._world.now  # by the clock that it was issued by
            is_holding = is_holding or (held is not None and held.issued_at >= begun - 60.0)
            is_excused = max(machine.lied_at, machine.ended_at) >= asked.begun or machine.clock_error_s != 0.0
            holders += is_holding or is_excused
        if holders < outcome.acknowledged:
            self.violate(
                f"machine {life.number}: {outcome.acknowledged} storers acknowledged, {holders} can hold it"
            )
