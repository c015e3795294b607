"""The network shell."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HostConfig:
    """The network shell: listening, dialing, and connection limits."""

    # Multiaddrs to listen on; /tcp/0 takes any free port
    listen: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/16899",)
    # Multiaddrs to announce instead of the listened-on and observed ones: behind a forwarded port, a proxy,
    # or a name. Empty: announce the listened-on addresses, and those that enough peers observed
    announce: tuple[str, ...] = ()
    # Find nodes of the local network by multicast DNS, and let them find us: "on", "off", or "auto", which is
    # "on" where python-zeroconf is installed. No packet is sent while only loopback or public addresses are
    # listened on
    mdns: str = "off"
    # DNS servers (IP address, port) queried for the TXT records of /dnsaddr; empty: the system's
    nameservers: tuple[tuple[str, int], ...] = ()
    # Open connections, in both directions. Each costs some 20 kB and a file descriptor; the usual soft limit
    # is 1,024 descriptors per process, and gRPC clients need some, too
    max_connections: int = 900
    # Inbound ones among them: an inbound flood cannot keep us from dialing
    max_inbound_connections: int = 700
    max_connections_per_peer: int = 4  # two if both sides dial at once, plus those that are closing
    # Inbound connections per IP address (IPv6: per /56). A class or a company may share one address;
    # go-libp2p allows 8
    max_connections_per_ip: int = 64
    inbound_rate_per_ip: float = 10.0  # new connections per second and IP address
    inbound_burst_per_ip: int = 64  # at once: all of them reconnect after a restart of ours
    # Addresses whose rate is remembered besides those with connections, some 300 bytes each
    max_known_ips: int = 10_000
    refusal_log_interval_s: float = 60.0  # between log lines about the same refused address
    limit_loopback: bool = False  # apply the three limits per address to loopback, too
    # Inbound connections still in their handshake. Each costs about 1 ms of CPU and two round trips, so this
    # many occur only in a flood
    max_pending_inbound: int = 128
    max_pending_per_ip: int = 32  # per IP address
    # Above this high-water mark, the least recently used connections are closed, down to the low-water mark.
    # The room above is for those in use, and for bursts
    high_connections: int = 600
    low_connections: int = 450  # the low-water mark
    # Younger connections are not trimmed: their peers have hardly sent requests yet (kubo)
    connection_grace_s: float = 20.0
    trim_pause_s: float = 1.0  # between scans of all connections for trimming
    # Time for the peer to close a connection that we give up; go-libp2p never closes it first
    leave_grace_s: float = 5.0
    max_dials: int = 64  # concurrent dials
    max_queued_dials: int = 4096  # peers whose dial waits for a slot
    max_dial_addrs: int = 8  # addresses tried per peer, including those its names resolve to
    # DNS queries per dial: a /dnsaddr may refer to others, and may be malicious. IPFS's public bootstrap name
    # takes 5
    max_dial_lookups: int = 16
    dial_timeout_s: float = 5.0  # per address, TCP and handshake together
    dial_stagger_s: float = 0.25  # delay before the next address is tried in parallel (RFC 8305 section 5)
    max_waiting_requests: int = 256  # requests that wait for one peer's dial
    idle_timeout_s: float = 120.0  # a connection idle for this long is closed
    idle_sweep_s: float = 15.0  # between scans for idle connections
    identify_timeout_s: float = 10.0  # time for a peer to answer identify before we continue without it
    close_grace_s: float = 0.5  # time for closing messages to be sent at shutdown
