"""Connections that say nothing are left to the kernel: a server sees them with their first bytes.

In each of our protocols the side that connects speaks first. A connection that does not costs 256 bytes of
the kernel instead of a descriptor, a place among those that are allowed, and a handshake's timeout.
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress

# Until it is handed over all the same, and its timeouts begin: Linux counts retransmissions of SYN-ACK, and
# gives up by itself after 5 (tcp(7), tcp_synack_retries): 63 s.
DEFER_S = 60
# Connections that wait in the kernel, silent ones included; the system may allow fewer (net.core.somaxconn).
# With
# more of them, further ones are handed over at once (SYN cookies).
BACKLOG = 4096

_FIRST_BYTES = getattr(socket, "TCP_DEFER_ACCEPT", None)  # Linux
_DESCRIPTORS = "/proc/self/fd"


def defer_accept(listening: socket.socket) -> None:
    """Sets this up for a listening socket, where the system can."""
    if _FIRST_BYTES is not None:
        with suppress(OSError):  # some systems have the name and not the option
            listening.setsockopt(socket.IPPROTO_TCP, _FIRST_BYTES, DEFER_S)
            listening.listen(BACKLOG)


def defer_accept_at(port: int) -> None:
    """The same for a port of this process on which a library listens."""
    if _FIRST_BYTES is None or not os.path.isdir(_DESCRIPTORS):
        return
    for name in os.listdir(_DESCRIPTORS):
        try:
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            found = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue  # the directory itself, or one just closed
        with found, suppress(OSError):
            if _is_listening(found) and found.getsockname()[1] == port:
                defer_accept(found)


def _is_listening(found: socket.socket) -> bool:
    return found.family in (socket.AF_INET, socket.AF_INET6) and bool(
        found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    )
