"""From a peer and its addresses to a connection that proved to be that peer."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from enum import Enum

from fastmarket.config import HostConfig
from fastmarket.errors import DialFailed, FastmarketError
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.net.link import Link

# What a name is resolved to, by the kind of the address (multiaddr: dns4 and dns6 ask for one family).
FAMILIES = {
    "ip4": socket.AF_INET,
    "ip6": socket.AF_INET6,
    "dns4": socket.AF_INET,
    "dns6": socket.AF_INET6,
    "dns": socket.AF_UNSPEC,
}


class DialEnd(Enum):
    """What became of one address."""

    CONNECTED = "connected"  # it led to the peer
    DEAD = "dead"  # nobody answered there, or not in time
    WRONG = "wrong"  # somebody answered, but not as that peer


class Dialer:
    """Tries a peer's addresses, each a little after the one before; the first that authenticates wins.

    `tried(peer, addr, end)` is told how each address turned out.
    """

    def __init__(
        self,
        config: HostConfig,
        make_link: Callable[[PeerId], Link],
        tried: Callable[[PeerId, Multiaddr, DialEnd], None],
    ) -> None:
        self._config = config
        self._make_link = make_link
        self._tried = tried
        self._places = asyncio.Semaphore(config.max_dials)

    async def dial(self, peer: PeerId, addrs: Sequence[Multiaddr]) -> Link:
        """A link whose handshake is done. Raises DialFailed with every reason."""
        if not addrs:
            raise DialFailed("no address known", peer=peer)
        async with self._places:
            return await self._race(peer, addrs[: self._config.max_dial_addrs])

    async def _race(self, peer: PeerId, addrs: Sequence[Multiaddr]) -> Link:
        waiting = list(addrs)
        running: set[asyncio.Task[Link]] = set()
        reasons: list[str] = []
        try:
            while waiting or running:
                if waiting:
                    running.add(asyncio.ensure_future(self._try(peer, waiting.pop(0))))
                stagger = self._config.dial_stagger_s if waiting else None
                done, running = await asyncio.wait(
                    running, timeout=stagger, return_when=asyncio.FIRST_COMPLETED
                )
                winners = [task.result() for task in done if task.exception() is None]
                reasons += [str(task.exception()) for task in done if task.exception() is not None]
                if winners:
                    for link in winners[1:]:
                        link.abort()
                    return winners[0]
        finally:
            for task in running:
                task.cancel()
                task.add_done_callback(_discard)
        raise DialFailed("; ".join(reasons), peer=peer)

    async def _try(self, peer: PeerId, addr: Multiaddr) -> Link:
        endpoint = addr.host_port()
        if endpoint is None:
            raise DialFailed(f"{addr}: not a TCP address")
        link = self._make_link(peer)
        end: DialEnd | None = DialEnd.DEAD
        try:
            async with asyncio.timeout(self._config.dial_timeout_s):
                await asyncio.get_running_loop().create_connection(
                    lambda: link, endpoint.host, endpoint.port, family=FAMILIES[endpoint.kind]
                )
                await link.handshake
            end = DialEnd.CONNECTED
        except TimeoutError:
            raise DialFailed(f"{addr}: no answer within {self._config.dial_timeout_s:g} s") from None
        except OSError as error:
            raise DialFailed(f"{addr}: {_plain(error)}") from None
        except FastmarketError as error:
            end = DialEnd.WRONG
            raise DialFailed(f"{addr}: {error}") from error
        except asyncio.CancelledError:
            end = None  # another address was faster, or nobody wants the peer any more
            raise
        finally:
            if end is not DialEnd.CONNECTED:
                link.abort()
            if end is not None:
                self._tried(peer, addr, end)
        return link


def _discard(task: asyncio.Task[Link]) -> None:
    """A loser that got through before its cancellation arrived."""
    if not task.cancelled() and task.exception() is None:
        task.result().abort()


def _plain(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error) or type(error).__name__
