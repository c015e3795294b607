"""IPIP-484, case by case."""

from __future__ import annotations

import pytest

from fastmarket.errors import CallerFault
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.web.filters import Filters

TCP4 = "/ip4/192.0.2.1/tcp/4001"
TCP6 = "/ip6/2001:db8::1/tcp/4001"
QUIC = "/ip4/192.0.2.1/udp/4001/quic-v1"


@pytest.mark.parametrize(
    ("text", "addrs", "passing"),
    [
        ("", [TCP4, QUIC], [TCP4, QUIC]),
        ("", [], []),
        ("quic-v1", [TCP4, QUIC], [QUIC]),
        ("QUIC-V1, tcp", [TCP4, QUIC], [TCP4, QUIC]),
        ("!ip6", [TCP4, TCP6], [TCP4]),
        ("tcp,!ip6", [TCP4, TCP6, QUIC], [TCP4]),
        ("!ip6,!quic-v1", [TCP6, QUIC], None),
        ("webrtc-direct", [TCP4], None),
        ("tcp", [], None),
        ("unknown", [], []),
        ("unknown", [TCP4], None),
        ("unknown,tcp", [], []),
    ],
)
def test_addresses(text: str, addrs: list[str], passing: list[str] | None) -> None:
    found = Filters.parse(text, "", 1024).addrs(Multiaddr.from_text(addr) for addr in addrs)
    assert (None if found is None else [str(addr) for addr in found]) == passing


@pytest.mark.parametrize(
    ("text", "passing"),
    [
        ("", {(), ("transport-bitswap",)}),
        ("unknown", {()}),
        ("transport-bitswap,Unknown", {(), ("transport-bitswap",)}),
        ("Transport-Bitswap", {("transport-bitswap",)}),
        ("transport-ipfs-gateway-http", set()),
        ("fastmarket-offer", {("fastmarket-offer",)}),
        ("unknown,transport-bitswap,transport-ipfs-gateway-http", {(), ("transport-bitswap",)}),
    ],
)
def test_transfer_protocols(text: str, passing: set[tuple[str, ...]]) -> None:
    """Holders of offers are for those alone who name them."""
    filters = Filters.parse("", text, 1024)
    every: list[tuple[str, ...]] = [(), ("transport-bitswap",), ("fastmarket-offer",)]
    assert {transfers for transfers in every if filters.lets(transfers)} == passing
    assert filters.lets_any(["transport-bitswap", "fastmarket-offer", "unknown"]) is bool(passing)


@pytest.mark.parametrize(("addrs", "protocols"), [("a" * 64, ""), ("", "b" * 64), ("a," * 600, "")])
def test_filters_out_of_bounds(addrs: str, protocols: str) -> None:
    with pytest.raises(CallerFault, match="filter-"):
        Filters.parse(addrs, protocols, 1024)
