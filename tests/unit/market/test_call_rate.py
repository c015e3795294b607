"""Token buckets and seldom lines, with time as an argument."""

from __future__ import annotations

import pytest

from fastmarket.log_throttle import LogThrottle
from fastmarket.market.call_rate import CallRate


def test_a_burst_then_the_rate() -> None:
    rate = CallRate(10.0, 5, 100)
    assert [rate.take("a", 0.0) for _ in range(5)] == [0.0] * 5
    assert rate.take("a", 0.0) == pytest.approx(0.1)
    assert rate.take("a", 0.05) == pytest.approx(0.05)
    assert rate.take("a", 0.1) == 0.0
    assert rate.take("a", 0.1) > 0.0
    assert [rate.take("a", 100.0) for _ in range(6)][4:] == [0.0, pytest.approx(0.1)], "saved up to a burst"


def test_callers_do_not_share_a_bucket_and_a_clock_that_steps_back_gives_nothing() -> None:
    rate = CallRate(1.0, 1, 100)
    assert rate.take("a", 10.0) == 0.0
    assert rate.take("b", 10.0) == 0.0
    assert rate.take("a", 0.0) == pytest.approx(1.0)


def test_only_the_latest_callers_are_remembered() -> None:
    rate = CallRate(1.0, 1, 2)
    for caller in "abc":
        assert rate.take(caller, 0.0) == 0.0
    assert rate.take("c", 0.0) > 0.0
    assert rate.take("a", 0.0) == 0.0, "forgotten, so it begins anew"


def test_one_line_an_interval_for_each_name() -> None:
    seldom = LogThrottle(60.0, 2)
    assert seldom.due("a", 0.0) == 0
    assert [seldom.due("a", at) for at in (1.0, 59.0)] == [None, None]
    assert seldom.due("b", 1.0) == 0
    assert seldom.due("a", 60.0) == 2
    assert seldom.due("c", 60.0) == 0
    assert seldom.due("b", 60.5) == 0, "forgotten"
