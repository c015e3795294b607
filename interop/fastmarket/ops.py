"""What each command does: the methods of `Ops` are the ops, their arguments those of the command."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from typing import Any

from streams import ECHO, RESET, echo, exchange, expect_reset

from fastmarket.formats.cid import Cid
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.lookup.query import Quorum
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.link import Link
from fastmarket.net.pinging import ping
from fastmarket.net.streams import Stream

SLOW_READER_S = 1.0
JOB_S = 20.0  # the command's own time limit is what counts
POLL_S = 0.01

Result = dict[str, Any]


class Ops:
    """The commands of one node."""

    def __init__(self, node: DhtNode) -> None:
        self._node = node

    # -- connections

    async def connect(self, addr: str) -> Result:
        peer = _info(addr)
        self._node.host.dials.forgive(peer.addrs)
        return {"peer_id": str(await self._node.dial(peer))}

    async def disconnect(self, peer: str) -> Result:
        link = self._link(peer)
        link.close(self._node.now())
        await link.ended
        return {}

    async def connections(self) -> Result:
        return {"peers": [str(peer) for peer in self._node.host.peers]}

    async def link(self, peer: str) -> Result:
        """Only of this peer: how the connection came about, for the checks of observed addresses."""
        link = self._link(peer)
        host, port = link._transport.get_extra_info("sockname")[:2]  # type: ignore[union-attr]
        return {
            "role": link.role.value,
            "early_muxer": link.connection.early_muxer,
            "remote_addr": str(link.connection.remote_addr),
            "local_addr": str(Multiaddr.from_endpoint(host, port)),
        }

    async def identify(self, peer: str) -> Result:
        link = self._link(peer)
        await asyncio.shield(link.identity_known.wait())
        seen = link.identified
        assert seen is not None
        return {
            "agent_version": seen.agent_version,
            "protocol_version": seen.protocol_version,
            "protocols": list(seen.protocols),
            "listen_addrs": [str(addr) for addr in seen.listen_addrs],
            "observed_addr": str(seen.observed_addr) if seen.observed_addr else None,
            "public_key": b64encode(seen.public_key.encode() if seen.public_key else b"").decode(),
            "signed_peer_record": seen.certified,
        }

    async def push(self, protocol: str) -> Result:
        host = self._node.host
        host.streams.serve(protocol, _close)
        for link in host.links.all():
            host.identifier.push(link, self._node.now())
        return {}

    async def ping(self, peer: str, count: int) -> Result:
        times = await ping(self._node.host, self._link(peer), count)
        return {"count": len(times), "max_ms": max(times) * 1000}

    async def mux_ping(self, peer: str, count: int) -> Result:
        """Only of this peer: pings of the muxer, such as keep a silent connection."""
        connection = self._link(peer).connection
        for _ in range(count):
            connection.ping(self._node.now())
            self._link(peer).wake()
            while connection.liveness.asked_at is not None:  # noqa: ASYNC110 - the host keeps no event of it
                await asyncio.sleep(POLL_S)
        return {"count": count}

    # -- streams

    async def echo(self, peer: str, size: int, streams: int = 1) -> Result:
        async def one() -> tuple[int, bool]:
            return await echo(await self._open(peer, ECHO), size)

        results = await asyncio.gather(*(one() for _ in range(streams)))
        return {"bytes": sum(count for count, _ in results), "sha256_ok": all(same for _, same in results)}

    async def echo_slow(self, peer: str, size: int) -> Result:
        count, same = await echo(await self._open(peer, ECHO), size, SLOW_READER_S)
        return {"bytes": count, "sha256_ok": same}

    async def reset(self, peer: str) -> Result:
        await expect_reset(await self._open(peer, RESET))
        return {}

    async def raw(self, peer: str, protocol: str, data: str, half_close: bool) -> Result:
        stream = await self._open(peer, protocol)
        try:
            return {"data": b64encode(await exchange(stream, b64decode(data), half_close)).decode()}
        finally:
            if not stream.is_over:
                stream.reset()

    # -- the DHT

    async def bootstrap(self, addrs: list[str]) -> Result:
        joined = await self._node.bootstrap([_info(addr) for addr in addrs], JOB_S)
        return {"remaining": joined.remaining, "known": joined.known}

    async def routing_table(self) -> Result:
        return {"peers": [str(view.peer.peer_id) for view in self._node.peers()]}

    async def find_node(self, key: str = "", peer: str = "") -> Result:
        target = PeerId.from_text(peer).raw if peer else b64decode(key)
        found = await self._node.closest_peers(target, JOB_S)
        return {"peers": [str(view.peer.peer_id) for view in found]}

    async def put_value(self, key: str, value: str, quorum: int = 0) -> Result:
        stored = await self._node.put_record(
            b64decode(key), b64decode(value), quorum or Quorum.ONE, deadline_s=JOB_S
        )
        return {"stored": stored.acknowledged}

    async def get_value(self, key: str) -> Result:
        value = await self._node.get_record(b64decode(key), deadline_s=JOB_S)
        return {"value": b64encode(value).decode()}

    async def provide(self, cid: str) -> Result:
        announced = await self._node.provide(Cid.from_text(cid).multihash, deadline_s=JOB_S)
        return {"announced": announced.asked}

    async def find_providers(self, cid: str, count: int = 0) -> Result:
        key = Cid.from_text(cid).multihash
        found = await self._node.find_providers(key, limit=count or None, deadline_s=JOB_S)
        return {
            "providers": [
                {"peer_id": str(peer.peer_id), "addrs": [str(addr) for addr in peer.addrs]} for peer in found
            ]
        }

    def _link(self, peer: str) -> Link:
        link = self._node.host.link_to(PeerId.from_text(peer))
        if link is None:
            raise RuntimeError(f"no connection to {peer}")
        return link

    async def _open(self, peer: str, protocol: str) -> Stream:
        return await self._node.host.streams.open(self._link(peer), [protocol])


def _info(addr: str) -> PeerInfo:
    full = Multiaddr.from_text(addr)
    if full.peer_id is None:
        raise RuntimeError(f"{addr} does not end in /p2p")
    return PeerInfo(full.peer_id, (full.without_peer(),))


async def _close(stream: Stream) -> None:
    stream.close_write()
