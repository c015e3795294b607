"""A peer and its addresses."""

from __future__ import annotations

from typing import Final, NoReturn

from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr

UNKNOWN_BLOCK: Final = b"?"  # shorter than any address block


class PeerInfo:
    """`addrs` in the order in which they were learned; they may or may not end in the peer's own /p2p part.

    Immutable, compared by both. `block` caches the result of `formats.scope.ip_group`, which every lookup
    that sees the peer needs.
    """

    __slots__ = ("addrs", "block", "peer_id")

    peer_id: PeerId
    addrs: tuple[Multiaddr, ...]
    block: bytes | None

    def __init__(self, peer_id: PeerId, addrs: tuple[Multiaddr, ...] = ()) -> None:
        object.__setattr__(self, "peer_id", peer_id)
        object.__setattr__(self, "addrs", addrs)
        object.__setattr__(self, "block", UNKNOWN_BLOCK)

    def keep_block(self, block: bytes | None) -> None:
        """Caches its address block."""
        object.__setattr__(self, "block", block)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, PeerInfo) and self.peer_id == other.peer_id and self.addrs == other.addrs

    def __hash__(self) -> int:
        return hash((self.peer_id, self.addrs))

    def __repr__(self) -> str:
        return f"PeerInfo(peer_id={self.peer_id!r}, addrs={self.addrs!r})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"PeerInfo is immutable: {name}")

    def __reduce__(self) -> tuple[type[PeerInfo], tuple[PeerId, tuple[Multiaddr, ...]]]:
        return PeerInfo, (self.peer_id, self.addrs)
