"""What every put comes to: how many nodes acknowledged, and how many of them make the quorum."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of `asked` nodes, `acknowledged` hold it; a quorum is `wanted` nodes.

    `plain` counts nodes whose acknowledgement does not count: other libp2p nodes, for example, that were sent
    a provider record. `why` says for people what the others answered; it is empty once the quorum is met.
    """

    acknowledged: int
    asked: int
    wanted: int
    plain: int = 0
    why: str = field(default="", compare=False)

    @property
    def is_reached(self) -> bool:
        """The quorum is met: a majority of the k closest nodes that are there (`kad.records.put_job`). With
        no reachable peers, and none that might be there, the local copy satisfies the quorum."""
        return self.acknowledged >= self.wanted

    @property
    def copies(self) -> int:
        """Other nodes that hold it."""
        return self.acknowledged + self.plain


NOBODY_ASKED = Outcome(0, 0, 1)
"""No node was asked, and it is not certain that there is none."""
