"""Many fetches at once, in virtual time: buyers with the shipped planner, sellers with long-tailed uplinks.

Sizes and bandwidths are scaled down together, so that times are those of real blocks while a block takes
little to hash. A seller sends one block at a time at the rate of its uplink, to its buyers in turn; what
comes to a buyer passes its downlink one after another. Writing takes no time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from fastmarket.config import FetchConfig
from fastmarket.exchange.fetching.events import Ask, Drop, FetchFailed, Write
from fastmarket.exchange.fetching.fetch import Fetch
from fastmarket.exchange.fetching.holder import AskFailure, FetchHolder
from fastmarket.formats.cid import Cid
from fastmarket.native.event_queue import EventQueue
from fastmarket.native.sha256 import sha256
from fastmarket.sim.conditions import Conditions, Latency
from fastmarket.sim.fetched_file import SCALE, FetchedFile, scaled
from fastmarket.sim.fetching_static import StaticChoice, static_seconds

START = 1_800_000_000.0

# Uplinks and downlinks, bytes a second: log-normal. Estimated: homes with 20 and 100 Mbit/s at the median;
# one seller in a hundred has 16 times the median, as a machine in a data centre.
UPLINK_MEDIAN, UPLINK_SIGMA = 2.5e6 / SCALE, 1.2
DOWNLINK_MEDIAN, DOWNLINK_SIGMA = 12.5e6 / SCALE, 0.6


@dataclass(frozen=True, slots=True)
class FetchCrowd:
    """How many fetch what from whom."""

    buyers: int = 1000
    sellers: int = 200
    holders: int = 8  # sellers that a buyer knows
    blocks: int = 256  # of 256 KiB: a file of 64 MiB
    arrivals_s: float = 300.0  # in which the buyers come, evenly spread
    leaving_share: float = 0.2
    seed: int = 1


@dataclass(slots=True)
class SentAsk:
    """A request on its way through the network."""

    buyer: SimBuyer
    ask: Ask
    is_dropped: bool = False


class SimSeller:
    """Sends blocks to its buyers in turn, one at a time."""

    __slots__ = ("_lines", "_queue", "_sends", "_turns", "is_silent", "leaves_at", "number", "rate", "region")

    def __init__(self, number: int, rate: float, region: int, queue: EventQueue, lines: Latency) -> None:
        self.number = number
        self.rate = rate
        self.region = region
        self.leaves_at = float("inf")
        self.is_silent = number % 2 == 1  # once it has left: or else its connections end
        self._queue = queue
        self._lines = lines
        self._turns: deque[SimBuyer] = deque()  # buyers with requests, whose turn comes
        self._sends = False

    def has_left(self) -> bool:
        """Whether it is gone by now."""
        return self._queue.now >= self.leaves_at

    def on_request(self, request: SentAsk) -> None:
        """It arrived."""
        waiting = request.buyer.waiting_at.setdefault(self.number, deque())
        if self.has_left():
            self._lose(request)
            return
        if not waiting:
            self._turns.append(request.buyer)
        waiting.append(request)
        if not self._sends:
            self._send()

    def leave(self) -> None:
        """It is gone, with all that waits."""
        for buyer in self._turns:
            for request in buyer.waiting_at.pop(self.number):
                self._lose(request)
        self._turns.clear()

    def _lose(self, request: SentAsk) -> None:
        if not self.is_silent:
            self._queue.after(self._delay(request), request.buyer.on_lost, request)

    def _delay(self, request: SentAsk) -> float:
        return self._lines.one_way(self.region, request.buyer.region)

    def _send(self) -> None:
        """The next block of the next buyer."""
        while self._turns:
            buyer = self._turns.popleft()
            waiting = buyer.waiting_at[self.number]
            request = waiting.popleft()
            while request.is_dropped and waiting:
                request = waiting.popleft()
            if waiting:
                self._turns.append(buyer)
            if not request.is_dropped:
                self._sends = True
                size = buyer.file.sizes[request.ask.cid]
                self._queue.after(size / self.rate, self._on_sent, request)
                return
        self._sends = False

    def _on_sent(self, request: SentAsk) -> None:
        if self.has_left():
            self._lose(request)
            return
        self._queue.after(self._delay(request), request.buyer.on_arriving, request)
        self._send()


class SimBuyer:
    """Drives one fetch."""

    __slots__ = (
        "_config",
        "_dial_round_trips",
        "_done",
        "_free_at",
        "_lines",
        "_queue",
        "_requests",
        "_sellers",
        "_timer",
        "_up_at",
        "began_at",
        "ended_at",
        "fetch",
        "file",
        "first_at",
        "rate",
        "region",
        "requests",
        "waiting_at",
        "wasted",
        "why",
    )

    def __init__(
        self,
        file: FetchedFile,
        sellers: list[SimSeller],
        rate: float,
        region: int,
        queue: EventQueue,
        lines: Latency,
        config: FetchConfig,
        done: list[SimBuyer],
        dial_round_trips: int = 0,
    ) -> None:
        """`done`: where it puts itself at the end. `dial_round_trips`: before the first request to a
        seller."""
        self._done = done
        self._dial_round_trips = dial_round_trips
        self._up_at: dict[int, float] = {}  # when the connection to a seller is there
        self.file = file
        self._sellers = {seller.number: seller for seller in sellers}
        self.rate = rate
        self.region = region
        self._queue = queue
        self._lines = lines
        self._config = config
        self._requests: dict[int, SentAsk] = {}
        self._timer = float("inf")
        self._free_at = 0.0
        self.waiting_at: dict[int, deque[SentAsk]] = {}
        self.fetch: Fetch | None = None
        self.began_at = 0.0
        self.first_at: float | None = None  # the first verified byte
        self.ended_at: float | None = None
        self.requests = 0
        self.wasted = 0  # blocks that came and were not wanted any more
        self.why = ""

    @property
    def sellers(self) -> Mapping[int, SimSeller]:
        """Those that it knows."""
        return self._sellers

    @property
    def is_whole(self) -> bool:
        """Whether it has all."""
        return self.ended_at is not None and not self.why

    def begin(self) -> None:
        """The fetch begins now, with all sellers."""
        fetch = self.open()
        for number in self._sellers:
            fetch.add_holder(FetchHolder(number), self._queue.now)
        self.met_all()

    def open(self) -> Fetch:
        """The fetch begins now, with nobody to ask."""
        now = self.began_at = self._queue.now
        self.fetch = Fetch(Cid.from_bytes(self.file.root.raw), self._config, now)
        return self.fetch

    def meet(self, holder: FetchHolder) -> None:
        """One of the sellers was found; its key is its number."""
        if self.fetch is not None:
            self.fetch.add_holder(holder, self._queue.now)
            self._turn()

    def met_all(self) -> None:
        """No more will be found."""
        if self.fetch is not None:
            self.fetch.no_more_holders(self._queue.now)
            self._turn()

    def on_arriving(self, request: SentAsk) -> None:
        """A block is at the downlink."""
        size = self.file.sizes[request.ask.cid]
        self._free_at = max(self._free_at, self._queue.now) + size / self.rate
        self._queue.at(self._free_at, self._on_block, request)

    def _on_block(self, request: SentAsk) -> None:
        if request.is_dropped or self.fetch is None:
            self.wasted += 1
            return
        self._requests.pop(request.ask.request, None)
        self.fetch.handle_block(request.ask.request, self.file.blocks[request.ask.cid], self._queue.now)
        self._turn()

    def on_lost(self, request: SentAsk) -> None:
        """Its connection ended."""
        if not request.is_dropped and self.fetch is not None:
            self._requests.pop(request.ask.request, None)
            self.fetch.handle_failure(request.ask.request, AskFailure.LOST, self._queue.now)
            self._turn()

    def _on_timer(self) -> None:
        if self._queue.now >= self._timer and self.fetch is not None:
            self._timer = float("inf")
            self.fetch.handle_timer(self._queue.now)
            self._turn()

    def _turn(self) -> None:
        fetch, now = self.fetch, self._queue.now
        if fetch is None or self.ended_at is not None:
            return
        while actions := fetch.poll_actions(now):
            for action in actions:
                if isinstance(action, Ask):
                    self._ask(action)
                elif isinstance(action, Write):
                    fetch.handle_written(action.leaf, None, now)
                elif isinstance(action, Drop):
                    request = self._requests.pop(action.request, None)
                    if request is not None:
                        request.is_dropped = True
        if self.first_at is None and fetch.verified_bytes:
            self.first_at = now
        for event in fetch.poll_events():
            if isinstance(event, FetchFailed):
                self.why = str(event.fault)
        if fetch.ended:
            self.ended_at = now
            self._done.append(self)
            return
        timer = fetch.next_timer()
        if timer is not None and timer < self._timer:
            self._timer = timer
            self._queue.at(timer, self._on_timer)

    def _ask(self, ask: Ask) -> None:
        self.requests += 1
        request = self._requests[ask.request] = SentAsk(self, ask)
        seller = self._sellers[ask.holder]
        self._queue.after(self._way_to(seller), seller.on_request, request)

    def _way_to(self, seller: SimSeller) -> float:
        """Seconds until a request is there, after the dial if there is one."""
        way = self._lines.one_way(self.region, seller.region)
        if not self._dial_round_trips or seller.has_left():
            return way  # a dial to one that has left ends there, too
        up_at = self._up_at.get(seller.number)
        if up_at is None:
            ends = (self.region, seller.region), (seller.region, self.region)
            ways = [self._lines.one_way(*one) for one in ends * self._dial_round_trips]
            up_at = self._up_at[seller.number] = self._queue.now + sum(ways)
        return way + max(up_at - self._queue.now, 0.0)


class FetchWorld:
    """All buyers and sellers."""

    def __init__(self, plan: FetchCrowd, config: FetchConfig | None = None) -> None:
        random = Random(f"{plan.seed} fetching")
        self.plan = plan
        self.queue = EventQueue(START)
        self.file = FetchedFile(plan.blocks, plan.seed)
        lines = Latency(Conditions(), random)
        config = scaled(config or FetchConfig())
        self.sellers = [
            SimSeller(
                number, _drawn(random, UPLINK_MEDIAN, UPLINK_SIGMA), lines.region(random), self.queue, lines
            )
            for number in range(plan.sellers)
        ]
        leaving = random.sample(self.sellers, round(plan.sellers * plan.leaving_share))
        staying = [seller for seller in self.sellers if seller not in leaving]
        self._done: list[SimBuyer] = []
        self.buyers = []
        self.begins: list[float] = []
        for _ in range(plan.buyers):
            first = random.choice(staying)  # so that it can be whole
            others = [seller for seller in self.sellers if seller is not first]
            known = [first, *random.sample(others, plan.holders - 1)]
            random.shuffle(known)
            rate = _drawn(random, DOWNLINK_MEDIAN, DOWNLINK_SIGMA)
            self.buyers.append(
                SimBuyer(self.file, known, rate, lines.region(random), self.queue, lines, config, self._done)
            )
            self.begins.append(random.random() * plan.arrivals_s)
        stays = {seller.number for seller in staying}
        choices = [
            StaticChoice(begin, buyer.rate, [number for number in buyer.sellers if number in stays])
            for begin, buyer in zip(self.begins, self.buyers, strict=True)
        ]
        self.static_s = static_seconds(choices, [seller.rate for seller in self.sellers], self.file.size)
        end = max(begin + took for begin, took in zip(self.begins, self.static_s, strict=True))
        for seller in leaving:
            seller.leaves_at = START + random.random() * end
            self.queue.at(seller.leaves_at, seller.leave)

    def run(self, within_s: float) -> None:
        """Until every fetch has ended."""
        for buyer, begin in zip(self.buyers, self.begins, strict=True):
            self.queue.at(START + begin, buyer.begin)
        self.queue.run(self._is_done, within_s)

    def _is_done(self) -> bool:
        return len(self._done) == len(self.buyers)

    def times_ms(self) -> list[float]:
        """How long each fetch took that has ended."""
        return [
            (buyer.ended_at - buyer.began_at) * 1000 for buyer in self.buyers if buyer.ended_at is not None
        ]

    @property
    def trace_hash(self) -> str:
        """Of when each fetch ended, and by how many requests."""
        ends = [f"{buyer.ended_at} {buyer.requests} {buyer.why}" for buyer in self.buyers]
        return sha256("\n".join(ends).encode()).hex()[:32]

    def rates(self) -> list[float]:
        """Each buyer's rate as a share of that of the static choice."""
        return [
            took / (buyer.ended_at - buyer.began_at)
            for buyer, took in zip(self.buyers, self.static_s, strict=True)
            if buyer.ended_at is not None and not buyer.why
        ]


def _drawn(random: Random, median: float, sigma: float) -> float:
    return median * random.lognormvariate(0.0, sigma)
