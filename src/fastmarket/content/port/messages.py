"""A request of the gateway and the answer to it, of either version of HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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


@dataclass(slots=True)
class GatewayAnswer:
    """`body`: what follows the headers, None for nothing; `length`: its bytes, or what they would be of an
    answer to HEAD, None if that is not known before the end. `headers` come without those of all answers."""

    status: int
    headers: list[Header] = field(default_factory=list)
    body: Pieces | None = None
    length: int | None = 0


class RequestRefused(PeerFault):
    """A request that is answered with an error; `reason` is the answer's text."""

    def __init__(self, status: int, reason: str, headers: tuple[Header, ...] = ()) -> None:
        super().__init__(reason, protocol="http")
        self.status = status
        self.headers = headers
