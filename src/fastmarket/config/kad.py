"""Kademlia."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KadConfig:
    """Kademlia: one routing table, one record store, one protocol id."""

    # Of the protocol id: another prefix is another network; /ipfs is the public one
    prefix: str = "/fastmarket"

    # --- the routing table and lookups (specs kad-dht: k 20, alpha 10)
    k: int = 20  # peers in a bucket, peers in a reply, peers that a lookup finds and that store a value
    alpha: int = 10  # concurrent requests of one lookup, not counting late ones
    # Closest peers that must answer before a lookup ends; below k it ends sooner, and may miss some of the k
    # closest (go: 3, and then queries the rest of the k)
    beta: int = 20
    # A connected peer that answered this recently may count as one of the closest without being queried
    # again: one that hangs is trusted at most this long
    alive_s: float = 15.0
    # Closest peers that are queried regardless (go waits for 3): if there are closer peers unknown to us,
    # these name them
    min_queried: int = 4
    # Paths per lookup that share no peer; 8 as in S/Kademlia cost about twice the requests, and are for
    # networks with many malicious peers
    disjoint_paths: int = 1
    # Soft timeout: a slower peer's slot goes to another; its answer still counts. Shorter if this peer, or
    # peers in general, have been faster
    soft_timeout_s: float = 0.5
    # Lower limit of the soft timeout: a busy loop or a garbage collection takes as long
    min_soft_timeout_s: float = 0.03
    # Late peers delay the end of a lookup up to this long: a dial over four round trips
    settle_s: float = 1.0
    # But at most this multiple of their soft timeout, or of the slowest answer of the same lookup, whichever
    # is more
    settle_factor: float = 3.0
    max_rtt_estimates: int = 4096  # peers whose round-trip estimate or silence is remembered; 1 MiB
    # A peer that was late is not waited for until it is heard from, or this time has passed
    silent_s: float = 60.0
    request_timeout_s: float = 5.0  # hard timeout of a request; rust allows 10 s, which users complain about
    job_timeout_s: float = 30.0  # a whole lookup, unless its caller says otherwise
    # Peers queried per lookup: 3-4 times what is needed at 100,000 nodes, so that peers that keep inventing
    # closer ones cannot prolong it indefinitely
    max_asked: int = 200
    # Candidates kept per lookup, closest first; leaves room for dead peers among the k closest, and for ids
    # that were placed around the key from many networks
    shortlist_size: int = 256
    max_jobs: int = 4096  # running at once; beyond it Busy
    max_background_jobs: int = 4  # own republish and refresh jobs at once: callers come first

    # --- storing, and the network size
    # Store at peers within the expected distance of the k closest before the lookup has ended
    optimistic_store: bool = True
    # Multiple of that distance: the estimate is often off by a fifth, and peers not among the k closest known
    # are skipped anyway
    optimistic_reach: float = 1.5
    # What is stored lies at all peers within this multiple of that distance, at least at the k closest: ids
    # placed around a key add to its storers instead of displacing them. 1: k peers are expected there, and as
    # many messages are sent as to the k closest; 0: the k closest alone
    region_reach: float = 1.0
    # Lookups whose distance to the k-th closest peer is remembered for the estimate, which is the median
    size_samples: int = 32

    # --- the full routing table: every live peer, for one-hop lookups; costs memory and some traffic
    large_table: bool = False  # kept besides the routing table
    max_large_table: int = 131_072  # peers in it; some 1 KiB each
    max_group_in_large: int = 1024  # per address block, so that no block fills most of it
    max_large_named: int = 16_384  # peers named by others that are still to be probed; some 1 KiB each
    # A peer not heard from for this long is probed, so that lookups need not: of peers with a median session
    # of an hour, one in six has left by then
    large_check_after_s: float = 1800.0
    large_check_pause_s: float = 0.2  # between such probes: 18,000 an hour, 30 KB/s of dials

    # --- staying in the routing table
    max_failures: int = 2  # consecutive failed requests before the next candidate replaces a peer
    # Failures closer together count as one: parallel jobs hit a dead peer at the same time
    failure_spacing_s: float = 1.0
    # A newcomer waits without a liveness check while all peers of its bucket were seen more recently
    check_after_s: float = 60.0
    # From an answered check until the next in that bucket. A check dials, and the dialed peer gets a
    # newcomer: without a pause, checks trigger checks endlessly, as the simulator shows
    check_interval_s: float = 300.0
    check_timeout_s: float = 3.0  # for the answer to a liveness check, including the dial
    max_visitors: int = 4096  # connected peers outside the table whose addresses are kept for FIND_NODE
    # Entries per address block in a bucket, as in go-libp2p-kad-dht: filling a bucket takes ten blocks
    max_group_in_bucket: int = 2
    # Entries per address block in the table: 5 % of what 10,000 nodes fill. go allows 3; large clouds host
    # more of our nodes
    max_group_in_table: int = 10
    # An entry that has not answered within this time is probed; idle connections are closed earlier, so the
    # probe dials
    prove_after_s: float = 150.0
    max_proofs: int = 3  # such probes at once
    # Unresponsive peers remembered: more than half of a table in a network of a million
    max_remembered: int = 256
    forget_after_s: float = 24 * 3600.0  # after which an unresponsive peer is forgotten
    probe_first_s: float = 10.0  # from a peer's silence to the first probe whether it is back
    # The next probe waits at least this share of the time the peer has been gone: a partition heals within
    # that share of its length, and a day of silence costs some sixty probes
    probe_share: float = 0.15
    probe_pause_s: float = 5.0  # between such probes; none while the table is empty
    max_probes: int = 3  # such probes at once; alpha while the table is empty
    return_pause_s: float = 300.0  # between refreshes caused by returning peers
    return_delay_s: float = 5.0  # such a refresh waits this long for other peers to return, too
    # A node with an empty table joins again after this; then twice as long each time, up to the refresh
    # interval
    alone_retry_s: float = 10.0
    max_seeds: int = 64  # bootstrap peers kept for that
    max_saved: int = 512  # peers kept from one run to the next: the table of a network of millions
    # Lifetime of such a peer, unseen: after this long, hardly any peer has the same address
    saved_ttl_s: float = 14 * 24 * 3600.0
    # Of these, joined through at once besides the bootstrap peers: with 9 of 10 gone, 97 % of the attempts
    # still find one
    saved_seeds: int = 32

    # --- limits on what other nodes may send or make us hold
    max_request_bytes: int = 64 * 1024  # a PUT_VALUE of the largest accepted value, with room to spare
    max_reply_bytes: int = 256 * 1024  # at worst, go answers 20 to 40 peers with up to 8 KiB each
    max_message_bytes: int = 16 * 1024  # messages we send: rust-libp2p accepts no more
    max_closer_peers: int = 40  # read from one reply (go's limit); any more are ignored
    max_provider_peers: int = 256  # read from one reply or request
    max_addrs_per_peer: int = 16  # per peer, including ourselves
    max_peer_bytes: int = 8 * 1024  # one peer entry as received (go's limit)
    max_entry_bytes: int = 700  # one peer entry as sent: k + 1 of them fit max_message_bytes
    max_key_bytes: int = 1024  # of a value or a lookup target: a fileHash may have 1 KiB
    max_provider_key_bytes: int = 80  # go's limit
    max_value_bytes: int = 10 * 1024  # leaves 5 KiB of a 16 KiB reply for closer peers
    max_records: int = 16_384  # values stored for others
    max_record_store_bytes: int = 64 * 1024 * 1024  # their keys and values together
    # Of one core, for verifying values that strangers want stored; short bursts may take more. Where it is
    # used up, address blocks and senders that caused most of it are refused
    max_work_share: float = 0.1
    max_provider_records: int = 65_536  # (key, provider) pairs stored for others, some 500 bytes each
    max_providers_per_key: int = 64  # beyond it the oldest announcement is dropped; rust holds 20
    # Cached answers; some 8 KiB for 20 offers, 13 if requested often: 300 contents
    max_ready_bytes: int = 4 * 1024 * 1024
    max_published: int = 100_000  # own values and provided keys that are republished

    # --- lifetimes and intervals (go-libp2p-kad-dht amino/defaults.go; specs kad-dht)
    record_ttl_s: float = 48 * 3600.0  # a value not put again; shorter if its record says so
    provider_ttl_s: float = 48 * 3600.0  # a provider not announced again
    provider_addr_ttl_s: float = 24 * 3600.0  # a provider's addresses; afterwards only its id is returned
    # Own values and provided keys: below the TTL by one lost attempt
    republish_interval_s: float = 22 * 3600.0
    republish_retry_s: float = 300.0  # after an announcement that no peer acknowledged
    refresh_interval_s: float = 600.0  # self-lookup, and lookups in buckets without one since
    # A target in bucket b costs 2^(b+1) hashes; up to 100,000 nodes, closer buckets lie within the k closest
    # of the self-lookup
    max_refresh_bucket: int = 12
    cache_ttl_s: float = 3600.0  # of a value cached at the closest peer that lacked it, for later lookups
    # Between removals of expired values and providers; expired ones are never served
    sweep_interval_s: float = 300.0

    @property
    def protocol(self) -> str:
        """The protocol id on the wire."""
        return f"{self.prefix}/kad/1.0.0"
