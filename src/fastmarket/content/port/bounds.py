"""What strangers may send to the content port, beside what an operator can set (`config/content.py`)."""

from __future__ import annotations

RECV_BYTES = 16 * 1024
"""Read from a socket at once: a browser's request ten times over."""

CONNECTION_BYTES = 10 * 1024
"""A connection without what it is sent: its objects, and a request's head in part."""

MAX_TARGET_BYTES = 4096
"""Of a request's path with its query: a CID, and names of a path; longer ones get 414."""

MAX_HEADERS = 64
"""Header lines of a request; browsers and proxies send twenty. More get 431."""

MAX_PIPELINED = 32
"""Requests of an HTTP/1.1 connection that wait behind the one being answered; nothing more is read then, and
what came in the same read beyond them is not answered."""

MAX_STREAMS = 100
"""Requests under way on an HTTP/2 connection (RFC 9113: not below 100)."""

MAX_RESETS = 1000
"""Requests that an HTTP/2 connection may take back before their end; then it is closed (CVE-2023-44487)."""

MAX_CONTROL_BYTES = 64 * 1024
"""Unsent HTTP/2 frames that are no answers, of a connection that asks for them and does not read them."""

TURN_BYTES = 512 * 1024
"""Sent for one connection before others have their turn: two blocks of 256 KiB, some 0.1 ms."""

MAX_UNSENT_BYTES = 512 * 1024
"""Of a connection, held by the kernel and not under way: what is under way is as much as the line takes, and
without this bound 4 MiB more would wait behind it for a reader that is slow."""

GATHER_BYTES = 64 * 1024
"""Bytes collected for one call of the system, where an answer comes in small pieces."""

LINGER_S = 2.0
"""For the last answer of a connection to be read before it is torn down."""

LINGER_BYTES = 64 * 1024
"""Read and dropped meanwhile."""

RETRY_AFTER_S = 5
"""Told to who is turned away: Kubo waits that long, of at most a minute, before it asks again."""

ACCEPT_AT_ONCE = 64
"""Connections taken in one turn of the loop."""

ACCEPT_PAUSE_S = 1.0
"""After the system would give no more descriptors."""

BACKLOG = 512
"""Connections that wait in the kernel to be taken."""

SWEEP_S = 1.0
"""Between looks at what is overdue; timeouts are as exact as that."""
