"""Limits the connections to the gRPC port per IP address, and ends those that say nothing.

gRPC accepts connections itself and only limits their total. So they are scanned from time to time, and an
address with more than its share loses the latest. One that has sent nothing by the second scan is ended: the
kernel kept it for a minute (`deferred_accept`), and a thousand of these would leave others no place until
their handshakes time out. Linux only.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fastmarket.faults import Faults
from fastmarket.formats.address_block import address_block
from fastmarket.log_throttle import LogThrottle
from fastmarket.repeating import Repeating
from fastmarket.wording import suppressed_note

log = logging.getLogger(__name__)

LOOK_S = 1.0  # pause between scans; longer if scans are slow, so that they take ...
MAX_LOOKING = 0.02  # ... at most this fraction of the time; 1,000 descriptors take some milliseconds
DESCRIPTORS = "/proc/self/fd"  # Linux; other systems give sockets no inode to identify them by
# tcp(7), <linux/tcp.h>: where TCP_INFO has the bytes received, a u64; Linux 4.1 and later.
_BYTES_RECEIVED_AT, _BYTES_RECEIVED_END = 128, 136
_TOLD_INTERVAL_S = 60.0
_TOLD_ADDRESSES = 256


class Crowds:
    """Scans the connections to `port` from `start` to `stop`."""

    def __init__(self, port: int, most: int, most_in_all: int) -> None:
        """`most` connections per address are kept, and `most_in_all`: beyond them, addresses with most lose
        their latest, so that the port has room for others."""
        self._port = port
        self._most = most
        self._most_in_all = most_in_all
        self._seen: dict[int, tuple[str, int]] = {}  # by inode: the address, and the scan that first saw it
        self._looks = 0
        self._log_throttle = LogThrottle(_TOLD_INTERVAL_S, _TOLD_ADDRESSES)
        self._pause_s = LOOK_S
        self._looking = Repeating(
            "looking through the connections to the gRPC port", lambda: self._pause_s, self._look, Faults()
        )
        self.ended = 0

    def __len__(self) -> int:
        """Connections to the port, as of the last scan."""
        return sum(bool(host) for host, _ in self._seen.values())

    def start(self) -> None:
        """Starts scanning, if the system lists a process's descriptors."""
        if os.path.isdir(DESCRIPTORS):
            self._looking.start()

    async def stop(self) -> None:
        """Stops scanning; safe to call twice."""
        await self._looking.stop()

    async def _look(self) -> None:
        began = time.monotonic()
        await asyncio.to_thread(self.look, began)  # many system calls, kept off the event loop
        self._pause_s = max(LOOK_S, (time.monotonic() - began) / MAX_LOOKING)

    def look(self, now: float) -> None:
        """Scans once and closes excess connections."""
        self._looks += 1
        crowds: defaultdict[str, list[tuple[int, int, int]]] = defaultdict(list)  # look, inode, descriptor
        seen: dict[int, tuple[str, int]] = {}
        for descriptor, inode in _sockets():
            known = self._seen.get(inode)
            if known is None:
                with _opened(descriptor) as found:
                    known = ("" if found is None else _caller(found, self._port), self._looks)
            elif known[0] and known[1] == self._looks - 1 and self._ended_silent(descriptor, known[0]):
                known = ("", self._looks)
            seen[inode] = known
            if known[0]:
                crowds[known[0]].append((known[1], inode, descriptor))
        self._seen = seen
        most = min(self._most, _fair_most([len(crowd) for crowd in crowds.values()], self._most_in_all))
        for host, crowd in crowds.items():
            if len(crowd) > most:
                crowd.sort()
                self._end(host, crowd[most:], now)

    def _ended_silent(self, descriptor: int, host: str) -> bool:
        """Whether it had sent nothing, and was ended."""
        with _opened(descriptor) as found:
            is_silent = found is not None and _has_sent_nothing(found)
        return is_silent and self._shut(descriptor, host)

    def _shut(self, descriptor: int, host: str) -> bool:
        """The descriptor may have been reused by now: checks it again through a duplicate."""
        with _opened(descriptor) as found:
            if found is not None and _caller(found, self._port) == host:
                with suppress(OSError):
                    found.shutdown(socket.SHUT_RDWR)  # gRPC sees end-of-file, and closes it
                    self.ended += 1
                    return True
        return False

    def _end(self, host: str, crowd: list[tuple[int, int, int]], now: float) -> None:
        for _, inode, descriptor in crowd:
            self._shut(descriptor, host)
            self._seen[inode] = ("", self._looks)
        suppressed = self._log_throttle.due(host, now)
        if suppressed is not None:
            log.warning(
                "ended connections of %s to the gRPC port: more than %d%s",
                *(host, self._most, suppressed_note(suppressed)),
            )


def _fair_most(counts: list[int], most_in_all: int) -> int:
    """The most that an address may have so that all together have at most `most_in_all` (max-min
    fairness)."""
    left = most_in_all
    for place, count in enumerate(sorted(counts)):
        share = left // (len(counts) - place)
        if count > share:
            return max(share, 1)
        left -= count
    return most_in_all


def _sockets() -> Iterator[tuple[int, int]]:
    """The descriptor and inode of each socket of this process."""
    for name in os.listdir(DESCRIPTORS):
        try:
            status = os.fstat(int(name))
        except OSError:
            continue  # the directory itself, or one just closed
        if stat.S_ISSOCK(status.st_mode):
            yield int(name), status.st_ino


@contextmanager
def _opened(descriptor: int) -> Iterator[socket.socket | None]:
    """A duplicate of a socket, closed afterwards without closing the original; None if that is closed."""
    try:
        found = socket.socket(fileno=os.dup(descriptor))
    except OSError:
        yield None
        return
    with found:
        yield found


def _has_sent_nothing(found: socket.socket) -> bool:
    try:
        info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED_END)
    except OSError:
        return False
    received = info[_BYTES_RECEIVED_AT:_BYTES_RECEIVED_END]
    return len(received) == _BYTES_RECEIVED_END - _BYTES_RECEIVED_AT and not any(received)


def _caller(found: socket.socket, port: int) -> str:
    """The address of the peer of a connection to our port; "" for anything else."""
    try:
        if found.family in (socket.AF_INET, socket.AF_INET6) and found.getsockname()[1] == port:
            return address_block(found.getpeername()[0])
    except OSError:
        pass  # a listening socket, or a connection that has just ended
    return ""
