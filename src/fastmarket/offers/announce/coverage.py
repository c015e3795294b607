"""What several lookups together prove about which peers are closest to which key.

A lookup that ended by itself knows every peer within the distance of its k-th closest. In the XOR metric such
a ball is a union of subtrees of the key space, and so is the ball around any other key; when the second lies
within the union of the first ones, the k closest known to its key are the k closest there are.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator
from struct import Struct

from fastmarket.formats.scope import ip_group
from fastmarket.native.candidates import Answered

PLACE_BITS = 64  # of a key that are compared: peers that share more do not exist in honest networks
# How many subtrees of a ball are kept, largest first; each is at most half as large as the one before.
_BALL_BITS = 16

# More peers than this, times k, within reach of a key may have been placed there: by chance there are so many
# around one key in eighty (`native.candidates`).
SURPLUS = 1.5

_END = 1 << PLACE_BITS
_PLACE_OF_KEY = Struct(">Q24x")  # the first PLACE_BITS of 32 bytes


def place(key: bytes) -> int:
    """The place of a 32-byte key in the key space, as a number below 2^PLACE_BITS."""
    return int.from_bytes(key[: PLACE_BITS // 8], "big")


def places(keys: Iterable[bytes]) -> list[int]:
    """`place` of many keys, four times as fast."""
    return [at for (at,) in _PLACE_OF_KEY.iter_unpack(b"".join(keys))]


def _subtrees(center: int, radius: int) -> Iterator[tuple[int, int]]:
    """The ball as disjoint spans [first, end), largest first; the smallest ones are left out."""
    for _ in range(_BALL_BITS):
        if not radius:
            return
        top = radius.bit_length() - 1
        first = center >> top << top
        yield first, first + (1 << top)
        center ^= 1 << top
        radius ^= 1 << top


def _rounded_up(radius: int) -> int:
    """Rounds up so that `_subtrees` leaves nothing out."""
    spare = radius.bit_length() - _BALL_BITS + 1
    return radius + 1 if spare <= 0 else ((radius >> spare) + 1) << spare


class Coverage:
    """Peers by place, and the spans of the key space in which all of them are known."""

    __slots__ = ("_all", "_ends", "_firsts", "_k", "_most_of_group", "_peers", "_places", "_reach")

    def __init__(self, k: int, most_of_group: int, reach: int = 0) -> None:
        """`most_of_group`: how many of the k closest may be in one address block. `reach`: the distance, in
        places, within which every known peer counts besides them (`kad.lookup.region`)."""
        self._k = k
        self._most_of_group = most_of_group
        self._reach = reach
        self._places: list[int] = []
        self._peers: dict[int, Answered] = {}
        self._firsts: list[int] = []  # of the spans, sorted; they neither overlap nor touch
        self._ends: list[int] = []
        self._all: tuple[Answered, ...] | None = None

    def learn(self, target: int, closest: Iterable[Answered], others: Iterable[Answered] = ()) -> int:
        """Adds the result of a complete lookup, and `others` of its region; returns the radius within which
        all peers are known."""
        found = tuple(closest)
        for answered in (*others, *found):
            at = place(answered.peer.peer_id.key)
            if at not in self._peers:
                insort(self._places, at)
            self._peers[at] = answered
        radius = place(found[-1].peer.peer_id.key) ^ target if len(found) >= self._k else _END - 1
        if len(found) < self._k:
            self._cover(0, _END)
            self._all = tuple(self._peers.values())
        else:
            for first, end in _subtrees(target, radius):
                self._cover(first, end)
        return radius

    def near(self, at: int) -> list[Answered]:
        """The k known peers closest to a place."""
        return self._around(at)

    def all_peers(self) -> tuple[Answered, ...] | None:
        """All peers, in a network of no more than k: they are the closest to every place."""
        return self._all if self._all is not None and len(self._all) <= self._k else None

    def closest(self, at: int) -> tuple[Answered, ...] | None:
        """The k closest to a place, and the others known within reach; None: closer ones may be unknown, or
        too many share an address block, or far more than k are within reach: only a lookup gets past them."""
        if (everybody := self.all_peers()) is not None:
            return everybody
        found = self._around(at)
        if len(found) >= self._k:
            radius = place(found[-1].peer.peer_id.key) ^ at
            if not all(self._covers(*span) for span in _subtrees(at, _rounded_up(radius))):
                return None
        elif not self._covers(0, _END):
            return None
        groups = Counter(group for one in found if (group := ip_group(one.peer)) is not None)
        if max(groups.values(), default=0) > self._most_of_group:
            return None
        others = self._others_within(at, len(found))
        return None if len(found) + len(others) > SURPLUS * self._k else (*found, *others)

    def _others_within(self, at: int, nearest: int) -> list[Answered]:
        """The peers known within reach of a place, closest first, without the nearest so many."""
        if not self._reach:
            return []
        within = [
            where for span in _subtrees(at, _rounded_up(self._reach)) for where in self._known_in(*span)
        ]
        return [self._peers[where] for where in sorted(within, key=at.__xor__)[nearest:]]

    def _known_in(self, first: int, end: int) -> list[int]:
        return self._places[bisect_left(self._places, first) : bisect_left(self._places, end)]

    def gap(self, at: int) -> tuple[int, int]:
        """The longest uncovered span in the ball around a place: where to look next."""
        found = self._around(at)
        if len(found) < self._k:
            return at, at + 1
        radius = place(found[-1].peer.peer_id.key) ^ at
        holes = (hole for span in _subtrees(at, _rounded_up(radius)) for hole in self._holes(*span))
        return max(holes, key=lambda hole: hole[1] - hole[0], default=(at, at + 1))

    def _around(self, at: int) -> list[Answered]:
        """The k known peers closest to a place, closest first."""
        places, low, high = self._places, 0, PLACE_BITS
        # The smallest subtree around the place with k peers: the deeper the fewer, so halve the depths.
        while low < high:
            middle = (low + high) // 2
            first = at >> middle << middle
            inside = bisect_left(places, first + (1 << middle)) - bisect_left(places, first)
            if inside >= self._k:
                high = middle
            else:
                low = middle + 1
        first = at >> low << low
        inside_places = places[bisect_left(places, first) : bisect_left(places, first + (1 << low))]
        nearest = sorted(inside_places, key=at.__xor__)[: self._k]
        return [self._peers[where] for where in nearest]

    def _cover(self, first: int, end: int) -> None:
        firsts, ends = self._firsts, self._ends
        low = bisect_left(ends, first)
        high = bisect_right(firsts, end)
        if low < high:
            first, end = min(first, firsts[low]), max(end, ends[high - 1])
        firsts[low:high], ends[low:high] = [first], [end]

    def _holes(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        at = max(bisect_right(self._firsts, first) - 1, 0)
        while first < end and at < len(self._firsts) and self._firsts[at] < end:
            if first < self._firsts[at]:
                yield first, self._firsts[at]
            first = max(first, self._ends[at])
            at += 1
        if first < end:
            yield first, end

    def _covers(self, first: int, end: int) -> bool:
        at = bisect_right(self._firsts, first) - 1
        return at >= 0 and end <= self._ends[at]
