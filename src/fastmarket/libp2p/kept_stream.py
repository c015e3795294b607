"""A request in progress, and the kept stream that carries it."""

from __future__ import annotations

from fastmarket.formats.choice import Choice
from fastmarket.formats.varint import FrameDecoder


class Request:
    """One request, from `request` to its outcome."""

    __slots__ = ("choices", "deadline", "done", "kept", "request_id", "retried", "timed_out")

    def __init__(self, request_id: int, choices: tuple[Choice, ...], deadline: float) -> None:
        self.request_id = request_id
        self.choices = choices
        self.deadline = deadline
        self.kept: KeptStream | None = None
        self.retried = False
        self.timed_out = False
        self.done = False


class KeptStream:
    """One stream of ours and the request on it, if any."""

    __slots__ = (
        "decoder",
        "guessed",
        "leaving",
        "proposed",
        "protocol",
        "request",
        "reused",
        "since",
        "slot",
        "stream_id",
    )

    def __init__(self, stream_id: int, limit: int, proposed: Choice) -> None:
        self.stream_id = stream_id
        self.proposed = proposed
        # The protocol whose limit it counts against; None once it does not.
        self.slot: str | None = proposed.protocol
        self.protocol: str | None = None  # agreed, or assumed to be
        self.request: Request | None = None
        self.guessed = False  # assumed before it was known that the peer supports it
        self.leaving = False  # half-closed by us; further input is dropped
        self.decoder = FrameDecoder(limit)
        self.reused = False
        self.since = 0.0  # when it became idle or was half-closed
