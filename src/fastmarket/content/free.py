"""What may be given away: blocks of goods whose price is 0."""

from __future__ import annotations

from fastmarket.bounded_map import BoundedMap
from fastmarket.content.catalogue import Catalogue
from fastmarket.content.goods import GoodState
from fastmarket.content.index import DIGEST_BYTES
from fastmarket.errors import NodeFault

KNOWN_OWNERS = 4096  # files and directories of which it is known whether they are free; 0.5 MB
_OF_FILE = """
SELECT 1 FROM members JOIN goods ON goods.id = members.good JOIN orders ON orders.id = goods.ordered
WHERE members.file = ? AND goods.state = ? AND orders.price = 0 LIMIT 1
"""
_OF_DIRECTORY = """
SELECT 1 FROM goods JOIN orders ON orders.id = goods.ordered
WHERE goods.id = ? AND goods.state = ? AND orders.price = 0 LIMIT 1
"""


class FreeGoods:
    """Says of blocks whether they are free; in the event loop, as a `BlockSource`."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._free: BoundedMap[int, bool] = BoundedMap(KNOWN_OWNERS)
        self._generation = -1

    def is_free(self, multihash: bytes) -> bool:
        """Whether a good with this block is sold for nothing."""
        catalogue = self._catalogue
        if not catalogue.index.may_have(multihash):
            return False
        if self._generation != catalogue.ledger.generation:
            self._generation = catalogue.ledger.generation
            self._free.clear()
        try:
            owners = catalogue.places(multihash[-DIGEST_BYTES:])
            return any(self._is_free(owner) for owner, _ in owners)
        except NodeFault:
            return False  # the catalogue tells of it when the block is read

    def _is_free(self, owner: int) -> bool:
        known = self._free.peek(owner)
        if known is None:
            query, number = (_OF_FILE, owner) if owner > 0 else (_OF_DIRECTORY, -owner)
            known = bool(self._catalogue.database.rows(query, (number, GoodState.SELLING)))
            self._free.put(owner, known)
        return known
