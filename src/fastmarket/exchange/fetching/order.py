"""What a caller wants fetched, and what it is told while that happens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from fastmarket.formats.cid import Cid


@dataclass(frozen=True, slots=True)
class FetchOrder:
    """One file, or some bytes of it.

    `path`: names below `root`. `max_price`: holders that ask more per MB are left out; `max_cost`: of the
    whole, in whole units. `first`: the first byte wanted, negative: so many before the end; `last`:
    inclusive, None is the end of the file. `output`: the file to write, of whose owner `proof` is known
    (`fastmarket.part_files`); empty: the bytes are told in order. `plan_only`: nothing is fetched but what
    tells the size.
    """

    root: Cid
    path: tuple[str, ...] = ()
    max_price: int | None = None
    max_cost: int | None = None
    first: int = 0
    last: int | None = None
    output: str = ""
    proof: bytes = field(default=b"", repr=False)
    plan_only: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether all bytes of the file are wanted."""
        return self.first == 0 and self.last is None


@dataclass(frozen=True, slots=True)
class HolderShare:
    """One holder's part in a fetch.

    `provider`: its peer id as text, "" without one; `name`: under which it sells, not verified; `source`: an
    URL, or "bitswap". `price` per MB. `bytes`: verified ones that came from it, `rate`: of them per second,
    lately, and what they `cost`. `ended`: why it is no longer asked; "" while it is.
    """

    provider: str
    source: str
    price: int
    bytes: int = 0
    rate: float = 0.0
    cost: int = 0
    ended: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """What it will be, with the holders known so far: `most_cost` if all of it comes from the dearest.

    `cid`: of the file itself; `size`: its bytes; `wanted`: those that were ordered.
    """

    cid: str
    size: int
    wanted: int
    most_cost: int
    holders: tuple[HolderShare, ...]


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """`done` of `wanted` bytes are verified, those of an earlier call included."""

    done: int
    wanted: int
    holders: tuple[HolderShare, ...]


@dataclass(frozen=True, slots=True)
class FetchSummary:
    """All is there. `bytes`: those wanted; `fetched`: by this call, at `cost`; `took_s`: of it."""

    cid: str
    bytes: int
    fetched: int
    cost: int
    took_s: float
    holders: tuple[HolderShare, ...]


FetchReport: TypeAlias = "FetchPlan | FetchProgress | bytes | FetchSummary"
"""`bytes`: the next ones, in order."""
