"""The gRPC services."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MarketConfig:
    """The gRPC services, both on one port."""

    host: str = "127.0.0.1"  # address to listen on; by default only programs on this machine can connect
    port: int = 8080  # where the OrcaNet clients expect it; 0 takes any free port
    # CheckHolders answers within a second even if peers hang (the Go client gives up then), with the holders
    # found so far
    find_budget_s: float = 0.8
    register_budget_s: float = 10.0  # for a caller without a deadline
    closest_budget_s: float = 5.0  # for a caller without a deadline
    reply_margin_s: float = 0.1  # reserved of a caller's deadline for the way back
    max_request_bytes: int = 3 * 1024 * 1024  # of RegisterFiles
    max_searches_bytes: int = 1280 * 1024  # of FindHoldersBatch: 1,000 searches for contents of 1 KiB
    max_small_request_bytes: int = 16 * 1024  # of any other method: a record of 10 KiB, and its key
    max_waiting_bytes: int = 64 * 1024 * 1024  # messages of streams that wait for their turn, of all callers
    max_answer_bytes: int = 64 * 1024 * 1024  # encoded answers of streams that wait for their reader
    max_response_bytes: int = 3 * 1024 * 1024  # clients refuse more than 4 MiB unless told otherwise
    # Cached encoded answers, including the requests: some 10,000 small ones
    max_ready_bytes: int = 4 * 1024 * 1024

    # --- shared by all callers
    # Concurrent calls; beyond it RESOURCE_EXHAUSTED. Of this and the limits below, a caller gets at most as
    # much as is left for others, so half if it is the only one. A caller is a token, or else an IP address;
    # on this machine, each connection is one
    max_concurrent_rpcs: int = 2048
    max_calls_per_caller: int = 1024  # per caller: half of these
    max_streaming_calls: int = 1792  # of which streaming: most only wait, 15 kB each
    health_rpcs: int = 64  # additional calls of grpc.health.v1: a busy node still answers health checks
    max_connections: int = 512  # to the port, each a descriptor; beyond it the addresses with most lose some
    max_connections_per_ip: int = 384  # per address: three quarters; further ones are closed within a second
    # Additional ones until that is done: so an address with few finds a place. Beyond them closed at once
    spare_connections: int = 64
    handshake_timeout_s: float = 10.0  # TLS and the start of HTTP/2; as for a libp2p connection
    idle_timeout_s: float = 300.0  # a connection without calls is closed; clients reconnect by themselves
    # From the start of a call to its message, for methods that take one: 16 KiB at most
    message_timeout_s: float = 10.0
    unread_timeout_s: float = 60.0  # a streaming call whose answers are not read for this long is aborted
    # Concurrent calls per connection; RFC 9113 recommends no fewer than 100. More wait at the client, where
    # they cost us nothing and nobody waits behind them
    max_streams_per_connection: int = 100
    # A refusal for too many calls waits so long, and its call counts toward the connection's: a caller that
    # tries again at once, with hundreds of calls, would otherwise fill the queue in which others' calls wait
    refusal_delay_s: float = 0.25
    max_delayed_refusals: int = 1024  # of all callers, some 15 kB each; beyond it told at once
    keep_alive_s: float = 60.0  # an idle connection is pinged after this
    keep_alive_timeout_s: float = 20.0  # and closed if the ping is not answered within this
    min_ping_interval_s: float = 10.0  # clients that ping more often are sent GOAWAY
    withdraw_budget_s: float = 10.0  # for a caller without a deadline; every storer is waited for
    bulk_budget_s: float = 60.0  # for the files or searches of one message, for a caller without a deadline
    max_files: int = 2000  # in one message of RegisterFiles: 2.6 MiB at worst, signed in a tenth of a second
    max_page: int = 1000  # of ListOffers
    # Concurrent messages of one RegisterFiles call: while one is signed, others are in flight
    batches_at_once: int = 4
    # Concurrent messages of one FindHoldersBatch call, and concurrent searches of one message: some 160
    # requests in flight
    searches_at_once: int = 16
    # Over all streams of all callers; further messages are not parsed before their turn
    max_messages_at_once: int = 64
    max_searches_at_once: int = 64  # over all streams of all callers: some 640 requests in flight
    max_searches: int = 1000  # in one message of FindHoldersBatch: 10 ms if all results are known here
    searches_a_turn: int = 32  # searches and files processed per turn of the event loop, of all callers: 1 ms
    # In one piece; a busy loop has one piece in each turn
    searches_a_piece: int = 8
    # Concurrent messages of RegisterFiles, of all callers: one of 1,000 files keeps max_registering slices of
    # offers busy, and the next callers need not wait for it
    max_bulk_registrations: int = 8
    # Concurrent Fetch calls; each holds up to 16 MiB of blocks under way, with an output 64 MiB
    max_fetches: int = 32
    max_watches: int = 512  # concurrent WatchHolders calls: 17 searches a second at the default interval
    watch_interval_s: float = 30.0  # between searches, for a caller that gives no interval
    min_watch_interval_s: float = 1.0  # a search takes up to 0.8 s
    max_watch_interval_s: float = 3600.0  # about 1/48 of an offer's lifetime
