"""What is kept on disk."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """The data directory. Own offers are on disk before they are acknowledged."""

    write_behind_s: float = (
        1.0  # an offer of others is written so late at most: k nodes hold it, and one sync
    )
    # then serves hundreds of them
    retry_s: float = 5.0  # after a write that failed, to write own offers all the same
    look_s: float = 2.0  # between looks whether the data directory is where it was; each commit looks, too
    max_unwritten: int = 65_536  # changes by others that wait for a write, 50 MiB; more is not kept
    sweep_interval_s: float = 600.0  # between deletions of what has ended
    kept_after_end_s: float = 24 * 3600.0  # so long: a clock that was a day ahead for a while loses nothing
    peers_interval_s: float = 5.0  # from one look whether other peers are in the table to the next; a node
    # that is killed forgets whom it met since
    peers_rewrite_s: float = 600.0  # they are written so often where only their last signs of life are new
    record_interval_s: float = 60.0  # between writes of the values that were put since; and at the end
