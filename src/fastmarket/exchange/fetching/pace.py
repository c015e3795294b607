"""The pace of one holder: how much may be under way to it, and how long it may take.

Window: a multiple of bandwidth x delay, as in BBR. Timeouts: mean and deviations, as in RFC 6298.
"""

from __future__ import annotations

from math import ceil

from fastmarket.config.fetching import FetchConfig

# RFC 6298, section 2.
_MEAN_GAIN = 1 / 8
_DEVIATION_GAIN = 1 / 4
_DEVIATIONS = 4.0

_RATE_GAIN = 1 / 4  # of a measured bandwidth: settles in some ten blocks


class _Times:
    """Mean and mean deviation of how long answers took."""

    __slots__ = ("count", "deviation", "mean")

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.deviation = 0.0

    def add(self, took: float) -> None:
        """One more."""
        self.count += 1
        if self.count == 1:
            self.mean, self.deviation = took, took / 2
            return
        self.deviation += _DEVIATION_GAIN * (abs(took - self.mean) - self.deviation)
        self.mean += _MEAN_GAIN * (took - self.mean)

    @property
    def late_s(self) -> float:
        """What takes longer is late."""
        return self.mean + _DEVIATIONS * self.deviation


class HolderPace:
    """Learns from each block that came. Inner nodes, which are small, tell how far it is; leaves its
    bandwidth."""

    __slots__ = (
        "_config",
        "_inner",
        "_leaf_bytes",
        "_least_s",
        "_leaves",
        "_max_window",
        "delivered",
        "rate",
        "rtt_s",
        "window",
    )

    def __init__(
        self, config: FetchConfig, rtt_s: float | None, rate: float | None, most_requests: int | None
    ) -> None:
        """`rtt_s`, `rate`: what is known from before, or None."""
        self._config = config
        self._inner = _Times()
        self._leaves = _Times()
        self._least_s = rtt_s
        self._leaf_bytes = 0.0  # mean
        self._max_window = max(1, min(config.max_window, most_requests or config.max_window))
        self.rtt_s = rtt_s
        """The quickest answer so far, or the hint."""
        self.rate = rate
        """Bytes per second while it had enough to do; None: unknown."""
        self.delivered = 0
        """Bytes of all its leaves."""
        self.window = min(config.first_window, self._max_window)
        """Requests that may be under way."""

    def on_block(
        self, size: int, took: float, *, is_inner: bool, delivered_before: int, was_busy: bool
    ) -> None:
        """A block came `took` seconds after it was asked for, when `delivered_before` were `delivered`.
        `was_busy`: the window was full by then, so that the bandwidth shows."""
        took = max(took, 1e-6)
        if self.rtt_s is None or took < self.rtt_s:
            self.rtt_s = took
        if is_inner:
            self._inner.add(took)
            return
        self.delivered += size
        self._leaves.add(took)
        if self._least_s is None or took < self._least_s:
            self._least_s = took
        self._leaf_bytes += (size - self._leaf_bytes) * (_MEAN_GAIN if self._leaf_bytes else 1)
        sample = (self.delivered - delivered_before) / took
        if self.rate is None:
            self.rate = sample
        elif was_busy or sample > self.rate:
            self.rate += _RATE_GAIN * (sample - self.rate)
        # One more than the product: a block is here only once its last byte is.
        under_way = self._config.window_gain * self.rate * self._least_s / max(self._leaf_bytes, 1)
        self.window = min(max(ceil(under_way) + 1, self._config.min_window), self._max_window)

    def on_trouble(self) -> None:
        """It failed or was busy: half as much at once."""
        self.window = max(1, self.window // 2)

    def eta_s(self, size: int, ahead_bytes: int) -> float:
        """Seconds until it delivers a block, behind `ahead_bytes` that it was asked for."""
        rtt = self._config.first_soft_timeout_s if self.rtt_s is None else self.rtt_s
        return rtt + (ahead_bytes + size) / (self.rate or self._config.first_rate_bytes)

    def soft_timeout_s(self, size: int, *, is_inner: bool) -> float:
        """Seconds until a block is late, so that another holder may be asked for it, too."""
        config = self._config
        if self._leaves.count:
            return max(self._leaves.late_s, config.min_soft_timeout_s)  # inner nodes wait behind leaves
        late = config.first_inner_timeout_s
        if self._inner.count:
            late = self._inner.late_s
        elif self.rtt_s is not None:
            late = 3 * self.rtt_s  # as if it were the first sample
            if is_inner:  # which costs nothing: nobody waits long for one that is known to be slow
                late = min(late, config.first_soft_timeout_s)
        if not is_inner:
            late = max(late, config.first_soft_timeout_s) + size / config.first_rate_bytes
        return max(late, config.min_soft_timeout_s)

    def timeout_s(self, size: int, *, is_inner: bool, silences: int) -> float:
        """Seconds without any answer until it counts as silent; twice as long after each time it was."""
        config = self._config
        if self._leaves.count or (self._inner.count and is_inner):
            late = self.soft_timeout_s(size, is_inner=is_inner)
            timeout = max(config.timeout_factor * late, config.min_timeout_s)
        else:
            timeout = config.first_timeout_s + size / config.min_rate_bytes
        return min(timeout * (1 << silences), config.max_timeout_s)
