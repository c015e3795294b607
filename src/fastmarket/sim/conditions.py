"""Effects of the simulated network on messages: latency, loss, dialing. All of them are listed here."""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate
from math import log
from random import Random

from fastmarket.native.sim_net import Ways


class Region(IntEnum):
    """Where a node is."""

    NORTH_AMERICA_EAST = 0
    NORTH_AMERICA_WEST = 1
    EUROPE = 2
    ASIA_EAST = 3
    ASIA_SOUTH_EAST = 4
    SOUTH_AMERICA = 5
    OCEANIA = 6


# Shares of nodes. Measured are the countries with three quarters of the public IPFS network: US 28.5 %, China
# 24.2 %, France 8.3 %, Taiwan 7.2 %, South Korea 6.7 % (Trautwein et al., "Design and Evaluation of IPFS",
# SIGCOMM 2022, section 5). The last quarter, and the split of the US by coast, are estimated.
REGION_SHARES = (0.19, 0.095, 0.25, 0.39, 0.035, 0.02, 0.02)

# Round trips between two data centres in milliseconds: East US, West US 2, Germany West Central, East Asia
# (Hong Kong), Southeast Asia (Singapore), Brazil South and Australia East in Microsoft's "Azure network
# round-trip latency statistics", 95th percentiles of the 30 days to 30 July 2026; where the two directions
# differ, the lower. Within a region: a pair of neighbours in the same table (East US - Canada Central,
# West US 2 - West US, Germany West Central - UK South, East Asia - Korea Central, Southeast Asia - Indonesia
# Central, Australia East - Southeast); Brazil has one region there, its figure is estimated.
ROUND_TRIPS_MS = (
    (21, 75, 97, 207, 229, 119, 206),
    (75, 25, 159, 144, 165, 179, 179),
    (97, 159, 19, 244, 179, 200, 290),
    (207, 144, 244, 41, 40, 315, 127),
    (229, 165, 179, 40, 18, 337, 98),
    (119, 179, 200, 315, 337, 25, 298),
    (206, 179, 290, 127, 98, 298, 16),
)

# In addition each message waits in access lines and queues. Estimated: log-normal, one in a hundred waits 17
# times the median (68 ms), one in a thousand 41 times (163 ms).
ACCESS_MEDIAN_S = 0.004
ACCESS_SIGMA = 1.2
# Drawn once, and then picked from for each message: drawing afresh costs ten times as much.
WAITS = 1 << 16
_ACCESS_MU = log(ACCESS_MEDIAN_S)


@dataclass(frozen=True, slots=True)
class Conditions:
    """The settings of one run."""

    dial_round_trips: int = 2
    """From the first packet to the first request of a new connection: TCP, then Noise XX, with /noise
    proposed in its first message; the request follows the last one immediately. 0: as if all nodes were
    connected, which shows the round trips of requests alone."""
    idle_timeout_s: float = 120.0  # an unused connection ends after this time (HostConfig.idle_timeout_s)
    loss: float = 0.0  # share of requests, and of replies, that are lost
    slow_delay_s: tuple[float, float] = (1.0, 4.0)  # delay of a slow peer's answer, uniformly distributed
    disk_delay_s: tuple[float, float] = (0.001, 0.008)
    """Time until a write is durable, uniformly distributed: an fsync of an SSD. Estimated."""
    region_shares: tuple[float, ...] = REGION_SHARES


class Latency:
    """One-way delays between regions."""

    __slots__ = ("_cumulated", "one_way", "ways")

    def __init__(self, conditions: Conditions, random: Random) -> None:
        waits = [random.lognormvariate(_ACCESS_MU, ACCESS_SIGMA) for _ in range(WAITS)]
        self.ways = Ways([[ms / 2000 for ms in row] for row in ROUND_TRIPS_MS], waits, random.random)
        self.one_way = self.ways.one_way
        """`one_way(here, there)`: seconds that a message takes from one region to another, including
        waits."""
        self._cumulated = list(accumulate(conditions.region_shares))

    def region(self, random: Random) -> int:
        """The region of a node, drawn at random."""
        return min(bisect(self._cumulated, random.random() * self._cumulated[-1]), len(ROUND_TRIPS_MS) - 1)
