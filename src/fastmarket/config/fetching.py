"""Fetching a file from its holders."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FetchConfig:
    """Fetching a file from its holders; all limits count for one fetch."""

    # --- how much at once
    # Bytes of the file asked for and not yet written: a window of 10 Gbit/s over 50 ms
    max_ahead_bytes: int = 64 * 1024 * 1024
    # The same where a reader takes the bytes in order: they wait in memory until it has those before them
    max_ordered_bytes: int = 16 * 1024 * 1024
    # Verified and not yet written to a file, two blocks of 256 KiB; with as much, nothing more is asked for
    # until something is written. SIGKILL loses it, and what is under way: that is fetched again
    max_unwritten_bytes: int = 512 * 1024
    # Leaves whose links are in memory, some 50 bytes each: a file of 16 GiB. Of a larger one, inner nodes
    # follow as the window moves on
    max_known_leaves: int = 65_536
    max_ahead_leaves: int = 4096  # the same in leaves, where these are small; some 1 KiB each
    max_inner_requests: int = 16  # inner nodes asked for and not yet here: 16 of 2 MiB are 32 MiB
    max_holders: int = 256  # that are used; twelve times what a lookup returns
    # Verified leaves kept because another link may name the same block
    max_recent_bytes: int = 8 * 1024 * 1024
    # Leaves whose place in the file is remembered, to be read back when another link names them; 250 bytes
    # each
    max_places: int = 32_768

    # --- pace of one holder
    first_window: int = 3  # requests to a holder that has not answered yet
    min_window: int = 2  # one block on its way while the next is being read
    max_window: int = 64  # 16 MiB of blocks of 256 KiB: 1 Gbit/s over 130 ms
    # Multiple of bandwidth x delay under way: at twice, the measured bandwidth can still grow (BBR)
    window_gain: float = 2.0
    # Requests that are late may be sent to a second holder: mean and four deviations, in these limits
    min_soft_timeout_s: float = 0.05  # a busy loop or a garbage collection takes as long
    first_soft_timeout_s: float = 0.3  # of a holder that has not answered yet: a dial over three round trips
    # The same for its first inner node, which is small and which all waits for
    first_inner_timeout_s: float = 0.1
    # A holder that has sent no leaf yet is late below this; bytes per second: the uplink of a home
    first_rate_bytes: int = 1024 * 1024
    min_timeout_s: float = 1.0  # a TCP retransmission takes 0.2 - 1 s
    max_timeout_s: float = 30.0  # trustless gateway specification: a retrieval may take this long
    timeout_factor: float = 4.0  # the hard timeout is this multiple of the soft one
    # Hard timeout of a holder that has sent no block of that size yet, besides the time that the block itself
    # takes at the rate below: 256 KiB take 4 s
    first_timeout_s: float = 2.0
    min_rate_bytes: int = 64 * 1024  # bytes per second; a slower holder is late, and gets more time each time

    # --- when a holder ends
    max_misses: int = 8  # blocks in a row that it does not have; Kubo's sessions take 16
    # Timeouts in a row, each twice as long: for a block of 256 KiB 42 s in all, with nothing known before
    max_silences: int = 3
    max_failures: int = 4  # lost or refused connections in a row
    first_pause_s: float = 0.5  # after a timeout or failure; twice as long each time, unless it says how long
    max_pause_s: float = 60.0  # of a holder that says how long, too
    max_busy: int = 16  # answers in a row that it is busy

    # --- limits on a DAG, whoever made it
    max_file_bytes: int = 1 << 50  # that a root may promise: 1 PiB; any more is a lie
    max_depth: int = 32  # links from the root to a leaf; Kubo's trees of 1 TiB have 4
    # References to blocks: so many, and more by size: a file with chunks of 64 bytes is read
    free_links: int = 65_536
    min_leaf_bytes: int = 64  # on average, beyond those
    # Bytes of inner nodes: so many, and as many as bytes are wanted
    free_inner_bytes: int = 32 * 1024 * 1024
    max_path_segments: int = 64  # of a path below the root
    max_path_bytes: int = 4096  # PATH_MAX of Linux

    # --- what is remembered of holders from one fetch to the next
    max_remembered: int = 4096  # peers; some 400 bytes each
    memory_half_life_s: float = 7 * 24 * 3600.0  # what was seen counts half after a week
