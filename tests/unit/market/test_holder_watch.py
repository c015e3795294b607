"""What a watch tells over gaps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.market.client_values import Holder, HolderChange
from fastmarket.market.holder_watch import HolderWatch

NAMES = "abcd"


def holder(name: str, price: int = 1) -> Holder:
    return Holder(name.encode(), name, "192.0.2.1", 80, price, "provider", None, None, 9)


def told(watch: HolderWatch, names: str) -> tuple[str, str, bool] | None:
    change = watch.first(map(holder, names))
    if change is None:
        return None
    return "".join(h.name for h in change.present), "".join(h.name for h in change.gone), change.gap


def test_the_first_look_is_told_though_there_is_nobody() -> None:
    watch = HolderWatch()
    assert told(watch, "") == ("", "", False)
    assert watch.begun
    assert told(watch, "") is None


def test_after_a_gap_what_is_missing_twice_is_gone() -> None:
    watch = HolderWatch()
    assert told(watch, "abc") == ("abc", "", False)
    watch.interrupted()
    assert told(watch, "ad") == ("d", "", True)
    assert watch.doubts
    assert told(watch, "adc") == ("", "b", False)
    assert not watch.doubts
    watch.interrupted()
    assert told(watch, "adc") == ("", "", True), "a gap is told, though nothing changed"


def test_one_that_comes_between_two_looks_is_not_gone() -> None:
    watch = HolderWatch()
    told(watch, "ab")
    watch.interrupted()
    told(watch, "")
    assert watch.later(HolderChange((holder("a"),), ())) == HolderChange((holder("a"),), ())
    assert told(watch, "") == ("", "b", False)
    assert watch.doubts, "a, once more"


def test_what_the_node_tells_gone_was_told_before() -> None:
    watch = HolderWatch()
    told(watch, "a")
    assert watch.later(HolderChange((), (holder("x"),))) is None
    assert watch.later(HolderChange((), (holder("a", 5),))) == HolderChange((), (holder("a"),))


def test_a_new_price_is_present() -> None:
    watch = HolderWatch()
    told(watch, "a")
    watch.interrupted()
    dearer = replace(holder("a"), price=7)
    assert watch.first([dearer]) == HolderChange((dearer,), (), gap=True)


@given(st.lists(st.tuples(st.booleans(), st.text(NAMES, max_size=4)), max_size=20))
def test_who_follows_the_changes_ends_with_what_there_is(looks: list[tuple[bool, str]]) -> None:
    """Two looks at the same holders after all gaps: then it is exact."""
    watch, known = HolderWatch(), set[str]()
    last = looks[-1][1] if looks else ""
    for gap, names in [*looks, (True, last), (False, last)]:
        if gap:
            watch.interrupted()
        change = watch.first(holder(name) for name in set(names))
        if change is not None:
            gone = {h.name for h in change.gone}
            assert gone <= known
            known = (known - gone) | {h.name for h in change.present}
        assert set(names) <= known
    change = watch.first(holder(name) for name in set(last))
    if change is not None:
        known -= {h.name for h in change.gone}
    assert known == set(last)


def test_defaults() -> None:
    assert HolderChange((), ()).gap is False
    with pytest.raises(AttributeError):
        HolderChange((), ()).gap = True  # type: ignore[misc]
