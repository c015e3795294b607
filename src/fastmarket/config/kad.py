"""Kademlia."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KadConfig:
    """Kademlia: one table, one store, one protocol id."""

    prefix: str = "/fastmarket"  # of the protocol id: another one is another network; /ipfs is the public one

    # --- the table and lookups (specs kad-dht: k 20, alpha 10)
    k: int = 20  # peers in a bucket, peers in a reply, peers a lookup finds and a value is stored at
    alpha: int = 10  # requests of one lookup in flight that are not late
    beta: int = 20  # closest peers that must have answered before a lookup ends; below k it ends sooner, and
    # may miss some of the k closest (go: 3, and then asks the rest of the k)
    alive_s: float = 15.0  # a connected peer that answered something so recently may stand among the closest
    # without being asked again (kad.alive): one that hangs is believed in so long at most
    min_queried: int = 4  # so many of the closest are asked all the same (go waits for 3): should somebody be
    # closer of whom we have not heard, they name him
    disjoint_paths: int = 1  # paths of one lookup that share no peer; 8 as in S/Kademlia cost some twice the
    # requests, and are for networks where many lie
    patience_s: float = 0.5  # a peer slower than this gives its slot to another; its answer still counts.
    # Less where it, or peers like it, were quicker (kad.paces)
    min_patience_s: float = 0.03  # never less: a busy loop or a collection of garbage takes as long
    settle_s: float = 1.0  # late peers hold a lookup's end up to this long: a dial over four round trips
    settle_factor: float = 3.0  # ... but no longer than this many times their patience, or the slowest answer
    # that the same lookup saw, if that is more
    max_paces: int = 4096  # peers whose pace, or silence, is remembered; 1 MiB
    silent_s: float = 60.0  # nobody waits for a peer that was late, until it is heard of or this has passed
    request_timeout_s: float = 5.0  # nothing comes after this; rust allows 10 s, which users complain of
    job_timeout_s: float = 30.0  # a whole lookup, unless its caller says otherwise
    max_asked: int = 200  # peers one lookup asks: 3-4 times what one takes at 100,000 nodes, so that
    # peers who keep inventing closer ones cannot keep it alive
    shortlist_size: int = 128  # candidates a lookup keeps, closest first; leaves room for dead ones among k
    max_jobs: int = 4096  # running at once; past that Busy
    max_background_jobs: int = 4  # own republishing and refreshing at once: callers come first

    # --- storing, and how large the network is
    optimistic_store: bool = True  # store at peers within the distance where the k closest are expected,
    # before the lookup has ended
    optimistic_reach: float = 1.5  # times that distance: the estimate is off by a fifth as often as not, and
    # what is not among the k closest known is left out anyway
    size_samples: int = 32  # lookups whose k-th distance is remembered for that; the middle one counts

    # --- the large table: every peer that lives, for lookups of one hop; takes memory and some traffic
    large_table: bool = False  # kept beside the routing table
    max_large_table: int = 131_072  # peers in it; some 1 KiB each
    max_group_in_large: int = 1024  # of one address block, so that no block becomes most of it
    max_large_named: int = 16_384  # peers that others named and that are to be asked; some 1 KiB each
    large_check_after_s: float = 1800.0  # one not heard of for so long is asked, lest a lookup has to: of
    # peers that stay an hour (median) one in six is gone by then
    large_check_pause_s: float = (
        0.2  # from one such question to the next: 18,000 in an hour, 30 KB/s of dials
    )

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

    max_group_in_bucket: int = 2  # entries of one address block (formats.scope.ip_group) in a bucket, as in
    # go-libp2p-kad-dht: it takes ten blocks to fill one
    max_group_in_table: int = (
        10  # entries of one block in the table: 5 % of what 10,000 nodes fill. go has 3;
    )
    # the large clouds hold more of us
    prove_after_s: float = 150.0  # an entry that has not answered by then is asked; idle connections are
    # closed before, so this dials it
    max_proofs: int = 3  # such questions at once
    max_remembered: int = 256  # peers that fell silent: more than half of a table in a network of a million
    forget_after_s: float = 24 * 3600.0  # such a peer, after it fell silent
    probe_first_s: float = 10.0  # from its silence to the first question whether it is back
    probe_share: float = 0.15  # between two such questions at least this share of the time it has been gone:
    # a break heals within that share of its length, and a day of silence costs some sixty questions
    probe_pause_s: float = 5.0  # from one such question to the next; none while the table is empty
    max_probes: int = 3  # such questions at once; alpha while the table is empty
    return_pause_s: float = 300.0  # between refreshes because a silent peer is back
    return_delay_s: float = 5.0  # such a refresh waits so long for others to be back, too
    alone_retry_s: float = 10.0  # a node that knows nobody joins anew; then twice as long, up to a refresh
    max_seeds: int = 64  # bootstrap peers kept for that

    max_saved: int = 512  # peers kept from one run to the next: the table of a network of millions
    saved_ttl_s: float = 14 * 24 * 3600.0  # such a peer, unseen: hardly anybody is where he was that long ago
    saved_seeds: int = 32  # of them joined by at once, beside the bootstrap peers: with 9 of 10 gone, 97 % of
    # the attempts still meet somebody

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
    max_ready_bytes: int = (
        4 * 1024 * 1024  # answers kept ready; for 20 offers some 8 KiB, 13 if asked for often: 300 contents
    )
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
    cache_ttl_s: float = 3600.0  # of a value left with the closest peer that lacked it, for who asks next
    sweep_interval_s: float = 300.0  # expired values and providers are dropped; never served in between

    @property
    def protocol(self) -> str:
        """The protocol id on the wire."""
        return f"{self.prefix}/kad/1.0.0"
