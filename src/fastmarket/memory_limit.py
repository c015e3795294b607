"""The memory of the process: its limit, how the limits of a node fit into it, and what happens near it."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fastmarket.config import MemoryConfig, NodeConfig, OfferConfig
from fastmarket.errors import CallerFault
from fastmarket.faults import Faults
from fastmarket.libp2p.scopes import NodeScope, Pressure
from fastmarket.repeating import Repeating
from fastmarket.wording import counted

log = logging.getLogger(__name__)

DEFAULT_BYTES = 512 << 20
MIN_BYTES = 128 << 20  # below it a node would hold nearly nothing for others
# A node that has served calls and holds nothing: interpreter, libraries, routing table, small caches.
BASE_BYTES = 64 << 20
# The same with all ports, and what the allocator keeps after a while.
WORN_BYTES = 72 << 20
# Of what is left: what a node has that is full of offers, with some callers. It has to be below `tight_part`
# of the limit, or the node would refuse peers as long as it is full.
FULL_PART = 0.75
# What is left of the limit: for own offers, for those of others, and for what peers and callers make us hold.
# The
# rest is for caches and what the allocator cannot return.
OWN_PART, STORED_PART, HELD_PART = 0.4, 0.25, 0.25
# Measured (docs/operations.md, "Sizing"): an own offer, and one kept for others, in batches.
OWN_OFFER_BYTES, STORED_OFFER_BYTES = 1700, 900
ENVELOPE_FACTOR = 2  # `max_stored_bytes` counts envelopes, which cost about as much again
EASED = 0.95  # of the bound that a measurement has to be under before the pressure is lower again
TRIM_PAUSE_S = 5.0  # between returns of free memory to the system, some ms each

_TROUBLES = {
    Pressure.NONE: "",
    Pressure.TIGHT: "near its memory limit, it refuses new peers; raise --memory-limit if that lasts",
    Pressure.CRITICAL: "near its memory limit, it refuses callers, too; raise --memory-limit if that lasts",
}

_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60  # version 1 writes a number near 2**63 for "none"


def default_limit(root: Path = _CGROUP, own: Path = Path("/proc/self/cgroup")) -> int:
    """512 MiB, or what the process's control group may use if that is less."""
    return min([DEFAULT_BYTES, *_group_limits(root, own)])


def _group_limits(root: Path, own: Path) -> list[int]:
    """The limits of the control group and of those around it, of version 2 and 1; none elsewhere than on
    Linux."""
    found = []
    with suppress(OSError, ValueError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            top, name = (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
            here = top / path.lstrip("/")
            for group in (here, *here.parents):
                with suppress(OSError, ValueError):
                    found.append(int((group / name).read_text()))
                if group == top:
                    break
    return [limit for limit in found if 0 < limit < _UNLIMITED]


def fitted(config: NodeConfig) -> NodeConfig:
    """The configuration with limits that fit into `memory.limit_bytes`.

    Raises CallerFault ("memory-limit") if it is too low for a node.
    """
    limit = config.memory.limit_bytes
    if limit is None:
        return config
    if limit < MIN_BYTES:
        needed = f"{MIN_BYTES:,} ({MIN_BYTES >> 20} MiB)"
        raise CallerFault("memory-limit", f"{limit:,} bytes; a node needs {needed}")
    left = min(limit - BASE_BYTES, int((limit * config.memory.tight_part - WORN_BYTES) / FULL_PART))
    offers, memory = _offers(config.offers, left), _memory(config.memory, int(left * HELD_PART))
    part = memory.held_bytes / config.memory.held_bytes
    if (offers, memory) == (config.offers, config.memory):
        return config
    connection = replace(config.connection, peer_budget_bytes=int(config.connection.peer_budget_bytes * part))
    return replace(config, offers=offers, memory=memory, connection=connection)


def log_shares(config: NodeConfig) -> None:
    """Logs what there is room for below `memory.limit_bytes`, of a configuration that fits."""
    limit, offers = config.memory.limit_bytes, config.offers
    if limit is None:
        return
    log.info(
        "memory limit of %d MiB: room for %s, %s of other nodes in %d MiB, %d MiB held for peers and callers",
        *(limit >> 20, counted(offers.max_own_offers, "own offer"), counted(offers.max_offers, "offer")),
        *(offers.max_stored_bytes >> 20, config.memory.held_bytes >> 20),
    )


def _offers(offers: OfferConfig, left: int) -> OfferConfig:
    stored = int(left * STORED_PART)
    return replace(
        offers,
        max_own_offers=min(offers.max_own_offers, int(left * OWN_PART) // OWN_OFFER_BYTES),
        max_offers=min(offers.max_offers, stored // STORED_OFFER_BYTES),
        max_stored_bytes=min(offers.max_stored_bytes, stored // ENVELOPE_FACTOR),
    )


def _memory(memory: MemoryConfig, most: int) -> MemoryConfig:
    if memory.held_bytes <= most:
        return memory
    part = most / memory.held_bytes
    return replace(
        memory,
        held_bytes=most,
        grpc_bytes=int(memory.grpc_bytes * part),
        http_bytes=int(memory.http_bytes * part),
        content_bytes=int(memory.content_bytes * part),
    )


def resident_bytes() -> int:
    """Of this process, as the system counts it; 0 where it does not say (statm(5) of Linux)."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def trim() -> None:
    """Returns free heap memory to the system."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # a libc other than glibc
            ctypes.CDLL(None).malloc_trim(0)


def trouble(pressure: Pressure) -> str:
    """What a node near its limit does not do, for callers; "" where it is not."""
    return _TROUBLES[pressure]


class MemoryWatch:
    """Measures from time to time, and says in the scope of the node how near the limit is."""

    def __init__(
        self,
        config: MemoryConfig,
        scope: NodeScope,
        now: Callable[[], float],
        shrink: Callable[[float], None],
        measure: Callable[[], int] = resident_bytes,
    ) -> None:
        """`shrink(now)` ends what strangers hold; called at each measurement near the limit."""
        self._limit = config.limit_bytes or 0
        self._parts = {Pressure.TIGHT: config.tight_part, Pressure.CRITICAL: config.critical_part}
        self._scope = scope
        self._now = now
        self._shrink = shrink
        self._measure = measure
        self._trimmed_at = float("-inf")
        self.resident_bytes = 0
        """As of the last measurement."""
        self._looking = Repeating("measuring memory", lambda: config.look_s, self.look, Faults())

    def start(self) -> None:
        """Begins to measure."""
        self._looking.start()

    async def stop(self) -> None:
        """Measures no more."""
        await self._looking.stop()

    def look(self) -> None:
        """Measures once."""
        self._scope.measure()
        if not self._limit:
            return
        now, before = self._now(), self._scope.pressure
        pressure = self._pressure()
        if pressure and now - self._trimmed_at >= TRIM_PAUSE_S:
            self._trimmed_at = now
            trim()
            pressure = self._pressure()
        self._scope.pressure = pressure
        if pressure > before:
            log.warning(
                "%d MiB of memory, near the limit of %d MiB: refusing %s",
                *(self.resident_bytes >> 20, self._limit >> 20),
                "callers and peers" if pressure is Pressure.CRITICAL else "new peers",
            )
        if pressure:
            self._shrink(now)

    def _pressure(self) -> Pressure:
        size = self.resident_bytes = self._measure()
        found = Pressure.NONE
        for pressure, part in self._parts.items():
            bound = self._limit * part * (EASED if pressure <= self._scope.pressure else 1.0)
            if size > bound:
                found = pressure
        return found
