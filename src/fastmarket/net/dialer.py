"""From a peer and its addresses to a connection that proved to be that peer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

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


class Dialer:
    """Tries a peer's addresses, each a little after the one before; the first that authenticates wins."""

    def __init__(self, config: HostConfig, make_link: Callable[[PeerId | None], Link]) -> None:
        self._config = config
        self._make_link = make_link
        self._places = asyncio.Semaphore(config.max_dials)

    async def dial(self, peer: PeerId | None, addrs: Sequence[Multiaddr]) -> Link:
        """A link whose handshake is done. Raises DialFailed with every reason."""
        if not addrs:
            raise DialFailed("no address known", peer=peer)
        async with self._places:
            return await self._race(peer, addrs[: self._config.max_dial_addrs])

    async def _race(self, peer: PeerId | None, addrs: Sequence[Multiaddr]) -> Link:
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

    async def _try(self, peer: PeerId | None, addr: Multiaddr) -> Link:
        endpoint = addr.host_port()
        if endpoint is None:
            raise DialFailed(f"{addr}: not a TCP address")
        link = self._make_link(peer)
        try:
            async with asyncio.timeout(self._config.dial_timeout_s):
                await asyncio.get_running_loop().create_connection(
                    lambda: link, endpoint.host, endpoint.port, family=FAMILIES[endpoint.kind]
                )
                await link.handshake
        except TimeoutError:
            raise DialFailed(f"{addr}: no answer within {self._config.dial_timeout_s:g} s") from None
        except (OSError, FastmarketError) as error:
            raise DialFailed(f"{addr}: {_plain(error)}") from error
        finally:
            if not link.is_open:
                link.abort()
        return link


def _discard(task: asyncio.Task[Link]) -> None:
    """A loser that got through before its cancellation arrived."""
    if not task.cancelled() and task.exception() is None:
        task.result().abort()


def _plain(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
