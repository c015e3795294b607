"""The nodes of a network: ids, addresses, and the tables of a converged network.

Tables are filled from global knowledge, without bootstrapping: bucket i of a node holds all peers with a
common prefix of i bits if there are at most k, otherwise k drawn uniformly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from random import Random

from fastmarket.config import KadConfig
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.scope import ip_group
from fastmarket.kad.records.shares import NEARBY
from fastmarket.kad.routing.contact import Contact, Trust
from fastmarket.kad.routing.table import RoutingTable
from fastmarket.kad.wire.messages import PEERS, Field, encode_peer
from fastmarket.native.sha256 import sha256
from fastmarket.sim.addresses import AddressPlan, tcp_addr
from fastmarket.sim.keyspace import Keyspace

_ED25519_ID_HEAD = b"\x00\x24\x08\x01\x12\x20"  # identity multihash of a PublicKey message of type Ed25519
# If one address block crowds a bucket, this many times k peers are drawn to fill it with others.
CROWD = 8
# Cache slots per peer for entries that have been read: on a collision, one is evicted.
ROOM = 2


class KeylessIdentity(Identity):
    """An identity without a key, for nodes that never sign. Needs no key generation."""

    __slots__ = ()

    def __init__(self, peer_id: PeerId) -> None:
        self.peer_id = peer_id

    def sign(self, message: bytes) -> bytes:
        """There is no key."""
        raise NotImplementedError("a keyless node signs nothing")


def synthetic_raw_id(random: Random) -> bytes:
    """An id in the form of Ed25519 ids, without a key."""
    return _ED25519_ID_HEAD + random.randbytes(32)


class Population:
    """All nodes by number, and all keys in order.

    `infos` and `entries` (a peer as closerPeers entry) are shared by all tables that contain the node.
    """

    def __init__(self, infos: Iterable[PeerInfo], identities: dict[int, Identity], config: KadConfig) -> None:
        """`identities`: real ones, by number."""
        self.infos = list(infos)
        self.entries = [encode_peer(Field.CLOSER_PEERS, info, config.max_entry_bytes) for info in self.infos]
        self._config = config
        if PEERS.capacity < ROOM * len(self.infos):  # so that entries of peers named again are cached
            PEERS.resize(ROOM * len(self.infos))
        self._shared: dict[bytes | None, bytes | None] = {}
        self._groups = [self._group(info) for info in self.infos]
        self._identities = identities
        self.numbers = {info.peer_id.raw: number for number, info in enumerate(self.infos)}
        self.servers = self.keyspace(range(len(self.infos)))
        """The nodes that fill tables."""

    @classmethod
    def generate(cls, nodes: int, signers: int, seed: int, config: KadConfig) -> Population:
        """`nodes` with uniformly distributed keys and public addresses; the first `signers` have real key
        pairs."""
        random = Random(f"{seed} population")
        identities = {n: Identity.from_seed(random.randbytes(32)) for n in range(min(signers, nodes))}
        addresses, infos = AddressPlan(Random(f"{seed} addresses")), []
        for number in range(nodes):
            peer_id = identities[number].peer_id if number in identities else PeerId(synthetic_raw_id(random))
            infos.append(PeerInfo(peer_id, (tcp_addr(addresses.draw()),)))
        return cls(infos, identities, config)

    def __len__(self) -> int:
        return len(self.infos)

    def identity(self, number: int) -> Identity:
        """The node's identity, with a key if it has one."""
        return self._identities.get(number) or KeylessIdentity(self.infos[number].peer_id)

    def block(self, number: int) -> bytes:
        """The address block of a node."""
        return self._groups[number] or NEARBY

    def add(self, info: PeerInfo) -> int:
        """Adds a node, which is listed nowhere yet, and returns its number."""
        number = self.numbers[info.peer_id.raw] = len(self.infos)
        self.infos.append(info)
        self.entries.append(encode_peer(Field.CLOSER_PEERS, info, self._config.max_entry_bytes))
        self._groups.append(self._group(info))
        return number

    def keyspace(self, numbers: Iterable[int]) -> Keyspace:
        """Some of the nodes in the order of their keys."""
        return Keyspace((self.infos[number].peer_id.key, number) for number in numbers)

    def list_servers(self, numbers: Iterable[int]) -> None:
        """Sets the nodes that fill tables from now on."""
        self.servers = self.keyspace(numbers)

    def fill(self, routing: RoutingTable, number: int, config: KadConfig, now: float, random: Random) -> None:
        """Gives a node the table it would have; entries were last seen within the last refresh interval.

        The regular way in is one identification at a time, and encodes every entry again. Here entries are
        shared, so that 100,000 tables fit into memory.
        """
        routing.fill(self._contacts(number, config, now, random))

    def _contacts(self, number: int, config: KadConfig, now: float, random: Random) -> Iterator[Contact]:
        infos, entries, groups = self.infos, self.entries, self._groups
        for peers in self.buckets(number, config.k, random):
            step = config.refresh_interval_s / len(peers)
            for place, peer in enumerate(peers):
                seen = now - config.refresh_interval_s + place * step
                yield Contact(infos[peer], entries[peer], seen, groups[peer], Trust.PROVEN)

    def buckets(self, number: int, k: int, random: Random) -> Iterator[Sequence[int]]:
        """The contents of each non-empty bucket, the farthest first."""
        order = self.servers.order
        for places in self.servers.buckets(self.infos[number].peer_id.key, number):
            drawn = random.sample(places, k) if len(places) > k else places
            peers = self._diverse([order[place] for place in drawn], k)
            if len(peers) < len(drawn) < len(places):  # others take the surplus places of a crowd
                drawn = random.sample(places, min(len(places), CROWD * k))
                peers = self._diverse([order[place] for place in drawn], k)
            yield peers

    def _diverse(self, peers: list[int], k: int) -> list[int]:
        """The first k, with at most as many of one address block as a bucket may hold."""
        held: Counter[bytes] = Counter()
        kept = []
        for peer in peers:
            group = self._groups[peer]
            if group is not None:
                held[group] += 1
                if held[group] > self._config.max_group_in_bucket:
                    continue
            kept.append(peer)
        return kept[:k]

    def _group(self, info: PeerInfo) -> bytes | None:
        group = ip_group(info)
        return self._shared.setdefault(group, group)


def content_of(number: int | str) -> bytes:
    """A content's multihash made from a number."""
    return b"\x12\x20" + sha256(f"content {number}".encode())
