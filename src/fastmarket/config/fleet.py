"""Servers behind one name."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FleetConfig:
    """The store that servers behind one name share; needs `fastmarket[fleet]`."""

    store: str = field(default="", repr=False)  # redis://[USER:PASSWORD@]HOST:PORT,...; none: off
    connect_timeout_s: float = 0.5  # to a node of the engine; it stands in the same building
    read_timeout_s: float = 0.2  # of one look into the store: of CheckHolders' second the network keeps 0.6
    write_timeout_s: float = 2.0  # of one group of writes; a registration waits for it
    pause_s: float = 0.5  # a node of the engine that failed is left alone so long, then tried by one caller
    fresh_s: float = 2.0  # what was read or found is served from memory so long, and never longer
    max_cached_contents: int = 8192  # read contents kept in memory, the latest used
    max_cached_offers: int = 65_536  # ... and the offers of them together, 1 KiB each
    max_offers_per_content: int = 4096  # of this fleet: what one lookup gathers at most
    max_content_bytes: int = 4 << 20  # ... and of their bytes: 0.8 kB each
    max_field_bytes: int = 4096  # of one of them: the longest offer there can be; longer ones are not fetched
    write_slice: int = 512  # offers in one group of writes: 0.4 MiB, one way to each node of the engine
    retry_s: float = 1.0  # from a write that failed to the next try
    look_s: float = 2.0  # between looks whether the engine is there, is the same, and has messages for us
    repair_s: float = 600.0  # own offers are written anew so often, whatever the engine says of itself
    max_messages: int = 256  # read in one look: what other servers took over or took back of ours
    max_message_bytes: int = (
        1280  # of one: a content, a user id, what it says; longer ones count as unreadable
    )
    max_connections: int = 64  # to one node of the engine, and calls to all of them at once
