"""Servers behind one name."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FleetConfig:
    """The store shared by servers behind one name; needs `fastmarket[fleet]`."""

    store: str = field(default="", repr=False)  # redis://[USER:PASSWORD@]HOST:PORT,...; empty: off
    connect_timeout_s: float = 0.5  # to a node of the engine, which is expected in the same data centre
    read_timeout_s: float = 0.2  # per read of the store: of CheckHolders' second, the network gets 0.6
    write_timeout_s: float = 2.0  # per group of writes; a registration waits for it
    # After a failure, a node of the engine is left alone this long, then tried by one caller
    pause_s: float = 0.5
    fresh_s: float = 2.0  # maximum age of views served from memory
    max_cached_contents: int = 8192  # contents cached in memory, the most recently used ones
    max_cached_offers: int = 65_536  # offers of these in total, 1 KiB each
    max_offers_per_content: int = 4096  # offers of this fleet per content: as many as one lookup collects
    max_content_bytes: int = 4 << 20  # total size of these: 0.8 kB each
    # Size of one of these: the longest possible offer; longer fields are not fetched
    max_field_bytes: int = 4096
    write_slice: int = 512  # offers per group of writes: 0.4 MiB, one round trip to each node of the engine
    retry_s: float = 1.0  # from a failed write to the next attempt
    # Between checks whether the engine is up, is the same instance, and has messages for us
    look_s: float = 2.0
    # Interval at which own offers are written again, whatever state the engine reports
    repair_s: float = 600.0
    max_messages: int = 256  # read per check: offers of ours that other servers took over or withdrew
    # Size of one message: content, user id and action; longer ones count as unreadable
    max_message_bytes: int = 1280
    max_connections: int = 64  # to one node of the engine, and concurrent calls to all of them
