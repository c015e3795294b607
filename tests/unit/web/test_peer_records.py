"""Which records an answer holds, and in which order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.net.gateways import BITSWAP_TRANSFER, OFFER_TRANSFER
from fastmarket.net.public_routing import FoundPeer, FoundPeers
from fastmarket.web.filters import Filters
from fastmarket.web.peer_records import Limits, best_first, in_order

TCP = Multiaddr.from_text("/ip4/192.0.2.1/tcp/4001")
EVERY = Filters()
AMPLE = Limits(4096, 1000 * 1024)
Order = Callable[[FoundPeers, Filters, Limits], AsyncGenerator[bytes, None]]


def peer_id(number: int) -> PeerId:
    return PeerId.from_bytes(b"\x12\x20" + number.to_bytes(32, "big"))


def found(number: int, addrs: Sequence[Multiaddr] = (TCP,), **more: object) -> FoundPeer:
    return FoundPeer(PeerInfo(peer_id(number), tuple(addrs)), **more)  # type: ignore[arg-type]


def told(
    order: Order, peers: Sequence[FoundPeer], filters: Filters = EVERY, limits: Limits = AMPLE
) -> list[bytes]:
    async def come() -> FoundPeers:
        for peer in peers:
            yield peer

    async def main() -> list[bytes]:
        return [line async for line in order(come(), filters, limits)]

    return asyncio.run(main())


def ids(lines: Sequence[bytes]) -> list[str]:
    return [json.loads(line)["ID"] for line in lines]


def texts(*numbers: int) -> list[str]:
    return [str(peer_id(number)) for number in numbers]


def test_a_record_is_whole() -> None:
    (line,) = told(best_first, [found(1, transfers=(BITSWAP_TRANSFER,))])
    assert json.loads(line) == {
        "Schema": "peer",
        "ID": str(peer_id(1)),
        "Addrs": [str(TCP)],
        "Protocols": ["transport-bitswap"],
    }


def test_who_was_seen_comes_before_hearsay_and_that_before_bare_ids() -> None:
    few = Limits(6, AMPLE.bytes)
    peers = [found(1, ()), *(found(n) for n in range(2, 9)), found(9, connected=True)]
    assert ids(told(best_first, peers, limits=few)) == texts(2, 3, 4, 9, 5, 6)
    assert ids(told(best_first, peers)) == texts(2, 3, 4, 5, 6, 7, 8, 9, 1)


def test_made_up_peers_leave_room_for_those_that_are_there() -> None:
    flood = [found(n) for n in range(5000)]
    lines = told(best_first, [*flood, found(9999, transfers=(BITSWAP_TRANSFER,))])
    assert texts(9999)[0] in ids(lines)


def test_a_peer_is_told_once_with_the_addresses_that_came_later() -> None:
    lines = told(best_first, [found(1, ()), found(2), found(1), found(1), found(2, ())])
    assert ids(lines) == texts(2, 1)
    assert json.loads(lines[1])["Addrs"] == [str(TCP)]


def test_the_closest_keep_their_order() -> None:
    assert ids(told(in_order, [found(3, ()), found(1), found(2, connected=True)])) == texts(3, 1, 2)


def test_holders_of_offers_are_told_only_when_they_are_asked_for() -> None:
    peers = [found(1), found(2, transfers=(OFFER_TRANSFER,), connected=True)]
    for protocols, expected in (
        ("", texts(1)),
        ("unknown,transport-bitswap", texts(1)),
        ("fastmarket-offer", texts(2)),
    ):
        assert ids(told(best_first, peers, Filters.parse("", protocols, 1024))) == expected


@pytest.mark.parametrize(
    "text", ["/unix/run", "/memory/7", "/ip4/192.0.2.1/tcp/1/plaintextv2", "/ip6zone/eth0/ip6/fe80::1/tcp/1"]
)
def test_addresses_that_some_clients_cannot_parse_are_left_out(text: str) -> None:
    (line,) = told(best_first, [found(1, (TCP, Multiaddr.from_text(text)))])
    assert json.loads(line)["Addrs"] == [str(TCP)]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 8), st.booleans()), max_size=40),
    st.integers(0, 12),
    st.integers(0, 4000),
)
def test_no_answer_has_more_than_its_limits(
    peers: list[tuple[int, int, bool]], count: int, size: int
) -> None:
    made = [found(n, (TCP,) * addrs, connected=there) for n, addrs, there in peers]
    for order in (best_first, in_order):
        lines = told(order, made, limits=Limits(count, size))
        assert len(lines) <= count
        assert sum(len(line) + 1 for line in lines) <= size
    assert (
        len(set(ids(told(best_first, made)))) == len(told(best_first, made)) == len({n for n, _, _ in peers})
    )
