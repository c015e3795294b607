"""The gRPC services."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MarketConfig:
    """The gRPC services; both of them on one port."""

    host: str = "127.0.0.1"  # to listen on: programs of this machine alone
    port: int = 8080  # where the OrcaNet clients look for it; 0 takes any free one
    # CheckHolders answers within a second whatever hangs (the Go client gives up then), with what has come.
    find_budget_s: float = 0.8
    register_budget_s: float = 10.0  # for a caller without a deadline
    closest_budget_s: float = 5.0  # for a caller without a deadline
    reply_margin_s: float = 0.1  # kept of a caller's deadline for the way back
    max_request_bytes: int = 3 * 1024 * 1024  # of RegisterFiles
    max_searches_bytes: int = 1280 * 1024  # of FindHoldersBatch: 1,000 searches for contents of 1 KiB
    max_small_request_bytes: int = 16 * 1024  # of any other method: a record of 10 KiB, and its key
    max_waiting_bytes: int = (
        64 * 1024 * 1024
    )  # messages of streams that came before their turn, of all callers
    max_response_bytes: int = 3 * 1024 * 1024  # clients refuse more than 4 MiB unless told otherwise
    max_ready_bytes: int = 4 * 1024 * 1024  # encoded answers kept, with the requests: some 10,000 small ones
    # What is for all callers together: one gets no more of it than is left for others, so half of it when it
    # is the only one. A caller is a token, else an IP address; of this machine each connection is one.
    max_concurrent_rpcs: int = 1024  # calls at once; beyond it: RESOURCE_EXHAUSTED
    max_calls_per_caller: int = 512  # ... of one caller: half
    max_streaming_calls: int = 768  # of those that stream; the rest is left to short ones
    health_rpcs: int = 64  # calls of grpc.health.v1 beside all others: a busy node is still seen to live
    max_connections: int = 512  # to the port, each a descriptor; more are closed at once
    max_connections_per_ip: int = 384  # ... of one address: three quarters; those beyond end within a second
    handshake_timeout_s: float = 10.0  # TLS and the begin of HTTP/2; as for a libp2p connection
    idle_timeout_s: float = 300.0  # a connection without a call; clients connect again by themselves
    message_timeout_s: float = 10.0  # from a call to its message, of methods that take one: 16 KiB at most
    unread_timeout_s: float = 60.0  # a caller that streams and takes no answer for so long has left
    max_streams_per_connection: int = 256  # calls of one client at once
    keep_alive_s: float = 60.0  # a silent connection is asked whether its caller is still there
    keep_alive_timeout_s: float = 20.0  # ... and ended when there is no answer for so long
    min_ping_interval_s: float = 10.0  # clients that ask oftener are told to go away
    withdraw_budget_s: float = 10.0  # for a caller without a deadline; every storer is waited for
    bulk_budget_s: float = 60.0  # for the files or searches of one message, to a caller without a deadline
    max_files: int = 2000  # in one message of RegisterFiles: 2.6 MiB at worst, signed in a tenth of a second
    max_page: int = 1000  # of ListOffers
    batches_at_once: int = (
        4  # messages of one RegisterFiles call worked on: while one is signed others travel
    )
    # Messages of one FindHoldersBatch call worked on, and searches of one message of many.
    searches_at_once: int = 16  # some 160 requests under way
    max_messages_at_once: int = 64  # of all streams of all callers; the next are not parsed before their turn
    max_searches_at_once: int = 64  # of all streams of all callers: some 640 requests under way
    max_searches: int = 1000  # in one message of FindHoldersBatch: 10 ms, when all of it is known here
    searches_a_turn: int = (
        32  # of those, and files, taken in one turn of the event loop, of all callers: 1 ms
    )
    max_bulk_registrations: int = 8  # messages of RegisterFiles handed on, of all callers: half of these keep
    # as many slices of them (offers, max_registering) under way, and the next caller need not wait for more
    max_watches: int = 512  # WatchHolders calls open at once: 17 searches a second at their usual interval
    watch_interval_s: float = 30.0  # between searches, for a caller that names none
    min_watch_interval_s: float = 1.0  # a search takes up to 0.8 s
    max_watch_interval_s: float = 3600.0  # a twentieth of the life of an offer
