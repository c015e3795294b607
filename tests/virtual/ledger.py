"""What callers asked a node for, and which of its offers may be there for all that was acknowledged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf


@dataclass
class Asked:
    """One request of a caller: a price, or None to have no offer; from when to when it was under way."""

    price: int | None
    begun: float
    ended: float = inf
    is_acknowledged: bool = False


@dataclass
class Ledger:
    """What callers asked for each content. Requests under way at one time may take effect in either order; an
    acknowledged one supersedes those that had ended before it began."""

    asked: dict[int, list[Asked]] = field(default_factory=dict)

    def ask(self, number: int, price: int | None, now: float) -> Asked:
        """A request begins; the caller of this notes its end."""
        history = self.asked.setdefault(number, [Asked(None, -inf, -inf)])
        history.append(Asked(price, now))
        return history[-1]

    def forget(self, number: int, asked: Asked) -> None:
        """The request was refused at once, and never began."""
        self.asked[number].remove(asked)

    def may_be(self, number: int) -> set[int | None]:
        """The prices at which the content may be offered now; None: it need not be."""
        history = self.asked[number]
        last = max((one.begun for one in history if one.is_acknowledged), default=-inf)
        return {one.price for one in history if one.ended >= last}

    def check(self, live: Mapping[int, int], where: str) -> None:
        """AssertionError: what is `live`, prices by content, is not what was acknowledged."""
        for number in self.asked:
            may = self.may_be(number)
            assert live.get(number) in may, f"{where}: content {number} is {live.get(number)}, may be {may}"
