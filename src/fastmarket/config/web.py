"""HTTP."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The HTTP endpoints, if enabled."""

    host: str = "127.0.0.1"  # address to listen on: only this machine, unless the operator says otherwise
    port: int | None = None  # off by default; 0 takes any free port
    metrics_host: str = "127.0.0.1"  # address for /metrics, /healthz and /readyz, likewise
    metrics_port: int | None = None  # off by default; 0 takes any free port
    trace_endpoint: str = ""  # OTLP/HTTP collector, http://HOST:PORT; empty: no spans
    lookup_budget_s: float = 8.0  # per request: a lookup through silent peers ends within it
    max_records: int = 100  # per JSON answer; recommended by Delegated Routing V1
    max_streamed_records: int = 4096  # per NDJSON answer: as many as one lookup collects
    max_shown: int = 1000  # peers, and offers, per answer to the status page
    # Fetches for the page under way or about to be, plans included: 16 MiB of each wait for their reader
    max_gets: int = 8
    max_known_gets: int = 100  # shown with what became of them, the newest; each some 20 kB with its holders
    get_wait_s: float = 60.0  # for the browser to come for a file: it may ask a person where to save it
    plan_budget_s: float = 60.0  # for what a fetch would cost; a silent holder is given up after some 42 s
    get_piece_bytes: int = 64 * 1024  # sent at once: what the slowest browser must read in `unread_timeout_s`
    max_file_name_bytes: int = 255  # of a file to save: what file systems take (NAME_MAX)
    max_probed: int = 64  # holders of one search asked whether they are there, each once, within a second
    max_listed_paths: int = 500  # entries of a directory shown to choose from; more have to be typed
    max_scanned_paths: int = 20_000  # entries looked at for that, some 2 us each
    max_filter_chars: int = 1024  # of a filter parameter: 16 protocol names of 63 characters
    names: tuple[str, ...] = ()  # lower-case host names accepted for the page and /metrics, besides addresses
    max_requests: int = 256  # concurrent requests, with a lookup each; beyond it 503
    max_answer_bytes: int = 1000 * 1024  # of records per answer: Kubo reads 1 MiB and silently drops the rest
    write_timeout_s: float = 10.0  # for the body of a PUT to arrive: 10 KiB at most
    found_max_age_s: int = 300  # cache lifetime of an answer with records; the specification's example
    empty_max_age_s: int = 15  # cache lifetime of an answer without records
    # After that, how long caches may serve it while revalidating, or if the node does not answer: relays and
    # home connections change addresses within hours. As boxo 0.42.1 does while revalidating
    found_stale_s: int = 600
    empty_stale_s: int = 60  # the same for an answer without records: a new provider must not stay unseen
    max_connections: int = 320  # to a port: those with requests, and some idle ones, which give way to others
    max_connections_per_ip: int = 240  # per address: three quarters; a proxy in front counts as one address
    # Additional ones, for /healthz and /readyz only, while all others are in use
    reserved_connections: int = 32
    request_timeout_s: float = 10.0  # from the connection, or a request's first byte, to its last byte
    unread_timeout_s: float = 30.0  # an answer that is not being read
    max_body_bytes: int = 64 * 1024  # of a request; a PUT has at most 10 KiB
    keep_alive_s: int = 75  # an idle HTTP connection; load balancers keep theirs for 60 s (nginx, AWS)
    stop_grace_s: float = 1.0  # time for answers in progress at shutdown
