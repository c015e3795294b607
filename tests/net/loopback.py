"""Real nodes on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from fastmarket.config import NodeConfig
from fastmarket.formats.choice import Choice
from fastmarket.formats.identity import Identity
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.libp2p.identify import IdentifyInfo
from fastmarket.libp2p.requests import RequestResult
from fastmarket.net.dht_node import DhtNode

LOOPBACK = Multiaddr.from_text("/ip4/127.0.0.1/tcp/0")
DEADLINE_S = 10.0


def identity(number: int) -> Identity:
    """The same for the same number."""
    return Identity.from_seed(hashlib.sha256(b"test node %d" % number).digest())


def seed(node: DhtNode) -> PeerInfo:
    """What others need to know of a node to join by it."""
    return PeerInfo(node.peer_id, node.host.listen_addrs)


def has_ipv6() -> bool:
    """Whether this machine has it, on loopback at least."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def port_of(node: DhtNode) -> int:
    """Its first listening port."""
    endpoint = node.host.listen_addrs[0].host_port()
    assert endpoint is not None
    return endpoint.port


def told(node: DhtNode, about: DhtNode) -> IdentifyInfo:
    """What `about` told `node` by identify."""
    link = node.host.link_to(about.peer_id)
    assert link is not None
    assert link.identified is not None
    return link.identified


async def ask(node: DhtNode, peer: PeerInfo, *choices: Choice) -> RequestResult:
    """One request of the host itself, and how it ended."""
    answer: asyncio.Future[RequestResult] = asyncio.get_running_loop().create_future()
    node.host.request(peer, choices, node.now() + DEADLINE_S, answer.set_result)
    return await answer


async def until(true: Callable[[], bool]) -> None:
    """Lets the loop turn until it is so; the test's own deadline ends what never comes."""
    while not true():  # noqa: ASYNC110 - there is no event for "the other node has stored it"
        await asyncio.sleep(0)


@asynccontextmanager
async def nodes(count: int, config: NodeConfig | None = None, first: int = 0) -> AsyncIterator[list[DhtNode]]:
    """Listening nodes that do not know each other yet, with the identities from `first` on."""
    config = config or NodeConfig()
    config = replace(config, host=replace(config.host, listen=()))
    async with AsyncExitStack() as stack:
        made = []
        for number in range(first, first + count):
            node = DhtNode(identity(number), config)
            stack.push_async_callback(node.close)
            await node.listen(LOOPBACK)
            made.append(node)
        yield made
