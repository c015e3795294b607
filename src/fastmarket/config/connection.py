"""One libp2p connection, and the requests that travel on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionConfig:
    """Bounds and times of one libp2p connection, and of the requests that travel on it."""

    early_muxer: bool = True  # agree on yamux in the Noise handshake: a round trip less; off: multistream
    handshake_timeout_s: float = (
        10.0  # from the first byte to an open connection; rust-libp2p's upgrade timeout
    )
    negotiation_timeout_s: float = 10.0  # from a stream's opening to its agreed protocol; the same source
    idle_stream_timeout_s: float = (
        60.0  # an inbound stream without bytes; go-libp2p-kad-dht's stream idle time
    )
    keepalive_interval_s: float = 30.0  # silence before a ping; go-yamux
    ping_timeout_s: float = 10.0  # silence after that ping before the connection counts as dead; go-yamux
    max_inbound_streams: int = 512  # open at once; rust-yamux
    max_outbound_streams: int = 512  # open at once; our own bound, so that a peer cannot make us hoard
    max_unacknowledged_streams: int = 256  # outbound, not yet accepted; yamux spec, ACK backlog
    max_proposals: int = 32  # protocols one negotiation may propose; go and js propose a handful
    # Output in plain, beyond which it is encrypted, or no input processed while the shell does not take any.
    # With a reply of 7 KiB behind it, one noise message still; so much stays in the processor's cache.
    max_unsent_bytes: int = 56 << 10
    # Replies their peer gave no window for, over all streams, all of whose requests wait then. On one stream
    # a request waits as long as anything of the reply before it does.
    max_blocked_bytes: int = 1 << 20
    max_held_bytes: int = 4 << 20  # requests waiting so or come in part, over all streams; beyond: a reset
    # All that all connections of a host hold for their peers: output not taken, requests waiting or come in
    # part, replies come in part, bytes not read by programs, open streams at 1 KiB each. From half of it on
    # nobody is answered who has not taken the answers before; beyond, who holds most for longest is dropped.
    # 900 peers in good order take below 10 MiB together.
    peer_budget_bytes: int = 128 << 20
    max_unread_bytes: int = 64 << 20  # given to programs and not read by them: the windows of 256 streams
    max_ping_streams: int = 2  # inbound, of one peer; ping spec
    request_streams: int = 32  # kept outbound streams a protocol; rust and js serve 32 a connection
    request_queue: int = 1024  # requests of one connection waiting for a stream
    request_idle_s: float = 45.0  # a kept stream is closed before the other side's minute is over
    late_reply_grace_s: float = 10.0  # after its deadline a request may still be answered that long
    max_reply_bytes: int = 4 << 20  # one reply message; go-libp2p's bound for Kad messages
    max_known_peers: int = 10_000  # peers whose addresses are remembered, least recently used dropped first
    max_peer_addresses: int = 16  # addresses remembered of one peer
    hint_ttl_s: float = 3600.0  # an address learned from a third party, unless a dial proved it
    dial_backoff_s: float = 5.0  # after the first failed dial; doubles with each further one
    max_dial_backoff_s: float = 600.0  # and stays here
