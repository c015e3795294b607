"""Notices that this machine's network has changed: another Wi-Fi, other addresses, a laptop that slept.

On Linux the kernel tells (rtnetlink(7)); everywhere, the interfaces are looked at now and then.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address

from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.net.host import Host
from fastmarket.net.interfaces import interface_addresses
from fastmarket.repeating import Repeating

logger = logging.getLogger(__name__)

LOOK_S = 5.0  # between looks at the interfaces, some 50 µs each
SETTLE_S = 0.5  # after the kernel's first word: a Wi-Fi that comes up says a dozen things
# A sleep after which connections are given up: home routers forget idle ones after some minutes, peers close
# ours after two
SLEPT_S = 60.0
_FAMILY = getattr(socket, "AF_NETLINK", None)
# RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE (linux/rtnetlink.h)
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_READ_BYTES = 64 * 1024
MAX_READS = 64  # in one turn of the loop; what is left is read in the next one
# Goes on while the machine sleeps; the monotonic clock does not.
_ASLEEP = getattr(time, "CLOCK_BOOTTIME", None)


class NetworkWatch:
    """From `start` to `stop`. After a change, our addresses are determined again (peers are told),
    connections that have lost theirs are ended, and `on_changed` is called."""

    def __init__(self, host: Host) -> None:
        self.on_changed: list[Callable[[], None]] = []
        self._host = host
        self._socket: socket.socket | None = None
        self._settling: asyncio.TimerHandle | None = None
        self._seen: list[str] = []
        self._slept_s = _slept_s()
        self._looking = Repeating("looking at the network", lambda: LOOK_S, self._look, host.faults)

    def start(self) -> None:
        """Returns at once."""
        self._seen = interface_addresses()
        self._socket = _told_by_kernel()
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._on_readable, self._socket)
        self._looking.start()

    async def stop(self) -> None:
        await self._looking.stop()
        if self._settling is not None:
            self._settling.cancel()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()

    def _on_readable(self, told: socket.socket) -> None:
        for _ in range(MAX_READS):
            try:
                told.recv(_READ_BYTES)
            except BlockingIOError:
                break
            except OSError:
                continue  # there was more than the kernel keeps: that something happened is all we want
        if self._settling is None:
            self._settling = asyncio.get_running_loop().call_later(SETTLE_S, self._on_settled)

    def _on_settled(self) -> None:
        self._settling = None
        self._host.faults.run("following a change of the network", self._follow)

    def _look(self) -> None:
        slept_s, before = _slept_s(), self._slept_s
        self._slept_s = slept_s
        if slept_s - before >= SLEPT_S:
            logger.info("this machine slept for %.0f s: connecting again", slept_s - before)
            self._end(lambda local: True)
            self._follow()
        elif interface_addresses() != self._seen:
            self._follow()

    def _follow(self) -> None:
        host = self._host
        self._seen = interface_addresses()
        known = frozenset(self._seen)
        before: tuple[Multiaddr, ...] = host.listen_addrs
        host.identifier.addresses.refresh(host.clock.now())
        if host.listen_addrs != before:
            shown = ", ".join(map(str, host.listen_addrs))
            logger.info("the network has changed; listening at %s", shown or "no address")
        self._end(lambda local: local not in known)
        for call in self.on_changed:
            host.faults.run("telling of a change of the network", call)

    def _end(self, is_lost: Callable[[str], bool]) -> None:
        for link in self._host.links.all():
            local = link.local_ip
            if local and not _is_always_there(local) and is_lost(local):
                link.abort()


def _is_always_there(local: str) -> bool:
    """All of 127.0.0.0/8, of which interfaces name one address, and link-local ones, which are not named."""
    ip = ip_address(local.partition("%")[0])
    return ip.is_loopback or ip.is_link_local


def _told_by_kernel() -> socket.socket | None:
    if _FAMILY is None:
        return None
    made = socket.socket(_FAMILY, socket.SOCK_RAW)
    try:
        made.setblocking(False)
        made.bind((0, _GROUPS))
    except OSError:  # not allowed in this container: there are looks
        made.close()
        return None
    return made


def _slept_s() -> float:
    """How long the machine has slept since it was booted, where that can be known."""
    if _ASLEEP is None:
        return 0.0
    with suppress(OSError):
        return time.clock_gettime(_ASLEEP) - time.clock_gettime(time.CLOCK_MONOTONIC)
    return 0.0
