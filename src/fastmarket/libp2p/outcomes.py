"""What becomes of a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from fastmarket.formats.choice import FailureKind


# Not frozen: one of these is made for each request, and a frozen one takes three times as long to make.
@dataclass(slots=True)
class Reply:
    """`payload` is the unframed reply in `protocol`; empty for a request that expects none, once written."""

    request_id: int
    protocol: str
    payload: bytes
    late: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """No reply, because of `kind`. `unsent`: no byte of it left, so it may go over another connection."""

    request_id: int
    kind: FailureKind
    unsent: bool = False


RequestResult: TypeAlias = Reply | Failed
