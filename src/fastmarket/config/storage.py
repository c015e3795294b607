"""Storage on disk."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """The data directory. Own offers are on disk before they are acknowledged."""

    # Maximum delay of writing other nodes' offers: k nodes store each, and one sync serves hundreds of them
    write_behind_s: float = 1.0
    retry_s: float = 5.0  # after a failed write, until own offers are written again
    # Between checks whether the data directory is still in place; each commit checks, too
    look_s: float = 2.0
    max_unwritten: int = 65_536  # changes by other nodes that wait for a write, 50 MiB; more are not kept
    sweep_interval_s: float = 600.0  # between deletions of expired offers
    # How long expired offers are kept: a clock that was a day ahead for a while loses nothing
    kept_after_end_s: float = 24 * 3600.0
    # Between checks whether the routing table has changed; a node that is killed forgets peers met since
    peers_interval_s: float = 5.0
    # Between writes if only the times at which peers were last seen have changed
    peers_rewrite_s: float = 600.0
    record_interval_s: float = 60.0  # between writes of new values; also at shutdown
