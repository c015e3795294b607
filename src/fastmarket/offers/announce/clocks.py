"""Whether this node's clock is wrong: what storers say that refuse its offers for their times, and those
that do not.

A storer that refuses tells its own time; one that takes an offer signed just now finds ours right. Each
address block has one voice, so that a liar, or many of one machine, raise no alarm.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.scope import ip_group

MAX_VOICES = 64  # blocks whose last word is kept; the least recent is forgotten first
VOICE_S = (
    900.0  # a word counts for so long: a clock that was set right is believed a quarter of an hour later
)
# at the latest, and at once when an offer is taken
LEAST_OFF_S = 60.0  # less is no reason to refuse: who says so is wrong, or lies
MOST_OFF_S = 100 * 365 * 86_400.0  # more is no clock
MIN_VOICES = 2  # one alone may lie
MANY_REFUSED = 8  # offers refused here for their times, of which the operator is told
TELL_AGAIN_S = 600.0  # from one such word to the next


class ClockWatch:
    """Offsets in seconds: positive, and this node is ahead of the others."""

    def __init__(self) -> None:
        self._voices: OrderedDict[bytes, tuple[float, float]] = OrderedDict()  # block -> offset, when
        self.refused_at = float("-inf")
        """When an offer of this node was last refused for its times by somebody whose clock differs."""
        self._refused_here = 0
        self._told_at = self._warned_at = float("-inf")

    def refused(self, peer: PeerInfo, theirs: float, now: float) -> float | None:
        """A storer refused an offer signed by our clock, and told its own; the offset, None if it means
        nothing."""
        offset = now - theirs
        if not LEAST_OFF_S <= abs(offset) <= MOST_OFF_S:
            return None
        self.refused_at = now
        self._note(peer, offset, now)
        return offset

    def accepted(self, peer: PeerInfo, now: float) -> None:
        """A storer took an offer that was signed just now."""
        self._note(peer, 0.0, now)

    def _note(self, peer: PeerInfo, offset: float, now: float) -> None:
        block = ip_group(peer) or peer.peer_id.raw
        self._voices[block] = offset, now
        self._voices.move_to_end(block)
        if len(self._voices) > MAX_VOICES:
            self._voices.popitem(last=False)

    def _offsets(self, now: float) -> list[float]:
        return [offset for offset, at in self._voices.values() if at + VOICE_S > now]

    def offset_s(self, now: float) -> float:
        """The middle of what was said lately; 0: nothing was, or most find nothing wrong."""
        offsets = self._offsets(now)
        return middle(offsets) if offsets else 0.0

    def wrong_by(self, now: float) -> float | None:
        """The offset when several say so, and more than find nothing wrong; None: no reason to think so."""
        offsets = self._offsets(now)
        ahead, behind = [one for one in offsets if one > 0], [one for one in offsets if one < 0]
        most = max(ahead, behind, key=len)
        if len(most) < MIN_VOICES or 2 * len(most) <= len(offsets):
            return None
        return middle(most)

    def complained(self, now: float) -> str:
        """What those that refused say of our clock, for people; empty: nothing."""
        off = [one for one in self._offsets(now) if one]
        if not off:
            return ""
        offset = middle(off)
        return f"this node's clock is about {abs(offset):.0f} s {side(offset)} the peers that refused"

    def warning(self, now: float) -> float | None:
        """The offset to tell the operator of now; mostly None."""
        if self.refused_at == float("-inf") or now < self._warned_at + TELL_AGAIN_S:
            return None
        offset_s = self.wrong_by(now)
        if offset_s is not None:
            self._warned_at = now
        return offset_s

    # --- as a storer

    def refused_here(self, now: float) -> int:
        """An offer of others was refused here for its times; how many to tell the operator of now, mostly
        0."""
        self._refused_here += 1
        if self._refused_here < MANY_REFUSED or now < self._told_at + TELL_AGAIN_S:
            return 0
        count, self._refused_here, self._told_at = self._refused_here, 0, now
        return count


def wrong_clock(offset_s: float) -> str:
    """For people: what is wrong, and what to do."""
    return (
        f"this node's clock is about {abs(offset_s):.0f} s {side(offset_s)} its peers': set it right "
        "(NTP), or they take no offers of this node"
    )


def side(offset_s: float) -> str:
    """Of the others, for people."""
    return "ahead of" if offset_s > 0 else "behind"


def middle(values: Iterable[float]) -> float:
    """The median, of one at least."""
    ordered = sorted(values)
    return (ordered[len(ordered) // 2] + ordered[~(len(ordered) // 2)]) / 2
