"""What a node remembers of holders."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.config import FetchConfig
from fastmarket.errors import NodeFault
from fastmarket.exchange.fetching.history import HolderHistory
from fastmarket.exchange.fetching.holder import FetchHolder, HolderEnd, HolderTally

CONFIG = FetchConfig()
NOW = 1_800_000_000.0
GOOD = HolderTally(1, 0, 50_000_000, 0, 200, 0, 0, 0, 1e6, 0.02, 0, None)
KINDS = {
    "good": GOOD,
    "better": replace(GOOD, bytes=500_000_000),
    "busy": replace(GOOD, bytes=0, blocks=0, ended=HolderEnd.BUSY),
    "silent": replace(GOOD, bytes=0, blocks=0, silences=3, ended=HolderEnd.SILENT),
    "liar": replace(GOOD, ended=HolderEnd.WRONG_BLOCK),
}


def test_holders_stand_by_what_they_did() -> None:
    history = HolderHistory(CONFIG)
    for name, tally in KINDS.items():
        history.record(name.encode(), tally, NOW)
    names = sorted([*KINDS, "stranger"], key=lambda name: -history.standing(name.encode(), NOW))
    assert names == ["better", "good", "stranger", "busy", "silent", "liar"]


def test_one_failed_probe_puts_a_holder_behind_strangers_until_it_answers() -> None:
    history = HolderHistory(CONFIG)
    history.on_probe(b"there", NOW)
    assert history.seen(b"there", NOW) is None, "that it answers is no delivery"
    history.on_probe(b"silent", NOW, silent=True)
    history.on_probe(b"empty", NOW, missing=True)
    assert history.standing(b"silent", NOW) < history.standing(b"empty", NOW) < 0
    for name in (b"silent", b"empty"):
        history.on_probe(name, NOW)
        assert history.standing(name, NOW) == 0
    history.record(b"good", GOOD, NOW)
    before = history.standing(b"good", NOW)
    history.on_probe(b"good", NOW)
    assert history.standing(b"good", NOW) == before > 0


def test_what_was_seen_decays() -> None:
    history = HolderHistory(CONFIG)
    history.record(b"liar", KINDS["liar"], NOW)
    later = NOW + 10 * CONFIG.memory_half_life_s
    assert history.standing(b"liar", NOW) < -10
    assert -0.1 < history.standing(b"liar", later) < 0.1
    history.record(b"liar", GOOD, later)
    assert history.standing(b"liar", later) > 5
    assert history.standing(b"liar", later - 1e9) > 5, "a clock that was set back changes nothing"


def test_a_holder_that_was_not_asked_is_not_recorded() -> None:
    history = HolderHistory(CONFIG)
    history.record(b"idle", HolderTally(1, 0, 0, 0, 0, 0, 0, 0, None, None, 0, None), NOW)
    assert history.seen(b"idle", NOW) is None


def test_a_holder_is_introduced_with_what_is_known() -> None:
    history = HolderHistory(CONFIG)
    history.record(b"good", GOOD, NOW)
    known = history.introduce(FetchHolder(7, 3), b"good", NOW)
    assert (known.key, known.price_per_mb, known.rtt_s, known.rate) == (7, 3, 0.02, 1e6)
    assert known.standing > 5
    assert history.introduce(FetchHolder(7, rtt_s=0.5), b"good", NOW).rtt_s == 0.5
    assert history.introduce(FetchHolder(7), b"other", NOW) == FetchHolder(7)


def test_the_history_is_bounded() -> None:
    history = HolderHistory(replace(CONFIG, max_remembered=3))
    for number in range(5):
        history.record(bytes([number]), GOOD, NOW)
    assert len(history) == 3
    assert history.seen(b"\x01", NOW) is None


def test_the_history_comes_back_from_its_bytes() -> None:
    history = HolderHistory(CONFIG)
    for name, tally in KINDS.items():
        history.record(name.encode(), tally, NOW)
    again = HolderHistory.from_bytes(history.to_bytes(), CONFIG)
    assert again.to_bytes() == history.to_bytes()
    assert again.seen(b"liar", NOW) == history.seen(b"liar", NOW)


@given(st.binary(max_size=200), st.booleans())
def test_other_bytes_are_a_fault_of_the_node(raw: bytes, headed: bool) -> None:
    head = HolderHistory(CONFIG).to_bytes()
    if headed:
        raw = head + raw
    try:
        HolderHistory.from_bytes(raw, CONFIG)
    except NodeFault:
        return
    assert raw.startswith(head)


def test_a_history_that_is_cut_short_is_a_fault() -> None:
    history = HolderHistory(CONFIG)
    history.record(b"good", GOOD, NOW)
    with pytest.raises(NodeFault):
        HolderHistory.from_bytes(history.to_bytes()[:-1], CONFIG)
