"""Selling and serving contents."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ContentConfig:
    """What is sold, and the content port that serves it."""

    port: int | None = None  # off by default: nothing is sold; 0 takes any free port
    host: str = "127.0.0.1"  # address to listen on: only this machine, unless the operator says otherwise
    # Where buyers reach it, behind a proxy or a forwarded port: http://HOST:PORT or https://HOST[:PORT], no
    # path. Empty: the address listened on
    url: str = ""
    cert: str = ""  # PEM: certificate and intermediate ones, for HTTPS with HTTP/2; renewed without a restart
    key: str = ""  # PEM: its private key; readable only by its owner
    rate_bytes: int = 0  # sent a second, to all buyers together; 0: no limit
    # Directories below which callers may sell. Empty: programs on this machine may sell any file that the
    # node can read, others none
    allow_paths: tuple[str, ...] = ()

    # --- the catalogue
    max_open_files: int = 64  # kept open to serve from, the most recently asked ones; a descriptor each
    # Contents sold at once, a file or a directory each: 10 million lines of ListGoods serve nobody
    max_goods: int = 1_000_000
    # Files and nodes below one directory that is one content; 2 million of them are 0.5 GB of index
    max_files_per_good: int = 2_000_000
    max_depth: int = 128  # of directories below one content; PATH_MAX ends near 2,000
    # Between checks of whether the files sold are still there; each request checks its own as well
    look_s: float = 30.0
    # Of one file, between two notes on disk of how far its import has come: what is hashed again after
    # SIGKILL, some 20 ms
    import_step_bytes: int = 64 * 1024 * 1024
    max_imports: int = 2  # at once, each with all threads; others wait their turn
    # Directories followed at once, a thread each; each directory below takes an inotify watch of the user's
    max_watches: int = 64
    # Without changes below a followed directory, before it is read; and until its thread ends at shutdown
    watch_quiet_s: float = 0.25
    # At most until it is read while changes go on; nearly all of it is known
    watch_latest_s: float = 10.0
    # Between reads of a followed directory without a notice: where the system has none to give, and for what
    # notices missed
    watch_again_s: float = 600.0

    # --- the port
    # Each a descriptor and some 10 kB. When there are that many, idle ones give way to others
    max_connections: int = 512
    max_connections_per_ip: int = 384  # per address: three quarters; a proxy in front counts as one address
    max_turned_away: int = 64  # additional ones, which may ask and are told 429; beyond them closed at once
    max_requests: int = 1024  # answers under way, of which an HTTP/2 connection may have many; beyond it 429
    max_header_bytes: int = 16 * 1024  # of a request: CIDs, paths and a browser's headers take 2
    request_timeout_s: float = 10.0  # from the connection, or a request's first byte, to its last byte
    keep_alive_s: float = 75.0  # an idle connection; load balancers keep theirs for 60 s (nginx, AWS)
    unread_timeout_s: float = 30.0  # an answer that is not being read (trustless gateway, "idle 30 s")
    min_rate_bytes: int = 2048  # sent a second, at least, over that time, to who is not held up by our rate
    answer_timeout_s: float = 3600.0  # for a whole answer, as boxo: a gateway's patience
    stop_grace_s: float = 1.0  # time for answers in progress at shutdown
