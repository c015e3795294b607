"""HTTP."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WebConfig:
    """What is served over HTTP, when it is asked for."""

    host: str = "127.0.0.1"  # to listen on: this machine alone, unless the operator says otherwise
    port: int | None = None  # off; 0 takes any free one
    metrics_host: str = "127.0.0.1"  # /metrics, /healthz and /readyz, likewise
    metrics_port: int | None = None  # off; 0 takes any free one
    trace_endpoint: str = ""  # of an OTLP/HTTP collector, http://HOST:PORT; none: no spans
    lookup_budget_s: float = 8.0  # of one request: a lookup through silent peers ends within it
    max_records: int = 100  # in one JSON answer; Delegated Routing V1 recommends it
    max_streamed_records: int = 4096  # in one NDJSON answer: what one lookup gathers at most
    max_shown: int = 1000  # peers, and offers, in one answer to the status page
    max_filter_chars: int = 1024  # of a filter parameter: 16 protocol names of 63 characters
    # Lower-case; by which the page and /metrics may be asked for, beside addresses.
    names: tuple[str, ...] = ()
    max_requests: int = 256  # at once; a lookup each. Beyond: 503
    max_answer_bytes: int = 1000 * 1024  # of records in an answer: Kubo reads 1 MiB and drops the rest unsaid
    write_timeout_s: float = 10.0  # for the body of a PUT to come: 10 KiB at most
    found_max_age_s: int = 300  # caches may keep an answer with records; the specification's example
    empty_max_age_s: int = 15  # ... and one without
    found_stale_s: int = 600  # then they may show it so long while they ask again, or when nobody answers:
    # relays and homes change addresses within hours. As boxo 0.42.1 while it asks again
    empty_stale_s: int = 60  # ... one without: a new provider is not to stay unseen
    max_connections: int = 320  # to a port: those of requests, and some idle ones, which give way to others
    max_connections_per_ip: int = 240  # of one address: three quarters; a proxy in front is one
    reserved_connections: int = 32  # beyond, for /healthz and /readyz alone, when all others are in use
    request_timeout_s: float = 10.0  # from a connection, or a request's first byte, to its last one
    unread_timeout_s: float = 30.0  # an answer that nobody reads on
    max_body_bytes: int = 64 * 1024  # of a request; what is put here has 10 KiB
    keep_alive_s: int = 75  # an idle HTTP connection; load balancers keep theirs for 60 s (nginx, AWS)
    stop_grace_s: float = 1.0  # answers under way get this long when the node stops
