"""The outcome of a put: how many nodes acknowledged it, and how many make the quorum."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of `asked` nodes, `acknowledged` hold it; a quorum is `wanted` nodes.

    `plain` counts nodes whose acknowledgement does not count, such as other libp2p nodes that were sent a
    provider record. `why` tells people what the others answered; it is empty once the quorum is reached.
    """

    acknowledged: int
    asked: int
    wanted: int
    plain: int = 0
    why: str = field(default="", compare=False)

    @property
    def is_reached(self) -> bool:
        """Whether the quorum is reached: a majority of the k closest nodes that are there
        (`kad.records.put_job`). With no reachable peers, and none that may be there, the local copy satisfies
        the quorum."""
        return self.acknowledged >= self.wanted

    @property
    def copies(self) -> int:
        """Number of other nodes that hold it."""
        return self.acknowledged + self.plain


NOBODY_ASKED = Outcome(0, 0, 1)
"""No node was asked, although one may be there."""
