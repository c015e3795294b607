"""What other implementations cannot do or do wrong, found by this matrix: such a cell is not ours to mend.

An entry that no longer fails is reported, so that the table does not outlive its reasons.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Known:
    """Cells of a row that fail by the other side's fault. `dialer`: "ours", "theirs" or "" for both."""

    row: str
    kind: str
    dialer: str
    why: str

    def covers(self, row: str, kind: str, we_dial: bool) -> bool:
        """Whether it is about that cell."""
        return (self.row, self.kind) == (row, kind) and self.dialer in ("", "ours" if we_dial else "theirs")


_NO_ECDSA = "takes no ECDSA identities, its own or others'"

KNOWN = (
    Known("ecdsa", "js", "", f"js-libp2p {_NO_ECDSA}"),
    Known("ecdsa", "py", "", f"py-libp2p {_NO_ECDSA}"),
    Known(
        "client-mode",
        "py",
        "ours",
        "py-libp2p takes whoever asks it into its table, though a client does not list the protocol",
    ),
)
