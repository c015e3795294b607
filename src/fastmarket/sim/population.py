"""Who there is: ids, addresses, and what a converged network's tables would hold.

Tables are filled out of global knowledge instead of by everybody's bootstrap: bucket i of a node holds all
peers with a common prefix of i bits where there are at most k, else k of them drawn evenly.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random

from fastmarket._sha256 import sha256
from fastmarket.config import KadConfig
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.messages import Field, encode_peer
from fastmarket.kad.routing import Contact, Routing

_ED25519_ID_HEAD = b"\x00\x24\x08\x01\x12\x20"  # identity multihash of a PublicKey message of type Ed25519
_TCP_PORT = b"\x06\x42\x03"  # /tcp/16899
KEY_BITS = 256


class KeylessIdentity(Identity):
    """Who one is, without the key to prove it: for nodes that never sign. Costs no key generation."""

    __slots__ = ()

    def __init__(self, peer_id: PeerId) -> None:
        self.peer_id = peer_id

    def sign(self, message: bytes) -> bytes:
        """There is no key."""
        raise NotImplementedError("a keyless node signs nothing")


def synthetic_id(random: Random) -> PeerId:
    """An id of the form Ed25519 ids have; nobody holds its key."""
    return PeerId(_ED25519_ID_HEAD + random.randbytes(32))


def public_ip4(random: Random) -> bytes:
    """An address of the public internet, or what looks like one."""
    while True:
        ip = random.randbytes(4)
        if 1 <= ip[0] <= 223 and ip[0] not in (10, 100, 127, 169, 172, 192, 198, 203):
            return ip


def tcp_addr(ip4: bytes) -> Multiaddr:
    """A listen address."""
    return Multiaddr(b"\x04" + ip4 + _TCP_PORT)


class Population:
    """All nodes by number, and all keys in order.

    `infos` and `entries` (a peer as closerPeers entry) are shared by every table that holds the node.
    """

    def __init__(self, infos: Iterable[PeerInfo], identities: dict[int, Identity], config: KadConfig) -> None:
        """`identities`: the real ones, by number."""
        self.infos = list(infos)
        self.entries = [encode_peer(Field.CLOSER_PEERS, info, config.max_entry_bytes) for info in self.infos]
        self._identities = identities
        self._numbers = {info.peer_id.raw: number for number, info in enumerate(self.infos)}
        self._keys: list[int] = []
        self._order: list[int] = []
        self.list_servers(range(len(self.infos)))

    @classmethod
    def generate(cls, nodes: int, signers: int, seed: int, config: KadConfig) -> Population:
        """`nodes` with even keys and public addresses; the first `signers` of them have real key pairs."""
        random = Random(f"{seed} population")
        identities = {n: Identity.from_seed(random.randbytes(32)) for n in range(min(signers, nodes))}
        infos = []
        for number in range(nodes):
            peer_id = identities[number].peer_id if number in identities else synthetic_id(random)
            infos.append(PeerInfo(peer_id, (tcp_addr(public_ip4(random)),)))
        return cls(infos, identities, config)

    def __len__(self) -> int:
        return len(self.infos)

    def number(self, peer_id: PeerId) -> int | None:
        """The node of that id."""
        return self._numbers.get(peer_id.raw)

    def identity(self, number: int) -> Identity:
        """The node's identity, with its key if it has one."""
        return self._identities.get(number) or KeylessIdentity(self.infos[number].peer_id)

    def list_servers(self, numbers: Iterable[int]) -> None:
        """From now on these are the nodes that tables are filled with."""
        keyed = sorted((int.from_bytes(self.infos[n].peer_id.key, "big"), n) for n in numbers)
        self._keys = [key for key, _ in keyed]
        self._order = [number for _, number in keyed]

    def closest(self, target: bytes, count: int, counts: Callable[[int], bool]) -> list[int]:
        """The truth: the `count` listed nodes closest to a 32-byte key among those that count."""
        found: list[int] = []
        for number in self._by_distance(int.from_bytes(target, "big"), 0, len(self._keys), 0):
            if counts(number):
                found.append(number)
                if len(found) == count:
                    break
        return found

    def fill(self, routing: Routing, number: int, config: KadConfig, now: float, random: Random) -> None:
        """Give a node the table it would have; entries were last seen within the last refresh interval.

        The table's own way in is one identification at a time, which encodes every entry anew: here it is
        shared, which is what lets 100,000 tables fit.
        """
        table, infos, entries = routing._table, self.infos, self.entries
        for peers in self.buckets(number, config.k, random):
            step = config.refresh_interval_s / len(peers)
            for place, peer in enumerate(peers):
                seen = now - config.refresh_interval_s + place * step
                info = infos[peer]
                table.insert(info.peer_id.key, Contact(info, entries[peer], seen), seen)

    def buckets(self, number: int, k: int, random: Random) -> Iterator[Sequence[int]]:
        """What each bucket that is not empty holds, the farthest first."""
        own = int.from_bytes(self.infos[number].peer_id.key, "big")
        order, low, high = self._order, 0, len(self._keys)
        for depth in range(KEY_BITS):
            if high - low == 0:
                break
            middle = self._split(low, high, depth)
            if own >> (KEY_BITS - 1 - depth) & 1:
                first, last, low = low, middle, middle
            else:
                first, last, high = middle, high, middle
            if last - first > k:
                yield [order[place] for place in random.sample(range(first, last), k)]
            elif last > first:
                yield order[first:last]
            if high - low == 1 and order[low] == number:
                break

    def _split(self, low: int, high: int, depth: int) -> int:
        """Where, in a range of keys with `depth` bits in common, those with the next bit set begin."""
        shift = KEY_BITS - 1 - depth
        return bisect_left(self._keys, (self._keys[low] >> shift | 1) << shift, low, high)

    def _by_distance(self, target: int, low: int, high: int, depth: int) -> Iterator[int]:
        if high - low <= 1:
            yield from self._order[low:high]
            return
        middle = self._split(low, high, depth)
        near, far = (low, middle), (middle, high)
        if target >> (KEY_BITS - 1 - depth) & 1:
            near, far = far, near
        yield from self._by_distance(target, *near, depth + 1)
        yield from self._by_distance(target, *far, depth + 1)


def content_of(number: int | str) -> bytes:
    """A content's multihash out of nothing but a number."""
    return b"\x12\x20" + sha256(f"content {number}".encode())
