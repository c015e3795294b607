"""Offers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OfferConfig:
    """Offers: storing for other nodes, keeping own offers alive, and finding offers."""

    # Id on the wire; peers that do not list it are queried over kad
    protocol: str = "/fastmarket/offer/1.0.0"

    # --- the wire
    # One message: 256 offers of different batches, some 650 bytes each with their Merkle paths; fits the
    # initial window of a Yamux stream. A whole batch takes a quarter. kad's 16 KiB is rust-libp2p's limit for
    # its own protocol
    max_message_bytes: int = 192 * 1024
    max_offers_per_store: int = 256  # a whole batch; some 1 ms of work besides the signatures
    max_signatures_per_store: int = 64  # batches and single offers: 4 ms of work per request
    verified_cache: int = 8192  # offers whose signature need not be verified again; 8 MiB, 40 at worst
    # Merkle roots likewise: 1,000,000 offers in full batches; 2 MiB, 16 at worst
    verified_batches: int = 4096

    # --- the store
    max_offers_per_content: int = 1024  # per content
    max_offers_per_provider: int = 200_000  # one holder may register 100,000 files, each with a new price
    # In total. When the store, or a content, is full, providers with many offers there give way to those with
    # fewer
    max_offers: int = 400_000
    max_stored_bytes: int = 256 * 1024 * 1024  # envelopes; each costs about as much again in memory
    # Share of the store that offers from one address block may take (IPv4 /16, IPv6 /32; not loopback or
    # private ones), even while there is room: other nodes' offers then need not wait for evictions
    max_block_share: float = 0.75
    # Likewise for one sender, which may well be a holder of 100,000 files, or a storer that hands over its
    # offers
    max_sender_share: float = 0.5
    # Of one core, for the signatures and places of what strangers want stored; short bursts may take more.
    # Where it is used up, address blocks and senders that caused most of it are refused, whatever room there
    # is
    max_work_share: float = 0.5
    # Expired offers are dropped at this interval; they are never returned after expiry
    expiry_step_s: float = 60.0

    # --- own offers. Renewed at every announcement, with 26 h left when the renewal is due
    lifetime_s: float = 48 * 3600.0  # from signing to expiry
    announce_interval_s: float = 22 * 3600.0  # go-libp2p-kad-dht: ProvideValidity 48 h, reprovide 22 h
    # After a restart, own offers wait this long before they are announced: peers have to be found first
    restore_delay_s: float = 5.0
    restore_spread_s: float = 3600.0  # after a restart, own offers are announced again within this time
    retry_first_s: float = 30.0  # after an announcement that missed its quorum or reached no peer
    retry_longest_s: float = 3600.0  # upper limit of that backoff, which doubles
    # From a new neighbour to the announcement of offers with too few holders: more neighbours may follow
    settle_s: float = 2.0
    max_announcing: int = 16  # concurrent scheduled announcements; registrations do not wait for them
    max_own_offers: int = 250_000  # of this node

    # --- many own offers: swept along the key space, with one lookup per region and many offers per message
    sweep_from: int = 64  # offers due at once; fewer are cheaper to announce one by one
    spread_from: int = 1024  # own offers from which announcements are spread over the interval
    max_sweep_offers: int = 512  # per sweep: 0.5 MiB of messages, 15 ms in which nobody else has a turn
    max_sweeps: int = 4  # concurrent scheduled sweeps
    sweep_lookups: int = 16  # concurrent lookups per sweep: with alpha 10 some 160 requests
    sweep_timeout_s: float = 600.0  # a sweep of 512 offers that lie far apart: 32 rounds of lookups
    # Offers of a large registration signed and stored together: 7 ms in which nobody else has a turn; fewer,
    # down to a quarter, while others wait for theirs
    register_slice: int = 256
    max_registering: int = 8  # such slices in progress at once, of all callers; more wait
    # How long a batched registration is retried while its quorum is missing: as long as the caller of a
    # single one waits
    retry_s: float = 10.0
    # Single registrations in progress at once; those that arrive meanwhile are batched
    max_gathering: int = 16
    gather_s: float = 0.02  # how long a batch waits for more registrations, if many arrived together before

    # --- handing over stored offers to peers that have become closest since the announcement
    # After a peer has joined: it has to find other peers, too, and may leave again
    handover_delay_s: float = 10.0
    handover_pause_s: float = 0.5  # between two messages of offers: at most 512 offers a second
    # Of the closest to a key, this many each hand over its offers: some may hang, or not have them
    handover_givers: int = 4
    handover_slice: int = 1024  # contents examined at a time: some 5 ms
    # Peers that wait for a handover; a network of 100,000 in which all rejoin brings fewer
    max_newcomers: int = 256
    max_handed_over: int = 16_384  # offers handed to one newcomer: 10 MiB
    # Cached answers to FIND; some 6 KiB for 20 offers, 16 if requested often: 1,000 contents
    max_ready_bytes: int = 16 * 1024 * 1024

    # --- lookups
    find_limit: int = 200  # offers per request; about as many as a message holds
    max_pages: int = 8  # further requests to one peer for more offers
    page_timeout_s: float = 2.0  # per such further request; the peer has just answered one
    max_found: int = 4096  # offers one lookup collects, besides the first ten of each answer: 2 MiB
    # Search results this old, counted from the start of the search, are served from cache: changes
    # acknowledged elsewhere appear that much later. 0: every request is a search
    fresh_s: float = 0.0
    max_fresh_offers: int = 65_536  # offers in these results, of all contents; 1 KiB each
    max_known: int = 8192  # contents whose sorted live offers are cached; 2 MiB
    # For a query to a provider found without an offer; below CheckHolders' second
    direct_timeout_s: float = 0.6
    max_direct_asks: int = 20  # such providers queried per lookup; a storer returns 20 of them
