"""Detects that this node's clock is wrong, from how storers answer.

A storer that refuses an offer for its times sends its own time; one that accepts an offer signed just now
agrees with ours. Each address block has one vote, so that a liar, or many on one machine, raise no alarm.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastmarket.bounded_map import BoundedMap
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.scope import ip_group

MAX_VOICES = 64  # blocks whose last vote is kept
VOICE_S = 900.0  # a vote expires after this: at the latest then a corrected clock is believed,
# and at once when an offer is accepted
LEAST_OFF_S = 60.0  # less is no reason to refuse: the storer is wrong, or lies
MOST_OFF_S = 100 * 365 * 86_400.0  # no clock is further off
MIN_VOICES = 2  # one alone may lie
MANY_REFUSED = 8  # offers refused here for their times before the operator is told
TELL_AGAIN_S = 600.0  # between two such messages


class ClockWatch:
    """Offsets are in seconds; positive: this node is ahead of the others."""

    __slots__ = ("_refused_here", "_told_at", "_voices", "_warned_at", "refused_at")

    def __init__(self) -> None:
        self._voices: BoundedMap[bytes, tuple[float, float]] = BoundedMap(MAX_VOICES)  # block -> offset, when
        self.refused_at = float("-inf")
        """When a storer with another clock last refused an offer of this node for its times."""
        self._refused_here = 0
        self._told_at = self._warned_at = float("-inf")

    def on_refused(self, peer: PeerInfo, theirs: float, now: float) -> float | None:
        """A storer refused an offer for its times and sent its own time; returns the offset, or None if that
        is meaningless."""
        offset = now - theirs
        if not LEAST_OFF_S <= abs(offset) <= MOST_OFF_S:
            return None
        self.refused_at = now
        self._note(peer, offset, now)
        return offset

    def on_accepted(self, peer: PeerInfo, now: float) -> None:
        """A storer accepted an offer that was signed just now."""
        self._note(peer, 0.0, now)

    def _note(self, peer: PeerInfo, offset: float, now: float) -> None:
        block = ip_group(peer) or peer.peer_id.raw
        self._voices.put(block, (offset, now))

    def _offsets(self, now: float) -> list[float]:
        return [offset for offset, at in self._voices.values() if at + VOICE_S > now]

    def offset_s(self, now: float) -> float:
        """The median of the votes; 0 if there are none, or most agree with our clock."""
        offsets = self._offsets(now)
        return middle(offsets) if offsets else 0.0

    def wrong_by(self, now: float) -> float | None:
        """The offset, if several votes, and most of them, agree on its direction; else None."""
        offsets = self._offsets(now)
        ahead, behind = [one for one in offsets if one > 0], [one for one in offsets if one < 0]
        most = max(ahead, behind, key=len)
        if len(most) < MIN_VOICES or 2 * len(most) <= len(offsets):
            return None
        return middle(most)

    def complained(self, now: float) -> str:
        """What the storers that refused say of our clock, as text; empty if nothing."""
        off = [one for one in self._offsets(now) if one]
        if not off:
            return ""
        offset = middle(off)
        return f"this node's clock is about {abs(offset):.0f} s {side(offset)} the peers that refused"

    def warning(self, now: float) -> float | None:
        """The offset to warn the operator of now; mostly None."""
        if self.refused_at == float("-inf") or now < self._warned_at + TELL_AGAIN_S:
            return None
        offset_s = self.wrong_by(now)
        if offset_s is not None:
            self._warned_at = now
        return offset_s

    # --- as a storer

    def on_refused_here(self, now: float) -> int:
        """An offer of others was refused here for its times; returns how many to tell the operator of now,
        mostly 0."""
        self._refused_here += 1
        if self._refused_here < MANY_REFUSED or now < self._told_at + TELL_AGAIN_S:
            return 0
        count, self._refused_here, self._told_at = self._refused_here, 0, now
        return count


def wrong_clock(offset_s: float) -> str:
    """What is wrong and what to do, as text."""
    return (
        f"this node's clock is about {abs(offset_s):.0f} s {side(offset_s)} its peers': set it right "
        "(NTP), or they will refuse this node's offers"
    )


def side(offset_s: float) -> str:
    """The direction of an offset, as text."""
    return "ahead of" if offset_s > 0 else "behind"


def middle(values: Iterable[float]) -> float:
    """The median of at least one value."""
    ordered = sorted(values)
    return (ordered[len(ordered) // 2] + ordered[~(len(ordered) // 2)]) / 2
