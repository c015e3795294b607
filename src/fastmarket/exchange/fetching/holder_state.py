"""What a fetch knows of one holder while it runs."""

from __future__ import annotations

from fastmarket.config.fetching import FetchConfig
from fastmarket.exchange.fetching.holder import FetchHolder, HolderEnd, HolderTally
from fastmarket.exchange.fetching.pace import HolderPace
from fastmarket.formats.price import cost_of


class HolderState:
    """Counts and pace of one holder; `*_in_row` begin again at 0 when it delivers."""

    __slots__ = (
        "blocks",
        "busy_in_row",
        "detail",
        "end",
        "failures",
        "failures_in_row",
        "file_bytes",
        "heard_at",
        "holder",
        "is_late",
        "key",
        "late_in_row",
        "misses",
        "misses_in_row",
        "pace",
        "paused_until",
        "price",
        "reserved_bytes",
        "silences",
        "silences_in_row",
        "troubled_at",
        "under_way",
        "under_way_bytes",
    )

    def __init__(self, holder: FetchHolder, config: FetchConfig, now: float) -> None:
        self.holder = holder
        self.key = holder.key
        self.price = holder.price_per_mb
        self.pace = HolderPace(config, holder.rtt_s, holder.rate, holder.most_requests)
        self.end: HolderEnd | None = None
        self.detail = ""
        self.file_bytes = 0  # delivered and verified
        self.reserved_bytes = 0  # file bytes of requests under way
        self.under_way = 0
        self.under_way_bytes = 0
        self.blocks = self.misses = self.silences = self.failures = 0
        self.misses_in_row = self.silences_in_row = self.failures_in_row = self.busy_in_row = 0
        self.late_in_row = 0
        self.is_late = False  # nothing was heard since a request was sent that is late, or was
        self.heard_at = now
        self.troubled_at = float("-inf")  # the last silence or failure
        self.paused_until = float("-inf")

    def has_room(self, now: float) -> bool:
        """Whether it may be asked for one more; after a trouble for one at a time, until it delivers."""
        if self.paused_until > now or self.end is not None or (self.is_late and self.under_way):
            return False
        troubles = self.silences_in_row or self.failures_in_row or self.late_in_row or self.is_late
        return self.under_way < (1 if troubles else self.pace.window)

    def on_delivered(self, now: float) -> None:
        """A right block came."""
        self.blocks += 1
        self.on_heard(now)
        self.misses_in_row = self.failures_in_row = self.busy_in_row = 0

    def on_heard(self, now: float) -> None:
        """It answered, whatever it said."""
        self.heard_at = now
        self.is_late = False
        self.silences_in_row = self.late_in_row = 0

    def pause(self, seconds: float, now: float) -> None:
        """Asks it for nothing for so long."""
        self.is_late = False
        self.paused_until = max(self.paused_until, now + seconds)
        self.pace.on_trouble()

    def tally(self) -> HolderTally:
        """For people and for the history."""
        return HolderTally(
            key=self.key,
            price_per_mb=self.price,
            bytes=self.file_bytes,
            cost=cost_of(self.file_bytes, self.price),
            blocks=self.blocks,
            missing=self.misses,
            silences=self.silences,
            failures=self.failures,
            rate=self.pace.rate,
            rtt_s=self.pace.rtt_s,
            under_way=self.under_way,
            ended=self.end,
        )
