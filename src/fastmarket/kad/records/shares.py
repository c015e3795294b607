"""Fair shares of a store, and which unit is evicted for a newcomer.

Keys and contents cost nothing, only addresses do. So a store is shared out by address block, and within a
block by sender, max-min fairly: nothing is refused while there is room, and in a full store the party that
uses most gives way to a party that uses less. Of one sender's units, those farthest from us are evicted
first, because other nodes are closer to them. A sender that uses as much as any other competes with its own
units.

The resource is memory. A unit is whatever is stored and evicted as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush
from typing import Final, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from fastmarket.native.sha256 import sha256

# Keys hashed at a time to find the farthest, half a millisecond; more are examined step by step.
_FILED_AT_ONCE: Final = 1024
# Usage is compared with a relative precision of 2^-10; below twice that number of bytes it is exact.
_RESOLUTION_BITS: Final = 10
# Entries of departed units that a list may contain in addition to twice the live ones.
_SLACK: Final = 64

_U = TypeVar("_U", bound=Hashable)

RESTORED_BLOCKS: Final = 16
"""Units restored from disk count as so many blocks, by name: where they came from is not kept. As one block
they would be the first to give way to whoever comes after a restart; as a block for each sender, a flood that
was restored with them would have the whole store. They were admitted by fair shares, so all of them together
keep the part of so many blocks: four blocks that flood a full store get a fifth of it, and not four."""
NEARBY: Final = b"nearby"
"""The block of this machine and of private networks. It may use the whole store if it is the only one."""


class Source(NamedTuple):
    """Where something came from: an address block (`formats.scope`) and a raw peer id."""

    block: bytes
    sender: bytes


_RESTORED: Final = tuple(b"restored %d" % number for number in range(RESTORED_BLOCKS))


def restored(name: bytes) -> Source:
    """What a restored unit is charged to. `name` evens them out: a peer id, or a value's key."""
    return Source(_RESTORED[name[-1] % RESTORED_BLOCKS if name else 0], name)


def is_restored(source: Source) -> bool:
    """Whether it is one of these."""
    return source.block in _RESTORED


class _Counted(Protocol):
    cost: int


_P = TypeVar("_P", bound=_Counted)


class _Ranking(Generic[_P]):
    """Parties by usage; finds one with the highest in O(log n), with a precision of one part in 1,024."""

    def __init__(self) -> None:
        self._by_rank: dict[int, dict[_P, None]] = {}
        self._ranks: list[int] = []  # a heap of all ranks, negated; some may be obsolete

    def move(self, party: _P, cost: int) -> None:
        """Sets the usage of a party."""
        old, new = _rank(party.cost), _rank(cost)
        party.cost = cost
        if old == new:
            return
        if old:
            held = self._by_rank[old]
            del held[party]
            if not held:
                del self._by_rank[old]
        if new:
            there = self._by_rank.get(new)
            if there is None:
                self._by_rank[new] = {party: None}
                heappush(self._ranks, -new)
                if len(self._ranks) > 2 * len(self._by_rank) + _SLACK:
                    self._ranks = [-rank for rank in self._by_rank]
                    heapify(self._ranks)
            else:
                there[party] = None

    def most(self) -> _P | None:
        """A party with the highest usage; of several, the one that reached it first."""
        while self._ranks:
            there = self._by_rank.get(-self._ranks[0])
            if there:
                return next(iter(there))
            heappop(self._ranks)
        return None


class _Sender(Generic[_U]):
    """The units of one sender."""

    def __init__(self, block: _Block[_U], name: bytes) -> None:
        self.block = block
        self.name = name
        self.cost = 0
        self.unit_count = 0
        self.fresh: list[_U] = []  # distance not computed; may contain departed units
        self.filed: list[tuple[int, int, _U]] = []  # a heap of (-distance, number, unit); likewise


class _Block(Generic[_U]):
    """The senders of one address block."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.cost = 0
        self.senders: dict[bytes, _Sender[_U]] = {}
        self.ranking: _Ranking[_Sender[_U]] = _Ranking()


Measure: TypeAlias = Callable[[_U], tuple[int, int]]
"""`measure(unit)`: its distance from us (`distance`), and how many keys were hashed to compute it."""


class Shares(Generic[_U]):
    """Units by source, without our own."""

    def __init__(self, measure: Measure[_U], block_bound: int, sender_bound: int) -> None:
        """Bounds in bytes: for one block other than `NEARBY`, and for one sender."""
        self._measure = measure
        self._block_bound = block_bound
        self._sender_bound = sender_bound
        self._units: dict[_U, _Sender[_U]] = {}
        self._blocks: dict[bytes, _Block[_U]] = {}
        self._ranking: _Ranking[_Block[_U]] = _Ranking()
        self._number = 0

    def __len__(self) -> int:
        return len(self._units)

    def source(self, unit: _U) -> Source | None:
        """The source a unit is charged to; None if it is not held."""
        sender = self._units.get(unit)
        return None if sender is None else Source(sender.block.name, sender.name)

    def taken_bytes(self, source: Source) -> tuple[int, int]:
        """Bytes used by the block, and by the sender."""
        block = self._blocks.get(source.block)
        sender = block.senders.get(source.sender) if block is not None else None
        return 0 if block is None else block.cost, 0 if sender is None else sender.cost

    def enter(self, unit: _U, source: Source, cost: int) -> None:
        """Adds a unit."""
        block = self._blocks.get(source.block)
        if block is None:
            block = self._blocks[source.block] = _Block(source.block)
        sender = block.senders.get(source.sender)
        if sender is None:
            sender = block.senders[source.sender] = _Sender(block, source.sender)
        self._units[unit] = sender
        sender.unit_count += 1
        sender.fresh.append(unit)
        if len(sender.fresh) + len(sender.filed) > 2 * sender.unit_count + _SLACK:
            self._compact(sender)
        self._charge(sender, cost)

    def leave(self, unit: _U, cost: int) -> None:
        """Removes a unit; does nothing if it is not held."""
        sender = self._units.pop(unit, None)
        if sender is None:
            return
        self._charge(sender, -cost)
        sender.unit_count -= 1
        if not sender.unit_count:
            block = sender.block
            del block.senders[sender.name]
            if not block.senders:
                del self._blocks[block.name]

    def on_vouched(self, unit: _U, source: Source, cost: int) -> None:
        """Charges a held unit to its originator, which has sent it itself, instead of whichever peer brought
        it first. Otherwise an attacker could charge units of others to a full share by bringing them
        first."""
        self.leave(unit, cost)
        self.enter(unit, source, cost)

    def is_over_share(self, source: Source, cost: int) -> bool:
        """Whether so many more bytes would exceed what the block or the sender may use of a store with
        room."""
        block, sender = self.taken_bytes(source)
        return sender + cost > self._sender_bound or (
            block + cost > self._block_bound and source.block != NEARBY
        )

    def victim(self, source: Source, cost: int, full: bool) -> tuple[_U, int, bool] | None:
        """The unit to evict for so many more bytes, its distance, and whether it is a rival: a unit of the
        same sender, which is evicted only for a closer one. None: the newcomer is refused.

        `full`: the store as a whole has no room; otherwise the block or the sender has reached its bound.
        Changes nothing.
        """
        block = self._blocks.get(source.block)
        if full:
            most = self._ranking.most()
            if most is not None and (block.cost if block is not None else 0) + cost < most.cost:
                return self._farthest(most.ranking.most(), False)
        if block is None:
            return None
        sender = block.senders.get(source.sender)
        taken = cost if sender is None else sender.cost + cost
        largest = block.ranking.most()
        if largest is not None and taken < largest.cost and taken <= self._sender_bound:
            return self._farthest(largest, False)
        return self._farthest(sender, True)

    def _charge(self, sender: _Sender[_U], cost: int) -> None:
        block = sender.block
        block.ranking.move(sender, sender.cost + cost)
        self._ranking.move(block, block.cost + cost)

    def _farthest(self, sender: _Sender[_U] | None, rival: bool) -> tuple[_U, int, bool] | None:
        """The farthest of the units measured so far; each call measures some more."""
        if sender is None:
            return None
        self._file(sender)
        while True:
            filed = sender.filed
            while filed:
                distance, _, unit = filed[0]
                if self._units.get(unit) is sender:
                    return unit, -distance, rival
                heappop(filed)
            if not sender.fresh:
                return None
            self._file(sender)

    def _file(self, sender: _Sender[_U]) -> None:
        fresh, seen = sender.fresh, 0
        while fresh and seen < _FILED_AT_ONCE:
            unit = fresh.pop()
            if self._units.get(unit) is not sender:
                continue
            distance, keys = self._measure(unit)
            seen += keys
            self._number += 1
            heappush(sender.filed, (-distance, self._number, unit))

    def _compact(self, sender: _Sender[_U]) -> None:
        """Drops entries of departed units, and all but one entry of a unit that left and came back."""
        live: dict[_U, None] = {}
        filed = []
        for entry in sender.filed:
            unit = entry[2]
            if unit not in live and self._units.get(unit) is sender:
                live[unit] = None
                filed.append(entry)
        heapify(filed)
        sender.filed = filed
        sender.fresh = [
            unit
            for unit in dict.fromkeys(sender.fresh)
            if unit not in live and self._units.get(unit) is sender
        ]


def distance(local: bytes, key: bytes) -> int:
    """The first 64 bits of the distance from a raw key to our 32-byte key."""
    return int.from_bytes(sha256(key)[:8], "big") ^ int.from_bytes(local[:8], "big")


def _rank(cost: int) -> int:
    spare = cost.bit_length() - _RESOLUTION_BITS - 1
    return cost if spare <= 0 else (spare << _RESOLUTION_BITS) + (cost >> spare)
