"""One libp2p connection, and the requests on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionConfig:
    """Limits and timeouts of one libp2p connection, and of the requests on it."""

    # Negotiate yamux inside the Noise handshake, which saves a round trip; off: multistream
    early_muxer: bool = True
    # From the first byte to an open connection; rust-libp2p's upgrade timeout
    handshake_timeout_s: float = 10.0
    negotiation_timeout_s: float = 10.0  # from opening a stream to its agreed protocol; the same source
    # An inbound stream without traffic is reset; go-libp2p-kad-dht's stream idle time
    idle_stream_timeout_s: float = 60.0
    keepalive_interval_s: float = 30.0  # silence before a ping is sent; go-yamux
    ping_timeout_s: float = 10.0  # silence after that ping before the connection counts as dead; go-yamux
    max_inbound_streams: int = 512  # open at once; rust-yamux
    max_outbound_streams: int = 512  # open at once; our own limit, so that a peer cannot make us hold many
    max_unacknowledged_streams: int = 256  # outbound streams not yet accepted; yamux spec, ACK backlog
    max_proposals: int = 32  # protocols one negotiation may propose; go and js propose a handful
    # Unencrypted output after which it is encrypted, or, while the shell takes none, input is no longer
    # processed. With a reply of 7 KiB on top it still fits one Noise message; this much stays in the CPU
    # cache
    max_unsent_bytes: int = 56 << 10
    # Replies blocked by their peer's flow-control window, over all streams; beyond it all their requests
    # wait. On one stream, a request waits until the previous reply has been sent
    max_blocked_bytes: int = 1 << 20
    # Requests that wait for this or have arrived in part, over all streams; beyond it the stream is reset
    max_held_bytes: int = 4 << 20
    # Total that all connections of a host hold for their peers: unsent output, waiting or partial requests,
    # partial replies, bytes unread by programs, and 1 KiB per open stream. From half of it on, peers with
    # unread answers get no more; beyond it, the peer that has held most for longest is disconnected. 900
    # well-behaved peers use less than 10 MiB together
    peer_budget_bytes: int = 128 << 20
    # Passed to programs and not yet read by them: the windows of 256 streams
    max_unread_bytes: int = 64 << 20
    max_ping_streams: int = 2  # inbound, per peer; ping spec
    request_streams: int = 32  # outbound streams kept per protocol; rust and js serve 32 per connection
    request_queue: int = 1024  # requests of one connection that wait for a stream
    request_idle_s: float = 45.0  # a kept stream is closed before the other side's timeout of a minute
    late_reply_grace_s: float = 10.0  # how long after its deadline a request's reply is still accepted
    max_reply_bytes: int = 4 << 20  # one reply message; go-libp2p's limit for Kademlia messages
    # Peers whose addresses are remembered; the least recently used is dropped first
    max_known_peers: int = 10_000
    max_peer_addresses: int = 16  # addresses remembered per peer
    # Lifetime of an address learned from a third party, unless a dial confirmed it
    hint_ttl_s: float = 3600.0
    dial_backoff_s: float = 5.0  # after the first failed dial; doubled after each further one
    max_dial_backoff_s: float = 600.0  # upper limit of that backoff
