"""A request of the gateway and the answer to it, of either version of HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fastmarket.content.port.pieces import Pieces
from fastmarket.errors import PeerFault

Header = tuple[str, str]

KEPT_HEADERS = frozenset(
    {
        *("accept", "cache-control", "content-length", "if-none-match", "if-range", "range"),
        *("transfer-encoding", "user-agent", "payment-signature"),
    }
)
"""The headers of a request that the gateway looks at, in lower case; others are not kept."""


class PaidRequest:
    """What was found of a payment that came with a request (`cashier`)."""

    __slots__ = ()


@dataclass(slots=True)
class GatewayRequest:
    """`target` is the path with its query, `headers` those of KEPT_HEADERS; `address`: whose it is, or of
    what block; `paid`: of the payment that came with it, once it was looked at."""

    method: str
    target: str
    headers: Mapping[str, str]
    address: str = ""
    paid: PaidRequest | None = None


class AnswerCharge(Protocol):
    """What an answer costs who asked."""

    def take_back(self, unsent: int, length: int) -> None:
        """So many bytes of its body, of `length`, were not sent."""


@dataclass(slots=True)
class GatewayAnswer:
    """`body`: what follows the headers, None for nothing; `length`: its bytes, or what they would be of an
    answer to HEAD, None if that is not known before the end. `headers` come without those of all answers.
    `charge`: None if it costs nothing, or its `length` is not known."""

    status: int
    headers: list[Header] = field(default_factory=list)
    body: Pieces | None = None
    length: int | None = 0
    charge: AnswerCharge | None = None


class BodyMeter:
    """How much of a body has not left: what is taken from it has, unless it is told otherwise."""

    __slots__ = ("_charge", "_left", "_length")

    def __init__(self, answer: GatewayAnswer) -> None:
        self._charge = answer.charge
        self._left = self._length = answer.length or 0

    def take(self, count: int) -> None:
        """So many bytes of it are on their way."""
        self._left -= count

    def end(self, unsent: int = 0) -> None:
        """Nothing more of it is sent, nor were `unsent` bytes that are on their way."""
        left = min(self._left + unsent, self._length)
        if left and self._charge is not None:
            self._charge.take_back(left, self._length)
        self._charge = None


class RequestRefused(PeerFault):
    """A request that is answered with an error; `reason` is the answer's text."""

    def __init__(self, status: int, reason: str, headers: tuple[Header, ...] = ()) -> None:
        super().__init__(reason, protocol="http")
        self.status = status
        self.headers = headers
