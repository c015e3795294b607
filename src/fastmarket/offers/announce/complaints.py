"""Why storers refused: as text, and whether it is worth trying again."""

from __future__ import annotations

from fastmarket.formats.peer_info import PeerInfo
from fastmarket.offers.announce.clocks import ClockWatch, middle
from fastmarket.offers.model.refusals import Refusal
from fastmarket.offers.wire.messages import WITH_REASON, Ack, StoreReply

# Reasons of the storer alone, which may have changed the next time.
_PASSING = frozenset({Ack.FULL, Ack.UNSPECIFIED})
_TEXTS = {
    Ack.SUPERSEDED: "refused: a later version is stored",
    Ack.EXPIRED: "refused: expired",
    Ack.INVALID: "refused: invalid",
    Ack.FULL: "refused: no room",
    Ack.UNSPECIFIED: "refused",
}


class Complaints:
    """The refusals of one announcement. Offsets of clocks are collected and reported as their median."""

    __slots__ = ("_clock", "_offsets")

    def __init__(self, clock: ClockWatch) -> None:
        self._clock = clock
        self._offsets: list[float] = []

    def on_reply(self, peer: PeerInfo, reply: StoreReply, now: float) -> None:
        """Notes what a reply to a STORE says of our clock."""
        if reply.now is not None:
            offset = self._clock.on_refused(peer, reply.now, now)
            if offset is not None:
                self._offsets.append(offset)
        elif Ack.STORED in reply.acks:
            self.on_stored(peer, now)

    def on_stored(self, peer: PeerInfo, now: float) -> None:
        """The peer stored what it was sent."""
        self._clock.on_accepted(peer, now)

    def reason_text(self, ack: Ack, reason: Refusal | None) -> tuple[str, bool]:
        """The reason as text, and whether it is final, however often the storer is asked."""
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
    """The reason of each acknowledgement; None where it has none."""
    left = iter(reply.reasons)
    return [next(left, None) if ack in WITH_REASON else None for ack in reply.acks]
