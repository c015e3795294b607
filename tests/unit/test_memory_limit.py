"""The memory limit: found, shared out, and kept to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.config import MemoryConfig, NodeConfig
from fastmarket.errors import CallerFault
from fastmarket.libp2p.scopes import NodeScope, Pressure, Priority, ScopeKind
from fastmarket.memory_limit import (
    BASE_BYTES,
    DEFAULT_BYTES,
    ENVELOPE_FACTOR,
    MIN_BYTES,
    OWN_OFFER_BYTES,
    STORED_OFFER_BYTES,
    WORN_BYTES,
    MemoryWatch,
    default_limit,
    fitted,
    resident_bytes,
)

MIB = 1 << 20


def test_the_limit_of_a_control_group_and_of_those_around_it(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    group = tmp_path / "system.slice" / "node.service"
    group.mkdir(parents=True)
    own.write_text("0::/system.slice/node.service\n")
    assert default_limit(tmp_path, own) == DEFAULT_BYTES
    (group / "memory.max").write_text("max\n")
    assert default_limit(tmp_path, own) == DEFAULT_BYTES
    (group.parent / "memory.max").write_text(f"{300 * MIB}\n")
    assert default_limit(tmp_path, own) == 300 * MIB
    (group / "memory.max").write_text(f"{200 * MIB}\n")
    assert default_limit(tmp_path, own) == 200 * MIB
    (group / "memory.max").write_text(f"{4096 * MIB}\n")
    (group.parent / "memory.max").write_text("max\n")
    assert default_limit(tmp_path, own) == DEFAULT_BYTES


def test_the_limit_of_a_control_group_of_version_1(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    group = tmp_path / "memory" / "docker" / "1"
    group.mkdir(parents=True)
    own.write_text("4:cpu,cpuacct:/docker/1\n3:memory:/docker/1\n")
    (group / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert default_limit(tmp_path, own) == DEFAULT_BYTES
    (group / "memory.limit_in_bytes").write_text(f"{150 * MIB}\n")
    assert default_limit(tmp_path, own) == 150 * MIB


def test_where_no_control_group_is_told(tmp_path: Path) -> None:
    assert default_limit(tmp_path, tmp_path / "none") == DEFAULT_BYTES


def limited(limit: int | None) -> NodeConfig:
    return replace(NodeConfig(), memory=MemoryConfig(limit_bytes=limit))


@given(st.integers(MIN_BYTES, 8 << 30))
def test_all_that_is_kept_and_held_fits_into_the_limit(limit: int) -> None:
    config = fitted(limited(limit))
    offers, memory = config.offers, config.memory
    own = offers.max_own_offers * OWN_OFFER_BYTES
    stored = max(offers.max_offers * STORED_OFFER_BYTES, offers.max_stored_bytes * ENVELOPE_FACTOR)
    assert BASE_BYTES + own + stored + memory.held_bytes <= limit
    assert config.connection.peer_budget_bytes < memory.held_bytes
    assert min(offers.max_own_offers, offers.max_offers) > 10_000


def test_a_program_that_has_a_node_in_it_is_not_limited() -> None:
    config = limited(None)
    assert fitted(config) is config


def test_a_limit_that_leaves_room_for_all_changes_nothing() -> None:
    config = limited(64 << 30)
    assert fitted(config) is config


@pytest.mark.parametrize("limit", [MIN_BYTES, 192 * MIB, 256 * MIB, DEFAULT_BYTES, 2048 * MIB])
def test_a_node_that_is_full_of_offers_still_takes_peers(limit: int) -> None:
    """An own offer took 1.9 kB where the whole process was measured, 15,000 of them."""
    config = fitted(limited(limit))
    own, others = config.offers.max_own_offers * 1900, config.offers.max_offers * STORED_OFFER_BYTES
    assert WORN_BYTES + own + others < config.memory.tight_part * limit


def test_a_limit_below_what_a_node_takes_is_refused() -> None:
    with pytest.raises(CallerFault, match="a node needs") as told:
        fitted(limited(MIN_BYTES - 1))
    assert told.value.field == "memory-limit"


def test_strangers_are_refused_first_then_callers_and_all_come_back(caplog: pytest.LogCaptureFixture) -> None:
    top = NodeScope(0)
    part = top.child(ScopeKind.GRPC, 0)
    size, now, shrunk = 0, 100.0, list[float]()
    watch = MemoryWatch(MemoryConfig(limit_bytes=1000), top, lambda: now, shrunk.append, lambda: size)
    seen = []
    for size in (800, 860, 960, 940, 900, 840, 800):  # noqa: B007 - `watch` reads it
        now += 1.0
        watch.look()
        seen.append((top.pressure, part.admits(1, Priority.STRANGER), part.admits(1, Priority.CALLER)))
    none, tight, critical = Pressure
    assert seen == [
        (none, True, True),
        (tight, False, True),
        (critical, False, False),
        (critical, False, False),  # not at once: the pressure would swing
        (tight, False, True),
        (tight, False, True),
        (none, True, True),
    ]
    assert len(shrunk) == 5
    assert [record.message.partition(":")[2] for record in caplog.records] == [
        " refusing new peers",
        " refusing callers and peers",
    ]


def test_the_process_is_measured() -> None:
    assert resident_bytes() > 10 * MIB
