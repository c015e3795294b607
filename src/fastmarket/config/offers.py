"""Offers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OfferConfig:
    """Offers: what is stored for others, how own ones are kept alive, how they are looked for."""

    protocol: str = "/fastmarket/offer/1.0.0"  # on the wire; who does not list it is asked over kad

    # The wire. One message carries 256 offers of different batches, some 650 bytes each with their paths, and
    # fits the window a Yamux stream begins with; a whole batch takes a quarter. kad's 16 KiB is a bound
    # of rust-libp2p's for its own protocol.
    max_message_bytes: int = 192 * 1024
    max_offers_per_store: int = 256  # a whole batch; without the signatures some 1 ms of work
    max_signatures_per_store: int = 64  # batches and single offers: 4 ms of work for one request
    verified_cache: int = 8192  # offers whose signature need not be verified again; 8 MiB, 40 at worst
    verified_batches: int = 4096  # roots likewise: 1,000,000 offers of full batches; 2 MiB, 16 at worst

    # The store. When it is full, or a content is, whoever takes most gives way to whoever takes less.
    max_offers_per_content: int = 1024
    max_offers_per_provider: int = 200_000  # one holder may register 100,000 files, each with a new price
    max_offers: int = 400_000  # in all
    max_stored_bytes: int = 256 * 1024 * 1024  # envelopes; each costs about as much again in memory
    # Of what the store may hold in memory, these parts may come from one address block (IPv4 /16, IPv6 /32;
    # not this machine's and private ones) and from one sender, whatever room there is: the others' offers
    # need not wait for places to be given up. One sender may well be a holder of 100,000, or a storer that
    # hands over.
    max_block_share: float = 0.75  # of one block
    max_sender_share: float = 0.5  # of one sender
    expiry_step_s: float = 60.0  # offers are dropped in such steps; never returned once expired

    # Own offers. Renewed at every announcement, so that 26 h remain when a renewal is due.
    lifetime_s: float = 48 * 3600.0
    announce_interval_s: float = 22 * 3600.0  # go-libp2p-kad-dht: ProvideValidity 48 h, reprovide 22 h
    restore_delay_s: float = 5.0  # own offers of an earlier life wait so long: others have to be met first
    restore_spread_s: float = 3600.0  # own offers of an earlier life are announced again within this time
    retry_first_s: float = 30.0  # after an announcement that failed its quorum or met nobody
    retry_longest_s: float = 3600.0  # the back-off doubles up to this
    settle_s: float = 2.0  # from a new neighbour to the announcement of what too few hold: more may follow
    max_announcing: int = 16  # announcements of the schedule at once; a registration does not wait for them
    max_own_offers: int = 250_000  # of this node

    # Many own offers: swept along the key space, one lookup a region, many offers a message.
    sweep_from: int = 64  # offers due at once; below, one announcement each costs little
    spread_from: int = 1024  # own offers; from here on their announcements are spread over the interval
    max_sweep_offers: int = 4096  # in one sweep: 4 MiB of messages
    max_sweeps: int = 4  # of the schedule at once
    sweep_lookups: int = 16  # of one sweep at once: with alpha 10 some 160 requests
    sweep_timeout_s: float = 600.0  # a sweep of 4096 offers that lie far apart: 256 rounds of lookups
    register_slice: int = 1024  # offers of a large registration signed and stored together: 4 batches
    max_registering: int = 4  # such slices under way at once, of all callers; more wait
    # A registration among those that came together, or of many at once, is tried again for so long while its
    # quorum is missing: what the caller of one waits at most.
    retry_s: float = 10.0
    max_gathering: int = 16  # single registrations under way at once; what comes meanwhile goes together
    gather_s: float = 0.02  # ... and so long it is waited for, where many came at once before

    # Handing over what we hold to peers that came near since it was announced.
    handover_delay_s: float = 10.0  # from its coming: it has to meet others, too, and may be gone again
    handover_pause_s: float = 0.5  # between two messages of offers: 512 offers a second at most
    handover_givers: int = 4  # of the closest to a key each gives its offers: some may hang, or not hold them
    handover_slice: int = 1024  # contents looked at in one go: some 5 ms
    max_newcomers: int = 256  # that wait for it; a network of 100,000 in which all come anew brings fewer
    max_handed_over: int = 16_384  # offers for one newcomer from us: 10 MiB

    max_ready_bytes: int = (
        16 * 1024 * 1024  # answers to FIND kept ready; for 20 offers some 6 KiB, 16 if asked for often: 1,000
    )

    # Lookups.
    find_limit: int = 200  # offers asked for in one request; about what a message holds
    max_pages: int = 8  # requests to one peer for more of them
    page_timeout_s: float = 2.0  # for such a further request; the peer has just answered one
    max_found: int = 4096  # offers one lookup gathers: 1.5 MiB
    # What a search found is told again so long from its beginning: so late a change acknowledged elsewhere is
    # seen. 0: at once, for each question is a search.
    fresh_s: float = 0.0
    max_fresh_offers: int = 65_536  # ... of all contents; 1 KiB each
    max_known: int = 8192  # contents whose live offers are kept in order, to be told again; 2 MiB
    direct_timeout_s: float = 0.6  # for a provider that came without an offer; below CheckHolders' second
    max_direct_asks: int = 20  # such providers asked in one lookup; a storer hands out 20 of them
