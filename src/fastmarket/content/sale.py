"""What is told while files are put up for sale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from fastmarket.errors import FastmarketError
from fastmarket.kad.outcome import Outcome


@dataclass(frozen=True, slots=True)
class SaleProgress:
    """Bytes imported so far and to import, of all paths of a call, and the path at hand."""

    done: int
    total: int
    path: str


@dataclass(frozen=True, slots=True)
class Sale:
    """The end of putting one content up for sale.

    `cid` is empty if it is not sold, for the reason `fault`. With a `cid`, it is served, `outcome` counts who
    has the offer, and a `fault` says that the offer will be announced again.
    """

    path: str
    cid: str = ""
    size: int = 0
    outcome: Outcome | None = None
    fault: FastmarketError | None = None


SaleEvent: TypeAlias = SaleProgress | Sale
