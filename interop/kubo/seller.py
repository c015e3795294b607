"""A node of ours for the tests: files in memory, sold and bought over Bitswap, in Kubo's DHT of local
networks."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from fastmarket.config import NodeConfig
from fastmarket.exchange.bitswap.client import AskOutcome
from fastmarket.formats.cid import Cid, sha256_multihash
from fastmarket.formats.identity import Identity
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.unixfs.importer import UnixfsImporter
from fastmarket.formats.unixfs.leaf import encode_leaf
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, CidProfile
from fastmarket.net.bitswap.exchange import BitswapExchange
from fastmarket.net.dht_node import DhtNode

LAN = "/ipfs/lan"  # the prefix of Kubo's DHT of local networks
ASK_S = 30.0
JOB_S = 20.0


@dataclass(frozen=True)
class Sized:
    """A block that is there."""

    size: int


@dataclass
class Goods:
    """Blocks by multihash; of those in `priced` none is served over Bitswap."""

    blocks: dict[bytes, bytes] = field(default_factory=dict)
    priced: set[bytes] = field(default_factory=set)

    def put(self, block: bytes) -> bytes:
        """Returns its multihash."""
        multihash = sha256_multihash(block)
        self.blocks[multihash] = block
        return multihash

    def put_file(self, data: bytes, profile: CidProfile = UNIXFS_V0_2015) -> Cid:
        """All blocks of a file; returns its CID."""
        importer = UnixfsImporter(profile, on_node=lambda cid, block: self.put(block))
        importer.feed(data)
        for at in range(0, max(len(data), 1), profile.chunk_bytes):
            chunk = data[at : at + profile.chunk_bytes]
            self.put(chunk if profile.raw_leaves else encode_leaf(chunk))
        return importer.finish()

    def find(self, multihash: bytes) -> Sized | None:
        block = self.blocks.get(multihash)
        return None if block is None else Sized(len(block))

    def read(self, multihash: bytes) -> bytes | None:
        return self.blocks.get(multihash)

    def is_free(self, multihash: bytes) -> bool:
        return multihash not in self.priced


@dataclass
class Seller:
    """The node."""

    node: DhtNode
    goods: Goods
    exchange: BitswapExchange

    @property
    def address(self) -> str:
        """Where to dial it, with /p2p."""
        return str(self.node.listen_addrs[0])

    async def join(self, address: str) -> None:
        """Joins the DHT of the node there."""
        joined = await self.node.bootstrap([_info(address)], JOB_S)
        assert joined.known > 0, joined

    async def ask(self, address: str, cid: str, *, only_presence: bool = False) -> AskOutcome:
        """Asks the node there for a block."""
        answer: asyncio.Future[AskOutcome] = asyncio.get_running_loop().create_future()
        self.exchange.ask(
            _info(address),
            Cid.from_text(cid).raw,
            self.node.now() + ASK_S,
            answer.set_result,
            only_presence=only_presence,
        )
        return await answer


@asynccontextmanager
async def selling() -> AsyncIterator[Seller]:
    """A running node."""
    config = NodeConfig()
    config = replace(config, kad=replace(config.kad, prefix=LAN))
    node = DhtNode(Identity.from_seed(secrets.token_bytes(32)), config)
    goods = Goods()
    exchange = BitswapExchange(node.host, config.bitswap, goods, goods.is_free)
    try:
        await node.listen(Multiaddr.from_text("/ip4/127.0.0.1/tcp/0"))
        exchange.start()
        yield Seller(node, goods, exchange)
    finally:
        await exchange.close()
        await node.close()


def _info(address: str) -> PeerInfo:
    addr = Multiaddr.from_text(address)
    assert addr.peer_id is not None
    return PeerInfo(addr.peer_id, (addr.without_peer(),))
