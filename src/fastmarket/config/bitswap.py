"""Blocks over Bitswap."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BitswapConfig:
    """Blocks over Bitswap: what peers may want of us at once, and what we ask of them."""

    # --- What we serve
    # Wants of one peer that wait for their turn; of more, those of the lowest priority are dropped (boxo)
    max_wants_per_peer: int = 1024
    # Wants that wait, of all peers, some 300 bytes each; beyond it a peer's share is this by the number of
    # peers
    max_wants: int = 65_536
    # Peers with wants, or asked by us; the host has no more connections than that
    max_peers: int = 1024
    # A message is sent when it holds so much: small blocks go together, a larger one alone (boxo)
    message_bytes: int = 16 << 10
    # Read or written and not yet taken by one peer; then it waits, as in boxo. A larger block goes alone
    max_outstanding_bytes: int = 1 << 20
    # The same, of all peers: memory, and the queue in which a peer that asks for little waits behind the
    # others
    max_all_outstanding_bytes: int = 32 << 20
    # Added to what a peer may have at each of its turns (deficit round robin): a block of the usual size, so
    # that one turn is one such block
    quantum_bytes: int = 256 << 10
    # What an answer without a block counts in a peer's turn: looking it up, and some 50 bytes
    presence_bytes: int = 256
    # Wants looked up at one time; then the node's other work has its turn. Each costs some 10 us
    wants_a_turn: int = 256
    # HAVE is answered with the block itself up to this size (boxo, Helia)
    have_as_block_bytes: int = 1024
    # A peer that has taken nothing for so long while others wait for its room loses its wants (boxo: starved
    # for so long comes first)
    stall_s: float = 10.0

    # --- What we ask
    # Blocks asked of one peer and not yet answered; a peer answers at most this many wants anyway
    max_asks_per_peer: int = 1024

    # --- Streams
    # Inbound streams of one peer at a time. boxo opens one for each message, and closes it; 8 of its workers
    # write at once, and one stream is for its wants
    max_streams_per_peer: int = 64
    # The same of an address block, and of all peers, of which three quarters are for strangers
    max_streams_per_block: int = 2048
    max_streams: int = 8192
    # A stream without a whole message for so long is reset: the largest, 4 MiB, at 12,500 bytes a second
    message_timeout_s: float = 360.0
    # Of messages that have come in part, of one peer: two of the largest
    max_partial_bytes: int = 8 << 20
    # The same, of all peers
    max_all_partial_bytes: int = 64 << 20
    # A stream of ours is closed when nothing was sent on it for so long: Helia drops those silent for 10 s
    stream_idle_s: float = 5.0
    # After that, time for the other side to close it, too
    stream_close_s: float = 10.0
    # A message has so long, and a second more for each `min_send_bytes_per_s`; then the peer loses its wants
    # (boxo: 10 s, 12,500 bytes a second)
    send_grace_s: float = 10.0
    min_send_bytes_per_s: int = 12_500  # the slowest reader that is waited for
