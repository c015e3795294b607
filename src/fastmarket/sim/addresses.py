"""The addresses of nodes: public ones, in blocks as networks and hosters have them.

Code that works by address block (`formats.scope.ip_group`) must meet the same distribution in the simulator
as outside: most peers are alone in their block, some hosters have many.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from fastmarket.formats.multiaddr import Multiaddr

_TCP_PORT = b"\x06\x42\x03"  # /tcp/16899
_NOT_PUBLIC = frozenset({10, 100, 127, 169, 172, 192, 198, 203})  # first bytes with special blocks among them
_FIRST_BYTES = [byte for byte in range(1, 224) if byte not in _NOT_PUBLIC]


@dataclass(frozen=True, slots=True)
class Holders:
    """Networks (autonomous systems) of one size."""

    share: float  # of all nodes
    blocks: int  # /16 blocks they hold in total


# Shares: two networks hold over 30 % of the addresses of the public IPFS network, ten 64.9 %, a hundred
# 90.6 %, and 2,715 all of them (Trautwein et al., SIGCOMM 2022, section 5). The number of blocks is an
# estimate: no published figure of peers per /16 was found. In that paper 92.3 % of the addresses host one
# peer; here all do.
HOLDERS = (
    Holders(0.30, 3000),
    Holders(0.349, 2400),
    Holders(0.257, 2700),
    Holders(0.094, 2615),
)


def tcp_addr(ip4: bytes) -> Multiaddr:
    """A listen address."""
    return Multiaddr(b"\x04" + ip4 + _TCP_PORT)


class AddressPlan:
    """The blocks of the public internet and their holders; draws addresses. No block has two holders."""

    def __init__(self, random: Random) -> None:
        self._random = random
        blocks = [bytes((first, second)) for first in _FIRST_BYTES for second in range(256)]
        random.shuffle(blocks)
        self._unheld = blocks
        self._held = [[blocks.pop() for _ in range(holders.blocks)] for holders in HOLDERS]
        self._shares = [holders.share for holders in HOLDERS]

    def draw(self) -> bytes:
        """The address of another node."""
        (blocks,) = self._random.choices(self._held, self._shares)
        return self.within(self._random.choice(blocks))

    def rent(self) -> bytes:
        """A block without any other node."""
        return self._unheld.pop()

    def within(self, block: bytes) -> bytes:
        """An address in a block."""
        return block + self._random.randbytes(2)
