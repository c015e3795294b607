"""What a connection needs of its protocol: bytes in, pieces out."""

from __future__ import annotations

from typing import Protocol

from fastmarket.content.port.pieces import FileSlice, Piece


def not_held() -> None:
    """Wakes nothing: for a speaker whose desk holds no request back."""


class Speaker(Protocol):
    """HTTP/1.1 or HTTP/2 on one connection, without I/O."""

    @property
    def is_busy(self) -> bool:
        """Whether an answer is under way, or a request waits for one."""

    @property
    def is_closing(self) -> bool:
        """Whether the connection ends once everything is sent."""

    @property
    def in_request(self) -> bool:
        """Whether a part of a request has come, and not the rest."""

    @property
    def wants_input(self) -> bool:
        """Whether more may be read now."""

    @property
    def answered(self) -> int:
        """Answers completed."""

    @property
    def cold(self) -> FileSlice | None:
        """What has to be read from the disk before anything more can be sent."""

    def note_read(self) -> None:
        """It was."""

    def receive(self, data: bytes) -> None:
        """Takes what came. A stranger's bytes raise nothing; what is wrong ends the connection."""

    def receive_end(self) -> None:
        """The other side sends nothing more."""

    def next_piece(self) -> Piece | None:
        """What to send next; empty: ask again; None: nothing now. Raises AnswerCut or FileMoved: the
        connection has to be aborted."""

    def finish(self) -> None:
        """Answers what has come, and then closes."""

    def drop(self, unsent: int = 0) -> None:
        """The connection is gone; what was under way was not answered. `unsent`: bytes of `next_piece` that
        were not sent."""
