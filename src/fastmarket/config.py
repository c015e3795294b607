"""Frozen dataclasses that hold every parameter and bound, one per layer.

Units are part of the name (`_s` seconds, `_bytes`); where a number is not ours, its source stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field


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
    quiet_stream_timeout_s: float = 1.0  # one whose last request gets no reply: py-libp2p waits for the end
    keepalive_interval_s: float = 30.0  # silence before a ping; go-yamux
    ping_timeout_s: float = 10.0  # silence after that ping before the connection counts as dead; go-yamux
    max_inbound_streams: int = 512  # open at once; rust-yamux
    max_outbound_streams: int = 512  # open at once; our own bound, so that a peer cannot make us hoard
    max_unacknowledged_streams: int = 256  # outbound, not yet accepted; yamux spec, ACK backlog
    max_proposals: int = 32  # protocols one negotiation may propose; go and js propose a handful
    max_unsent_bytes: int = 1 << 20  # output not taken by the shell, beyond which no input is processed
    max_stream_unsent_bytes: int = 256 << 10  # replies its peer gave no window for: its requests wait then
    max_blocked_bytes: int = 4 << 20  # such replies over all streams, all of whose requests wait then
    max_held_bytes: int = 4 << 20  # requests waiting so or come in part, over all streams; beyond: a reset
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


@dataclass(frozen=True, slots=True)
class KadConfig:
    """Kademlia: one table, one store, one protocol id."""

    prefix: str = "/fastmarket"

    # --- the table and lookups (specs kad-dht: k 20, alpha 10)
    k: int = 20  # peers in a bucket, peers in a reply, peers a lookup finds and a value is stored at
    alpha: int = 10  # requests of one lookup in flight that are not late
    patience_s: float = 0.5  # a peer slower than this gives its slot to another; its answer still counts
    settle_s: float = 1.0  # late peers hold a lookup's end at least this long: a dial over four round trips
    settle_factor: float = 3.0  # ... and this many times the slowest answer the same lookup saw
    request_timeout_s: float = 5.0  # nothing comes after this; rust allows 10 s, which users complain of
    job_timeout_s: float = 30.0  # a whole lookup, unless its caller says otherwise
    max_asked: int = 200  # peers one lookup asks: 3-4 times what one takes at 100,000 nodes, so that
    # peers who keep inventing closer ones cannot keep it alive
    shortlist_size: int = 128  # candidates a lookup keeps, closest first; leaves room for dead ones among k
    max_jobs: int = 4096  # running at once; past that Busy
    max_background_jobs: int = 4  # own republishing and refreshing at once: callers come first

    # --- who stays in the table
    max_failures: int = 2  # failed requests in a row, then the next candidate takes the place
    failure_spacing_s: float = (
        1.0  # failures closer together are one: parallel jobs meet a dead peer together
    )
    check_after_s: float = 60.0  # a peer seen later than this is not checked before a newcomer must wait
    # From an answered check until the next in that bucket. A check dials, and who is dialled has a newcomer:
    # without a pause checks set off checks without end, as the simulator shows.
    check_interval_s: float = 300.0
    check_timeout_s: float = 3.0  # for the answer to a liveness check, dialling included
    max_visitors: int = 4096  # connected peers outside the table whose addresses are kept for FIND_NODE

    # --- what a stranger may send or make us hold
    max_request_bytes: int = 64 * 1024  # a PUT_VALUE of the largest value we take, and room
    max_reply_bytes: int = 256 * 1024  # go answers 20 to 40 peers with up to 8 KiB each at worst
    max_message_bytes: int = 16 * 1024  # what we send: rust-libp2p reads no more
    max_closer_peers: int = 40  # taken from one reply (go's bound); what is beyond is not read
    max_provider_peers: int = 256  # taken from one reply or request
    max_addrs_per_peer: int = 16  # of one peer, ours included
    max_peer_bytes: int = 8 * 1024  # one peer entry as received (go's bound)
    max_entry_bytes: int = 700  # one peer entry as sent: k + 1 of them fit max_message_bytes
    max_key_bytes: int = 1024  # of a value or a lookup target: a fileHash may have 1 KiB
    max_provider_key_bytes: int = 80  # go's bound
    max_value_bytes: int = 10 * 1024  # leaves 5 KiB of a 16 KiB reply to closer peers
    max_records: int = 16_384  # values held for others
    max_record_store_bytes: int = 64 * 1024 * 1024  # their keys and values together
    max_provider_records: int = 65_536  # (key, provider) pairs held for others, some 500 bytes each
    max_providers_per_key: int = 64  # the oldest announcement gives way; rust holds 20
    max_published: int = 100_000  # own values and provided keys that are announced again and again

    # --- lifetimes and intervals (go-libp2p-kad-dht amino/defaults.go; specs kad-dht)
    record_ttl_s: float = 48 * 3600.0  # a value not put again; shorter when its record says so
    provider_ttl_s: float = 48 * 3600.0  # a provider not announced again
    provider_addr_ttl_s: float = 24 * 3600.0  # its addresses; afterwards the id alone is handed out
    republish_interval_s: float = 22 * 3600.0  # own values and provided keys: below the ttl by a lost attempt
    republish_retry_s: float = 300.0  # after an announcement that nobody acknowledged
    refresh_interval_s: float = 600.0  # self-lookup and lookups in buckets not looked up in since
    max_refresh_bucket: int = 12  # a target in bucket b costs 2^(b+1) hashes; nearer buckets lie within the
    # k closest of the self-lookup up to 100,000 nodes
    sweep_interval_s: float = 300.0  # expired values and providers are dropped; never served in between

    @property
    def protocol(self) -> str:
        """The protocol id on the wire."""
        return f"{self.prefix}/kad/1.0.0"


@dataclass(frozen=True, slots=True)
class OfferConfig:
    """Offers: what is stored for others, how own ones are kept alive, how they are looked for."""

    protocol: str = "/fastmarket/offer/1.0.0"

    # The wire. One message carries about 200 offers of the usual 300 bytes; kad's 16 KiB is a bound of
    # rust-libp2p's for its own protocol.
    max_message_bytes: int = 64 * 1024
    max_offers_per_store: int = 64  # one signature each: 4 ms of work for one request
    verified_cache: int = 8192  # offers whose signature need not be verified again; 8 MiB, 40 at worst

    # The store. A full content gives the place of the provider who takes most to one who takes less.
    max_offers_per_content: int = 1024
    max_offers_per_provider: int = 200_000  # one holder may register 100,000 files, each with a new price
    max_offers: int = 400_000
    max_stored_bytes: int = 256 * 1024 * 1024  # envelopes; each costs about as much again in memory
    expiry_step_s: float = 60.0  # offers are dropped in such steps; never returned once expired

    # Own offers. Renewed at every announcement, so that 26 h remain when a renewal is due.
    lifetime_s: float = 48 * 3600.0
    announce_interval_s: float = 22 * 3600.0  # go-libp2p-kad-dht: ProvideValidity 48 h, reprovide 22 h
    retry_first_s: float = 30.0  # after an announcement that failed its quorum or met nobody
    retry_longest_s: float = 3600.0  # the back-off doubles up to this
    settle_s: float = 2.0  # from a new neighbour to the announcement of what too few hold: more may follow
    max_announcing: int = 16  # announcements of the schedule at once; a registration does not wait for them
    max_own_offers: int = 250_000

    # Lookups.
    find_limit: int = 200  # offers asked for in one request; about what a message holds
    max_pages: int = 8  # requests to one peer for more of them
    page_timeout_s: float = 2.0  # for such a further request; the peer has just answered one
    max_found: int = 4096  # offers one lookup gathers: 1.5 MiB
    direct_timeout_s: float = 0.6  # for a provider that came without an offer; below CheckHolders' second
    max_direct_asks: int = 20  # such providers asked in one lookup; a storer hands out 20 of them


@dataclass(frozen=True, slots=True)
class HostConfig:
    """The network shell: listening, dialing, how many connections."""

    # Multiaddrs to listen on; /tcp/0 takes any free port.
    listen: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/16899",)
    # Multiaddrs to tell others instead of those listened on and observed: behind a port forwarded by hand,
    # a proxy, a name. Empty: tell what is listened on, and what enough peers observed.
    announce: tuple[str, ...] = ()
    # DNS servers, (IP address, port), asked for the TXT records of /dnsaddr; empty: those of the system.
    nameservers: tuple[tuple[str, int], ...] = ()
    # Open connections, both directions. One costs some 20 kB and a file descriptor; the usual soft limit of
    # a process is 1,024 descriptors, and gRPC clients need some too.
    max_connections: int = 900
    # The inbound ones of them: whoever floods us does not keep us from dialing.
    max_inbound_connections: int = 700
    # Connections with one peer: two when both sides dial at once, and those that are just ending.
    max_connections_per_peer: int = 4
    # Inbound connections from one IP address (IPv6: one /56). A class or a company may be behind one
    # address; go-libp2p allows 8.
    max_connections_per_ip: int = 64
    # New ones from it per second, and how many may come at once: all of them after a restart of ours.
    inbound_rate_per_ip: float = 10.0
    inbound_burst_per_ip: int = 64
    # Addresses whose rate is remembered beside those with connections, some 300 bytes each.
    max_known_ips: int = 10_000
    # Whether the three bounds of an address hold for this machine's own, too.
    limit_loopback: bool = False
    # Inbound connections that have not finished their handshake, in all and from one IP address. One costs
    # about 1 ms of CPU and two round trips, so this many are under way only when somebody floods us.
    max_pending_inbound: int = 128
    max_pending_per_ip: int = 32
    # With more than the high mark of connections, those longest unused are closed down to the low mark. There
    # is room above for those in use, and for a burst.
    high_connections: int = 600
    low_connections: int = 450
    # A connection is not closed so before it is this old: its peer has hardly asked anything (kubo).
    connection_grace_s: float = 20.0
    # From one look at all connections for that purpose to the next.
    trim_pause_s: float = 1.0
    # A connection we leave is given this long until the peer ends it; go-libp2p never does by itself.
    leave_grace_s: float = 5.0
    # Dials under way at once, and peers whose dial waits for a place.
    max_dials: int = 64
    max_queued_dials: int = 4096
    # Addresses tried for one peer, those behind its names included.
    max_dial_addrs: int = 8
    # DNS questions asked for one dial: a /dnsaddr may lead to others, and a stranger may have made it up.
    # The public bootstrap name of IPFS takes 5.
    max_dial_lookups: int = 16
    # For one address, TCP and handshake together.
    dial_timeout_s: float = 5.0
    # The next address is tried beside the first after this long (RFC 8305 section 5).
    dial_stagger_s: float = 0.25
    # Requests waiting for one peer's dial.
    max_waiting_requests: int = 256
    # A connection on which nothing was under way for this long is closed.
    idle_timeout_s: float = 120.0
    # How often idle connections are looked for.
    idle_sweep_s: float = 15.0
    # How long a peer may take to say who it is before we go on without.
    identify_timeout_s: float = 10.0
    # Good-byes are given this long to leave when the node stops.
    close_grace_s: float = 0.5


@dataclass(frozen=True, slots=True)
class MarketConfig:
    """The gRPC services; both of them on one port."""

    host: str = "127.0.0.1"
    port: int = 8080
    # CheckHolders answers within a second whatever hangs (the Go client gives up then), with what has come.
    find_budget_s: float = 0.8
    register_budget_s: float = 10.0  # for a caller without a deadline
    closest_budget_s: float = 5.0  # for a caller without a deadline
    reply_margin_s: float = 0.1  # kept of a caller's deadline for the way back
    max_request_bytes: int = 64 * 1024  # the largest honest request is below 4 KiB
    max_response_bytes: int = 3 * 1024 * 1024  # clients refuse more than 4 MiB unless told otherwise
    max_concurrent_rpcs: int = 1024  # beyond it: RESOURCE_EXHAUSTED
    max_streams_per_connection: int = 256


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """A whole node."""

    # False: a client, which asks others and stores nothing for them (specs kad-dht, "Client and server
    # mode").
    server_mode: bool = True
    # Nodes to join the network by: multiaddrs that end in /p2p.
    bootstrap: tuple[str, ...] = ()
    connection: ConnectionConfig = field(default_factory=ConnectionConfig)
    kad: KadConfig = field(default_factory=KadConfig)
    offers: OfferConfig = field(default_factory=OfferConfig)
    host: HostConfig = field(default_factory=HostConfig)
    market: MarketConfig = field(default_factory=MarketConfig)
