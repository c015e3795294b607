"""What a block costs: as a part of the content that a buyer names, or of the cheapest good that has it."""

from __future__ import annotations

from fastmarket.bounded_map import BoundedMap
from fastmarket.content.catalogue import Catalogue
from fastmarket.content.goods import GoodState
from fastmarket.content.index import DIGEST_BYTES
from fastmarket.formats.cid import SHA2_256_PREFIX

KNOWN_OWNERS = 4096  # files and directories whose prices are known; 1 MB
MAX_PRICES = 64
"""Goods that one file is in, of which the prices are looked at; the cheapest ones."""

_OF_FILE = """
SELECT goods.digest, orders.price FROM members JOIN goods ON goods.id = members.good
JOIN orders ON orders.id = goods.ordered
WHERE members.file = ? AND goods.state = ? ORDER BY orders.price LIMIT ?
"""
_OF_DIRECTORY = """
SELECT goods.digest, orders.price FROM goods JOIN orders ON orders.id = goods.ordered
WHERE goods.id = ? AND goods.state = ? ORDER BY orders.price LIMIT ?
"""


class GoodPrices:
    """Prices of blocks; in the event loop, as a `BlockSource`."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._known: BoundedMap[int, tuple[tuple[bytes, int], ...]] = BoundedMap(KNOWN_OWNERS)
        self._generation = -1

    def find(self, block: bytes, content: bytes | None) -> tuple[bytes, int] | None:
        """The content (multihash) that a block is sold as a part of, and its price per MB: `content` itself
        if it is one of them, else the cheapest; always one that costs nothing, if there is one. None: the
        block is in no good. Raises NodeFault."""
        catalogue = self._catalogue
        if not catalogue.index.may_have(block):
            return None
        if self._generation != catalogue.ledger.generation:
            self._generation = catalogue.ledger.generation
            self._known.clear()
        owners = catalogue.places(block[-DIGEST_BYTES:])
        prices = [price for owner, _ in owners for price in self._of(owner)]
        if not prices:
            return None
        cheapest = min(prices, key=lambda one: one[1])
        if cheapest[1] and content is not None:
            return min((one for one in prices if one[0] == content), key=lambda one: one[1], default=cheapest)
        return cheapest

    def _of(self, owner: int) -> tuple[tuple[bytes, int], ...]:
        known = self._known.peek(owner)
        if known is None:
            query, number = (_OF_FILE, owner) if owner > 0 else (_OF_DIRECTORY, -owner)
            rows = self._catalogue.database.rows(query, (number, GoodState.SELLING, MAX_PRICES))
            known = tuple((SHA2_256_PREFIX + digest, price) for digest, price in rows)
            self._known.put(owner, known)
        return known
