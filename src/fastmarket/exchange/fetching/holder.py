"""A holder as a fetch sees it, why it ends, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class FetchHolder:
    """One that may be asked for blocks. The driver knows how to reach it by its `key`.

    `rtt_s`, `rate`: seconds until it answered and bytes per second, where a probe or an earlier fetch has
    shown them; else None. `standing`: what this node saw of it (`history`), the higher the better; it orders
    holders of equal price. `most_requests`: requests that may be under way to it at once; None: as
    configured.
    """

    key: int
    price_per_mb: int = 0
    rtt_s: float | None = None
    rate: float | None = None
    standing: float = 0.0
    most_requests: int | None = None


class AskFailure(Enum):
    """Why a request brought neither a block nor the answer that it is missing; what the driver tells."""

    LOST = "connection lost"  # the connection ended before the block was complete; it may be asked again
    UNREACHABLE = "unreachable"  # no connection; it may be asked again
    BUSY = "busy"  # 429, 503, or our own limits: again after `retry_after`
    REFUSED = "refused"  # 401, 402, 403, 410, 451: it will not give this content
    OVERSIZED = "sends more than a block may have"  # more than `most_bytes`
    MALFORMED = "breaks the protocol"  # an answer that makes no sense
    GONE = "somebody else is there"  # another program or peer answers at its address


class HolderEnd(Enum):
    """Why a holder is no longer asked."""

    WRONG_BLOCK = "sent a wrong block"  # its hash is another
    OVERSIZED = "sent more than a block may have"
    MALFORMED = "broke the protocol"
    MISSING = "does not have the content"  # `max_misses` in a row
    SILENT = "did not answer"  # `max_silences` in a row
    UNREACHABLE = "could not be reached"  # `max_failures` in a row
    BUSY = "was too busy"  # `max_busy` in a row
    REFUSED = "refused to serve the content"
    GONE = "is gone from its address"
    REMOVED = "was removed"  # by `remove_holder`


@dataclass(frozen=True, slots=True)
class HolderTally:
    """What came of one holder so far.

    `bytes`: verified file bytes that it delivered; `cost` = ceil(bytes x price / 10^6). `blocks`, `missing`,
    `silences`, `failures`: answers of each kind. `rate`: bytes per second that it delivers now; None:
    unknown. `under_way`: requests. `ended`: why it is no longer asked; None: it is.
    """

    key: int
    price_per_mb: int
    bytes: int
    cost: int
    blocks: int
    missing: int
    silences: int
    failures: int
    rate: float | None
    rtt_s: float | None
    under_way: int
    ended: HolderEnd | None
