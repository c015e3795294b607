"""Whether a router has lost its mappings, by the age that it states in each answer."""

from __future__ import annotations

# PCP (RFC 6887 section 8.5) allows for clocks that differ by 1/16 and for 2 s on the way, as does NAT-PMP
# (RFC 6886 section 3.6) with 1/8.
_DRIFT = 1 / 8
_SLACK_S = 2.0


class EpochWatch:
    """Compares the age of each answer with that of the one before."""

    __slots__ = ("_at", "_epoch_s")

    def __init__(self) -> None:
        self._epoch_s: int | None = None
        self._at = 0.0

    def has_restarted(self, epoch_s: int, now: float) -> bool:
        """Takes the age in an answer; True if it is younger than it can be after the one before.

        One that is much older says the same in PCP; but a host that was asleep sees that, too, when its clock
        stood still: its mappings have most likely ended meanwhile."""
        before, at = self._epoch_s, self._at
        self._epoch_s, self._at = epoch_s, now
        if before is None:
            return False
        theirs, ours = epoch_s - before, max(0.0, now - at)
        too_young = theirs < ours * (1 - _DRIFT) - _SLACK_S
        too_old = theirs * (1 - _DRIFT) > ours + _SLACK_S
        return too_young or too_old
