"""The network shell."""

from __future__ import annotations

from dataclasses import dataclass


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
    inbound_burst_per_ip: int = 64  # that come at once
    # Addresses whose rate is remembered beside those with connections, some 300 bytes each.
    max_known_ips: int = 10_000
    refusal_log_interval_s: float = 60.0  # from one log line about an address that is refused to the next
    # Whether the three bounds of an address hold for this machine's own, too.
    limit_loopback: bool = False
    # Inbound connections that have not finished their handshake, in all and from one IP address. One costs
    # about 1 ms of CPU and two round trips, so this many are under way only when somebody floods us.
    max_pending_inbound: int = 128
    max_pending_per_ip: int = 32  # of one address
    # With more than the high mark of connections, those longest unused are closed down to the low mark. There
    # is room above for those in use, and for a burst.
    high_connections: int = 600
    low_connections: int = 450  # down to this many
    # A connection is not closed so before it is this old: its peer has hardly asked anything (kubo).
    connection_grace_s: float = 20.0
    # From one look at all connections for that purpose to the next.
    trim_pause_s: float = 1.0
    # A connection we leave is given this long until the peer ends it; go-libp2p never does by itself.
    leave_grace_s: float = 5.0
    # Dials under way at once, and peers whose dial waits for a place.
    max_dials: int = 64
    max_queued_dials: int = 4096  # waiting
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
