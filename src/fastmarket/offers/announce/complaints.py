"""Why storers refused: for people, and for whoever may try again."""

from __future__ import annotations

from fastmarket.formats.peer_info import PeerInfo
from fastmarket.offers.announce.clocks import ClockWatch, middle
from fastmarket.offers.model.refusals import Refusal
from fastmarket.offers.wire.messages import WITH_REASON, Ack, StoreReply

# Of these it depends on the storer alone, and may be otherwise the next time.
_PASSING = frozenset({Ack.FULL, Ack.UNSPECIFIED})
_TEXTS = {
    Ack.SUPERSEDED: "refused: a later version is held",
    Ack.EXPIRED: "refused: expired",
    Ack.INVALID: "refused: invalid",
    Ack.FULL: "refused: no room",
    Ack.UNSPECIFIED: "refused",
}


class Complaints:
    """Of one announcement: what was said of clocks is gathered, so that it is told alike of all."""

    def __init__(self, clock: ClockWatch) -> None:
        self._clock = clock
        self._offsets: list[float] = []

    def read(self, peer: PeerInfo, reply: StoreReply, now: float) -> None:
        """A reply to a STORE: what it says of our clock is noted."""
        if reply.now is not None:
            offset = self._clock.refused(peer, reply.now, now)
            if offset is not None:
                self._offsets.append(offset)
        elif Ack.STORED in reply.acks:
            self.took(peer, now)

    def took(self, peer: PeerInfo, now: float) -> None:
        """It stored what it was sent."""
        self._clock.accepted(peer, now)

    def text(self, ack: Ack, reason: Refusal | None) -> tuple[str, bool]:
        """Why, for people; and whether it stays so however often the storer is asked."""
        final = ack not in _PASSING
        if reason is None:
            return _TEXTS.get(ack, "refused"), final
        off = f" by {abs(middle(self._offsets)):.0f} s" if self._offsets else ""
        if reason is Refusal.FUTURE:
            return f"refused: issued in the future{off}", final
        if reason is Refusal.EXPIRED:
            return "refused: expired by their clocks" if self._offsets else "refused: expired", final
        return f"refused: {reason.value}", final


def reasons_of(reply: StoreReply) -> list[Refusal | None]:
    """For each acknowledgement, None where there is none."""
    left = iter(reply.reasons)
    return [next(left, None) if ack in WITH_REASON else None for ack in reply.acks]
