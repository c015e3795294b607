"""Values of the wire and of callers: addresses, content ids, peer ids, keys, envelopes."""

from __future__ import annotations

from fastmarket.errors import PeerFault
from fastmarket.formats.multiaddr import Multiaddr
from tests.fuzz.target import Shape, Target, round_trips
from tests.fuzz.values import ADDRS


def multiaddr_bytes(data: bytes) -> object:
    addr = Multiaddr.from_bytes(data)
    addr.parts, addr.host_port(), addr.without_peer(), addr.plain_ip4()
    return round_trips(addr, lambda value: Multiaddr.from_text(str(value)))


TARGETS: tuple[Target, ...] = (
    Target(
        "multiaddr-bytes",
        "fastmarket.formats.multiaddr.Multiaddr.from_bytes",
        lambda: [addr.raw for addr in ADDRS],
        multiaddr_bytes,
        (PeerFault,),
        Shape.BYTES,
        first=True,
    ),
)
