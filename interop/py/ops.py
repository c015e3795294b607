"""What each command does: the methods of `Ops` are the ops, their arguments those of the command."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

import trio
from libp2p.abc import INetStream
from libp2p.bitswap.cid import parse_cid
from libp2p.custom_types import TProtocol
from libp2p.host.ping import PingService
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.identity.identify_push.identify_push import push_identify_to_peers
from libp2p.network.swarm import Swarm
from libp2p.peer.envelope import consume_envelope
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.utils.varint import read_length_prefixed_protobuf
from multiaddr import Multiaddr
from node import ECHO, RESET, Node
from streams import echo, exchange, expect_reset

SLOW_READER_S = 1.0
IDENTIFY_S = 5.0
POLL_S = 0.02
RECORD_DOMAIN = "libp2p-peer-record"

Result = dict[str, Any]


class Ops:
    def __init__(self, node: Node) -> None:
        self._host = node.host
        self._dht = node.dht

    async def connect(self, addr: str) -> Result:
        return {"peer_id": str(await self._connect(addr))}

    async def disconnect(self, peer: str) -> Result:
        await self._host.disconnect(ID.from_string(peer))
        return {}

    async def connections(self) -> Result:
        return {"peers": [str(peer) for peer in self._host.get_connected_peers()]}

    async def identify(self, peer: str) -> Result:
        stream = await self._open(peer, IDENTIFY)
        seen = Identify.FromString(await read_length_prefixed_protobuf(stream))
        await stream.close()
        return {
            "agent_version": seen.agent_version,
            "protocol_version": seen.protocol_version,
            "protocols": list(seen.protocols),
            "listen_addrs": [str(Multiaddr(addr)) for addr in seen.listen_addrs],
            "observed_addr": str(Multiaddr(seen.observed_addr)) if seen.observed_addr else None,
            "public_key": b64encode(seen.public_key).decode(),
            "signed_peer_record": _is_record_of(ID.from_string(peer), seen.signedPeerRecord),
        }

    async def known_protocols(self, peer: str) -> Result:
        return {"protocols": list(self._host.get_peerstore().get_protocols(ID.from_string(peer)))}

    async def push(self, protocol: str) -> Result:
        self._host.set_stream_handler(TProtocol(protocol), INetStream.close)
        await push_identify_to_peers(self._host)
        return {}

    async def ping(self, peer: str, count: int) -> Result:
        times = await PingService(self._host).ping(ID.from_string(peer), count)
        return {"count": len(times), "max_ms": max(times)}

    async def echo(self, peer: str, size: int, streams: int) -> Result:
        results: list[tuple[int, bool]] = []

        async def one() -> None:
            results.append(await echo(await self._open(peer, ECHO), size, 0))

        async with trio.open_nursery() as nursery:
            for _ in range(streams):
                nursery.start_soon(one)
        return {"bytes": sum(count for count, _ in results), "sha256_ok": all(same for _, same in results)}

    async def echo_slow(self, peer: str, size: int) -> Result:
        count, same = await echo(await self._open(peer, ECHO), size, SLOW_READER_S)
        return {"bytes": count, "sha256_ok": same}

    async def reset(self, peer: str) -> Result:
        await expect_reset(await self._open(peer, RESET))
        return {}

    async def raw(self, peer: str, protocol: str, data: str, half_close: bool) -> Result:
        stream = await self._open(peer, TProtocol(protocol))
        return {"data": b64encode(await exchange(stream, b64decode(data), half_close)).decode()}

    async def bootstrap(self, addrs: list[str]) -> Result:
        for addr in addrs:
            peer = await self._connect(addr)
            if not await self._dht.add_peer(peer):
                raise RuntimeError(f"{peer} is no server of the DHT")
        return await self._closest(self._host.get_id().to_bytes())

    async def routing_table(self) -> Result:
        return {"peers": [str(peer) for peer in self._dht.routing_table.get_peer_ids()]}

    async def find_node(self, key: str | None = None, peer: str | None = None) -> Result:
        return await self._closest(ID.from_string(peer).to_bytes() if peer else b64decode(key or ""))

    async def put_value(self, key: str, value: str, quorum: int = 1) -> Result:
        # What the library's put_value() does, which does not tell how many peers stored the value.
        raw_key, raw_value = b64decode(key), b64decode(value)
        self._dht.validator.validate(raw_key.decode(), raw_value)
        store = self._dht.value_store
        store.put(raw_key, raw_value)
        stored = 0

        async def put_to(peer: ID) -> None:
            nonlocal stored
            if await store._store_at_peer(peer, raw_key, raw_value):
                stored += 1

        async with trio.open_nursery() as nursery:
            for peer in await self._dht.peer_routing.find_closest_peers_network(raw_key):
                if peer != self._host.get_id():
                    nursery.start_soon(put_to, peer)
        if stored < quorum:
            raise RuntimeError(f"stored by {stored} peers only")
        return {"stored": stored}

    async def get_value(self, key: str) -> Result:
        value = await self._dht.get_value(b64decode(key).decode())
        if value is None:
            raise RuntimeError("not found")
        return {"value": b64encode(value).decode()}

    async def provide(self, cid: str) -> Result:
        if not await self._dht.provider_store.provide(parse_cid(cid).multihash):
            raise RuntimeError("announced to no peer")
        return {}

    async def find_providers(self, cid: str, count: int) -> Result:
        found = await self._dht.provider_store.find_providers(parse_cid(cid).multihash, count)
        providers = {str(info.peer_id): [str(addr) for addr in info.addrs] for info in found}
        return {"providers": [{"peer_id": peer, "addrs": addrs} for peer, addrs in providers.items()]}

    async def _connect(self, addr: str) -> ID:
        """Connects, and waits for the identify that the library starts by itself."""
        info = info_from_p2p_addr(Multiaddr(addr))
        network = self._host.get_network()
        if isinstance(network, Swarm):
            network.unblock_peer(info.peer_id)  # a test dials again at once, unlike a node
        await self._host.connect(info)
        with trio.move_on_after(IDENTIFY_S):
            while not self._host.get_peerstore().get_protocols(info.peer_id):  # noqa: ASYNC110 - no event tells
                await trio.sleep(POLL_S)
        return info.peer_id

    async def _open(self, peer: str, protocol: TProtocol) -> INetStream:
        peer_id = ID.from_string(peer)
        if peer_id not in self._host.get_connected_peers():
            raise RuntimeError(f"no connection to {peer}")
        return await self._host.new_stream(peer_id, [protocol])

    async def _closest(self, key: bytes) -> Result:
        found = await self._dht.peer_routing.find_closest_peers_network(key)
        return {"peers": [str(peer) for peer in found]}


def _is_record_of(peer: ID, envelope: bytes) -> bool:
    """Whether there is a signed record, and it is valid and of this peer."""
    if not envelope:
        return False
    try:
        signed, record = consume_envelope(envelope, RECORD_DOMAIN)
    except ValueError:
        return False
    return bool(record.peer_id == peer == ID.from_pubkey(signed.public_key))
