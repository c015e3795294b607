"""What each buyer gets by a fixed choice made in hindsight: the yardstick of `sim.fetching`.

Each buyer takes all the sellers it knows that stay to the end, from its first byte to its last, in the fixed
proportions in which they send; nothing is lost to round trips. A seller divides its uplink evenly among the
buyers that fetch from it at the time, and a buyer takes no more than its downlink.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush


@dataclass(slots=True)
class StaticChoice:
    """A buyer: when it comes, seconds from the start; its downlink, bytes per second; its sellers by
    number."""

    begin: float
    downlink: float
    sellers: Sequence[int]
    left: float = 0.0
    rate: float = 0.0
    at: float = 0.0
    version: int = 0
    is_here: bool = False


def static_seconds(choices: Sequence[StaticChoice], uplinks: Sequence[float], size: int) -> list[float]:
    """Seconds that each buyer takes for a file of `size` bytes. `uplinks`: by number of the seller."""
    here: dict[int, set[int]] = defaultdict(set)  # buyers at a seller
    took = [0.0] * len(choices)
    events = [(one.begin, number, 0) for number, one in enumerate(choices)]
    heapify(events)
    while events:
        now, number, version = heappop(events)
        choice = choices[number]
        if version != choice.version:
            continue
        if choice.is_here:
            took[number] = now - choice.begin
            choice.version += 1
            for seller in choice.sellers:
                here[seller].discard(number)
        else:
            choice.is_here, choice.left, choice.at = True, float(size), now
            for seller in choice.sellers:
                here[seller].add(number)
        for other in {one for seller in choice.sellers for one in here[seller]}:
            _update(choices[other], here, uplinks, now)
            heappush(events, (now + choices[other].left / choices[other].rate, other, choices[other].version))
    return took


def _update(choice: StaticChoice, here: dict[int, set[int]], uplinks: Sequence[float], now: float) -> None:
    choice.left = max(choice.left - choice.rate * (now - choice.at), 0.0)
    choice.at = now
    choice.version += 1
    shares = sum(uplinks[seller] / len(here[seller]) for seller in choice.sellers)
    choice.rate = min(shares, choice.downlink)
