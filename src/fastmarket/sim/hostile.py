"""Malicious nodes: they acknowledge requests to store, drop the data, and name only each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random

from fastmarket.formats.choice import Choice
from fastmarket.formats.identity import PeerId
from fastmarket.kad.wire.messages import Kind, decode_message, encode_reply
from fastmarket.native.batch import SignedBatch
from fastmarket.native.sha256 import sha256
from fastmarket.native.sim_net import Port
from fastmarket.offers.wire.messages import (
    Ack,
    FindRequest,
    StoreRequest,
    decode_request,
    encode_acks,
    encode_found,
)
from fastmarket.sim.network import Network
from fastmarket.sim.node import Conduct, Nature, SimNode
from fastmarket.sim.population import synthetic_raw_id

_PREFIX_BITS = 32
_KEY_BITS = 256
_SPARE = 10  # ids with the examined prefix, as a multiple of those wanted


class Conspiracy(Conduct):
    """All malicious nodes of a network; each knows all others."""

    __slots__ = ("_keyspace", "_network")

    def __init__(self, network: Network, members: Iterable[int]) -> None:
        self._network = network
        numbers = frozenset(members)
        self._keyspace = network.population.keyspace(numbers)
        network.standing.natures.update(dict.fromkeys(numbers, Nature.HOSTILE))
        network.conducts.update(dict.fromkeys(numbers, self))

    def answer(self, node: SimNode, sender: Port, choice: Choice, now: float) -> bytes | None:
        if choice.protocol == self._network.offers.protocol:
            request = decode_request(choice.payload, self._network.offers.max_offers_per_store)
            if isinstance(request, StoreRequest):
                offers = len(request.envelopes) + sum(SignedBatch(data).count for data in request.whole)
                return encode_acks([Ack.STORED] * offers)
            return b"".join(self._closer(request.content))
        message = decode_message(choice.payload, 0, 0)
        if message.kind == Kind.ADD_PROVIDER:
            return None
        if message.kind == Kind.PUT_VALUE:
            return choice.payload
        return encode_reply(Kind(message.kind), self._closer(message.key))

    def _closer(self, key: bytes) -> list[bytes]:
        entries, count = self._network.population.entries, self._network.kad.k
        return [entries[number] for number in self._keyspace.closest(sha256(key), count)]


class FalseSellers(Conspiracy):
    """Malicious nodes that sell: each answers a search with well-formed offers of keys of its own."""

    __slots__ = ("_offers", "_turns")

    def __init__(
        self, network: Network, members: Iterable[int], offers: Mapping[bytes, Sequence[bytes]]
    ) -> None:
        """`offers`: signed ones, by content; each node names another part of them."""
        numbers = sorted(members)
        super().__init__(network, numbers)
        self._offers = offers
        self._turns = {number: turn for turn, number in enumerate(numbers)}

    def answer(self, node: SimNode, sender: Port, choice: Choice, now: float) -> bytes | None:
        if choice.protocol == self._network.offers.protocol:
            request = decode_request(choice.payload, self._network.offers.max_offers_per_store)
            if isinstance(request, FindRequest):
                named = self._named(node.number, request)
                return encode_found(named, False) + b"".join(self._closer(request.content))
        return super().answer(node, sender, choice, now)

    def _named(self, number: int, request: FindRequest) -> Sequence[bytes]:
        offers = self._offers.get(request.content, ())
        if not offers:
            return ()
        first = self._turns[number] * request.limit % len(offers)
        return (*offers[first:], *offers[:first])[: request.limit]


def ids_near(targets: Sequence[bytes], count: int, tried: int, random: Random) -> list[list[PeerId]]:
    """For each 32-byte key the `count` closest of `tried` random ids: what an attacker gets for that much
    work.

    Each id costs a key pair and a hash, which is "minimal effort and cost" (Sridhar et al., "Content
    Censorship in the InterPlanetary File System", NDSS 2024); here only the hash, because nothing is signed.
    """
    bits = max((tried // (_SPARE * count)).bit_length() - 1, 0)
    shift = _PREFIX_BITS - bits
    near: dict[int, list[tuple[bytes, bytes]]] = {_prefix(target) >> shift: [] for target in targets}
    for _ in range(tried):
        raw = synthetic_raw_id(random)
        key = sha256(raw)
        found = near.get(_prefix(key) >> shift)
        if found is not None:
            found.append((key, raw))
    return [_closest(target, count, near[_prefix(target) >> shift]) for target in targets]


def spread_by_prefix(target: bytes, ids: Sequence[PeerId], count: int, bits: int) -> list[PeerId]:
    """Of ids, closest first, `count` such that half share `bits` bits with the target, a quarter one more,
    and so on, as evenly distributed ones would (Netto, Cholez and Ignat, arXiv:2505.01139)."""
    wanted, left, chosen = int.from_bytes(target, "big"), count, list[PeerId]()
    by_bits: dict[int, list[PeerId]] = {}
    for one in ids:
        common = _KEY_BITS - (int.from_bytes(one.key, "big") ^ wanted).bit_length()
        by_bits.setdefault(common, []).append(one)
    for common in sorted(by_bits):
        if common >= bits and left:
            part = by_bits[common][: max(left // 2, 1)]
            chosen += part
            left -= len(part)
    rest = [one for one in ids if one not in set(chosen)]
    return chosen + rest[:left]  # where too few were found


def _closest(target: bytes, count: int, keyed: list[tuple[bytes, bytes]]) -> list[PeerId]:
    wanted = int.from_bytes(target, "big")
    keyed.sort(key=lambda item: int.from_bytes(item[0], "big") ^ wanted)
    closest = keyed[:count]
    del keyed[:count]  # no id is used twice, in case two targets are neighbours
    return [PeerId(raw) for _, raw in closest]


def _prefix(key: bytes) -> int:
    return int.from_bytes(key[: _PREFIX_BITS // 8], "big")
