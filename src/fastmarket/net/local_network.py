"""Finds the nodes of the local network by multicast DNS, and lets them find this one (`libp2p.mdns`).

The packets are python-zeroconf's work. Answers as the specification has them are without SRV and address
records, which its `ServiceInfo` waits for (findings/zeroconf-txt-alone.sh): the TXT record is looked at as
soon as it is there.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine
from typing import TYPE_CHECKING

from fastmarket.errors import Busy, NetworkFault
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.scope import ip_of
from fastmarket.libp2p.mdns import NAME_BYTES, SERVICE, HeardPeers, is_local, peer_in, text_of
from fastmarket.repeating import Repeating

if TYPE_CHECKING:
    from zeroconf import ServiceInfo, ServiceStateChange, Zeroconf
    from zeroconf.asyncio import AsyncZeroconf

    from fastmarket.net.dht_node import DhtNode

log = logging.getLogger(__name__)

LOOK_S = 5.0  # between looks at whether the node is alone, and at what the library keeps
RESOLVE_TIMEOUT_MS = 3_000  # for the records of a name to arrive
MAX_RESOLVING = 32  # names at once, of all that strangers in the network make up
JOIN_DEADLINE_S = 10.0  # of a node that meets its first peer
# Names in the library's cache, which has no bound of its own: beyond, it is started afresh. Some 2 kB each.
MAX_CACHED = 4_096


class LocalNetwork:
    """Meets the peers of the local network. Runs from `start` to `stop`."""

    def __init__(self, dht: DhtNode) -> None:
        self._dht = dht
        self._heard = HeardPeers(dht.peer_id)
        self._name = os.urandom(NAME_BYTES).hex()
        self._told = b""
        self._zeroconf: AsyncZeroconf | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._resolving = 0
        self._stopping = False
        self._opening = asyncio.Lock()
        self._looking = Repeating("looking at the local network", lambda: LOOK_S, self._look, dht.host.faults)

    @property
    def heard_count(self) -> int:
        """Peers heard of."""
        return len(self._heard)

    async def start(self) -> None:
        """Returns at once; names are announced and asked for meanwhile."""
        self._dht.host.identifier.addresses.on_changed.append(self._addresses_changed)
        self._looking.start(at_once=True)

    async def stop(self) -> None:
        """Says goodbye to the network."""
        self._dht.host.identifier.addresses.on_changed.remove(self._addresses_changed)
        self._stopping = True
        await self._looking.stop()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._close()

    def _addresses_changed(self) -> None:
        if self._text() != self._told:
            self._begin(self._look())

    def _text(self) -> bytes:
        return text_of(self._dht.peer_id, self._dht.host.identifier.addresses.listening)

    async def _look(self) -> None:
        async with self._opening:
            text = self._text()
            kept = 0 if self._zeroconf is None else len(self._zeroconf.zeroconf.cache.cache)
            if kept > MAX_CACHED:
                log.warning("mDNS: %d names in the local network; forgetting them", kept)
            if text != self._told or kept > MAX_CACHED:
                await self._close()
                self._told = text  # an error is not repeated before the addresses change
                if text:
                    await self._open(text)
        if not self._dht.engine.table_size:
            self._heard.on_alone(self._dht.now())
        self._meet()

    async def _open(self, text: bytes) -> None:
        from zeroconf import ServiceInfo
        from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

        local = [addr for addr in self._dht.host.identifier.addresses.listening if is_local(addr)]
        places = [(str(ip), addr.host_port()) for addr in local if (ip := ip_of(addr)) is not None]
        ports = [place.port for _, place in places if place is not None]
        addresses = list(dict.fromkeys(ip for ip, _ in places))
        try:
            self._zeroconf = AsyncZeroconf(interfaces=addresses)
        except (OSError, RuntimeError) as error:
            log.warning("mDNS: cannot use %s: %s", ", ".join(addresses), error)
            return
        info = ServiceInfo(
            SERVICE,
            f"{self._name}.{SERVICE}",
            ports[0],
            properties=text,
            server=f"{self._name}.local.",
            parsed_addresses=addresses,
        )
        zeroconf = self._zeroconf.zeroconf
        AsyncServiceBrowser(zeroconf, SERVICE, handlers=[self._on_name])
        self._begin(self._announce(self._zeroconf, info))
        log.info("mDNS: looking for nodes in the local network at %s", ", ".join(addresses))

    async def _announce(self, zeroconf: AsyncZeroconf, info: ServiceInfo) -> None:
        # The name is random: nobody else has it, and nobody is asked whether.
        await (await zeroconf.async_register_service(info, cooperating_responders=True))

    async def _close(self) -> None:
        zeroconf, self._zeroconf = self._zeroconf, None
        if zeroconf is not None:
            from zeroconf import Error

            try:
                await zeroconf.async_unregister_all_services()
                await zeroconf.async_close()
            except (Error, OSError) as error:  # the node goes on, or stops, without it
                self._dht.host.faults.tell("leaving the local network", error)

    def _on_name(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        """Called by the library, by these names."""
        is_idle = state_change.name == "Removed" or name.startswith(self._name)
        if not is_idle and self._resolving < MAX_RESOLVING:
            self._resolving += 1
            self._begin(self._resolve(zeroconf, service_type, name))

    async def _resolve(self, zeroconf: Zeroconf, service_type: str, name: str) -> None:
        from zeroconf.asyncio import AsyncServiceInfo

        try:
            info = AsyncServiceInfo(service_type, name)
            info.load_from_cache(zeroconf)
            if not info.text:
                await info.async_request(zeroconf, RESOLVE_TIMEOUT_MS)
        finally:
            self._resolving -= 1
        peer = peer_in(info.text or b"")
        if peer is not None:
            self._heard.on_heard(peer)
            self._meet()

    def _meet(self) -> None:
        while not self._stopping and (peer := self._heard.next_to_meet(self._dht.now())) is not None:
            self._begin(self._met(peer))

    async def _met(self, peer: PeerInfo) -> None:
        dht = self._dht
        try:
            if dht.host.link_to(peer.peer_id) is not None:
                return
            if dht.engine.table_size:
                await dht.host.connect(peer, given=False)
            else:
                joined = await dht.bootstrap((), JOIN_DEADLINE_S, (peer,))
                log.info("met %s in the local network; nodes known: %d", joined.peer, joined.known)
        except (NetworkFault, Busy) as fault:
            log.debug("cannot meet %s in the local network: %s", peer.peer_id, fault)
        finally:
            self._heard.on_met()
            self._meet()

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._dht.host.faults.tell("the local network", error)
