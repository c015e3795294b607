"""What this node saw itself of holders, by peer id, from one fetch to the next. Told to nobody: nobody could
verify it."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from math import isfinite, log2

from fastmarket.bounded_map import BoundedMap, Eviction
from fastmarket.config.fetching import FetchConfig
from fastmarket.errors import NodeFault, PeerFault
from fastmarket.exchange.fetching.holder import FetchHolder, HolderEnd, HolderTally
from fastmarket.formats.price import BYTES_PER_MB
from fastmarket.formats.varint import decode_uvarint, encode_uvarint

_HEAD = b"fastmarket holders 1\n"
_NUMBERS = struct.Struct("<8d")
_MAX_PEER_ID_BYTES = 128  # ours have 38 to 41

# What a fault weighs beside deliveries, in doublings of the bytes that were delivered.
_WRONG, _SILENT, _REFUSED = 20.0, 3.0, 2.0


@dataclass(frozen=True, slots=True)
class SeenHolder:
    """Counts decay: they are what is left of them by the time of `at` (Unix seconds).

    `delivered_bytes`: verified. `wrong`: fetches in which it sent wrong or malformed blocks. `silent`:
    timeouts and broken connections. `refused`: fetches in which it refused, was too busy, or did not have the
    content. `rate`, `rtt_s`: of the last fetch that showed them; 0: unknown. `blocks`: delivered.
    """

    at: float
    delivered_bytes: float = 0.0
    blocks: float = 0.0
    wrong: float = 0.0
    silent: float = 0.0
    refused: float = 0.0
    rate: float = 0.0
    rtt_s: float = 0.0

    def decayed(self, now: float, half_life_s: float) -> SeenHolder:
        """What is left of it."""
        left = 0.5 ** (max(now - self.at, 0.0) / half_life_s)
        return replace(
            self,
            at=max(now, self.at),
            delivered_bytes=self.delivered_bytes * left,
            blocks=self.blocks * left,
            wrong=self.wrong * left,
            silent=self.silent * left,
            refused=self.refused * left,
        )

    @property
    def standing(self) -> float:
        """The higher the better; 0 for a holder of which nothing is known."""
        good = log2(1 + self.delivered_bytes / BYTES_PER_MB)
        return good - _WRONG * self.wrong - _SILENT * self.silent - _REFUSED * self.refused


_WRONG_ENDS = frozenset({HolderEnd.WRONG_BLOCK, HolderEnd.OVERSIZED, HolderEnd.MALFORMED})
_REFUSED_ENDS = frozenset({HolderEnd.REFUSED, HolderEnd.BUSY, HolderEnd.MISSING})


class HolderHistory:
    """Holders by the bytes of their peer ids, `max_remembered` of them; the one seen longest ago leaves
    first."""

    __slots__ = ("_config", "_seen")

    def __init__(self, config: FetchConfig) -> None:
        self._config = config
        self._seen: BoundedMap[bytes, SeenHolder] = BoundedMap(
            config.max_remembered, eviction=Eviction.OLDEST
        )

    def __len__(self) -> int:
        return len(self._seen)

    def record(self, peer_id: bytes, tally: HolderTally, now: float) -> None:
        """What came of a holder in one fetch, at its end."""
        if not (tally.blocks or tally.missing or tally.silences or tally.failures or tally.ended):
            return  # it was not asked
        before = self.seen(peer_id, now) or SeenHolder(now)
        after = replace(
            before,
            delivered_bytes=before.delivered_bytes + tally.bytes,
            blocks=before.blocks + tally.blocks,
            wrong=before.wrong + (tally.ended in _WRONG_ENDS),
            silent=before.silent + tally.silences + tally.failures,
            refused=before.refused + (tally.ended in _REFUSED_ENDS),
            rate=tally.rate or before.rate,
            rtt_s=tally.rtt_s or before.rtt_s,
        )
        self._seen.put(peer_id, after)

    def on_probe(self, peer_id: bytes, now: float, *, silent: bool = False, missing: bool = False) -> None:
        """A holder was asked whether it is there. One that was not, or lacks the content, stands behind all
        others from then on; if it answers later, that makes up for one such time."""
        before = self.seen(peer_id, now)
        if before is None and not (silent or missing):
            return
        before = before or SeenHolder(now)
        is_there = not (silent or missing)
        after = replace(
            before,
            silent=max(before.silent - 1.0, 0.0) if is_there else before.silent + silent,
            refused=max(before.refused - 1.0, 0.0) if is_there else before.refused + missing,
        )
        self._seen.put(peer_id, after)

    def seen(self, peer_id: bytes, now: float) -> SeenHolder | None:
        """What is left of it by now; None: nothing is known."""
        known = self._seen.peek(peer_id)
        return None if known is None else known.decayed(now, self._config.memory_half_life_s)

    def standing(self, peer_id: bytes, now: float) -> float:
        """Orders holders of equal price, the highest first; 0 if nothing is known."""
        seen = self.seen(peer_id, now)
        return 0.0 if seen is None else seen.standing

    def introduce(self, holder: FetchHolder, peer_id: bytes, now: float) -> FetchHolder:
        """A holder with what is known of it, except what it tells itself."""
        seen = self.seen(peer_id, now)
        if seen is None:
            return holder
        return replace(
            holder,
            rtt_s=seen.rtt_s or None if holder.rtt_s is None else holder.rtt_s,
            rate=seen.rate or None if holder.rate is None else holder.rate,
            standing=seen.standing,
        )

    def to_bytes(self) -> bytes:
        """For the data directory."""
        parts = [_HEAD]
        for peer_id, one in self._seen.items():
            numbers = one.at, one.delivered_bytes, one.blocks, one.wrong, one.silent, one.refused
            parts += (encode_uvarint(len(peer_id)), peer_id, _NUMBERS.pack(*numbers, one.rate, one.rtt_s))
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, raw: bytes, config: FetchConfig) -> HolderHistory:
        """What `to_bytes` gave. Raises NodeFault if it is not that."""
        history = cls(config)
        if not raw.startswith(_HEAD):
            raise NodeFault("the history of holders does not begin as one")
        at = len(_HEAD)
        try:
            while at < len(raw):
                size, at = decode_uvarint(raw, at)
                if not 0 < size <= _MAX_PEER_ID_BYTES or at + size + _NUMBERS.size > len(raw):
                    raise NodeFault("the history of holders is cut short")
                peer_id = raw[at : at + size]
                numbers = _NUMBERS.unpack_from(raw, at + size)
                if not all(isfinite(number) and number >= 0 for number in numbers):
                    raise NodeFault("the history of holders has a number that is not one")
                history._seen.put(peer_id, SeenHolder(*numbers))
                at += size + _NUMBERS.size
        except PeerFault as fault:
            raise NodeFault(f"the history of holders: {fault}") from None
        return history
