"""The address block of a peer, by which tables and lookups are kept diverse."""

from __future__ import annotations

import pytest

from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.scope import ip_group, source_block

PEER = PeerId(b"\x12\x20" + bytes(32))


@pytest.mark.parametrize(
    ("addrs", "group"),
    [
        ((), None),
        (("/ip4/127.0.0.1/tcp/1",), None),
        (("/ip4/192.168.1.2/tcp/1", "/ip4/10.0.0.1/tcp/1"), None),
        (("/ip6/fe80::1/tcp/1", "/dns4/example.org/tcp/1"), None),
        (("/ip4/8.8.4.4/tcp/1",), b"\x08\x08"),
        (("/ip4/10.0.0.1/tcp/1", "/ip4/9.9.9.9/tcp/1", "/ip4/8.8.4.4/tcp/1"), b"\x09\x09"),
        (("/ip6/2606:4700:4700::1111/tcp/1",), bytes.fromhex("26064700")),
    ],
)
def test_group(addrs: tuple[str, ...], group: bytes | None) -> None:
    peer = PeerInfo(PEER, tuple(Multiaddr.from_text(addr) for addr in addrs))
    assert ip_group(peer) == group


@pytest.mark.parametrize(
    ("remote", "block"),
    [
        ("/ip4/8.8.4.4/tcp/1", b"\x08\x08"),
        ("/ip4/8.8.200.1/tcp/2", b"\x08\x08"),
        ("/ip4/8.9.4.4/tcp/1", b"\x08\x09"),
        ("/ip6/2a00:1450:4001::1/tcp/1", b"\x2a\x00\x14\x50"),
        ("/ip6/::ffff:8.8.4.4/tcp/1", b"\x08\x08"),
        ("/ip4/127.0.0.1/tcp/1", None),
        ("/ip4/10.1.2.3/tcp/1", None),
        ("/ip4/192.168.1.2/tcp/1", None),
        ("/ip4/100.64.1.2/tcp/1", None),
        ("/ip6/::1/tcp/1", None),
        ("/ip6/fe80::1/tcp/1", None),
        ("/ip6/fd00::1/tcp/1", None),
        ("/dns4/example.org/tcp/1", None),
    ],
)
def test_the_block_that_somebody_connects_from(remote: str, block: bytes | None) -> None:
    assert source_block(Multiaddr.from_text(remote)) == block
    assert source_block(None) is None
