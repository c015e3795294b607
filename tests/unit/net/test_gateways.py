"""Offers in the terms of Delegated Routing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.net.gateways import gateway_addr, gateway_url, transfers_of
from fastmarket.offers.model.metadata import FileMetadata, Way
from fastmarket.offers.model.offer import Offer, OfferTerms, sign_offer
from tests.virtual import CONTENT, identity

HOLDER = identity(1)


def offer(ip: str = "192.0.2.7", *, price: int = 0, ways: int = 0, url: str = "") -> Offer:
    metadata = FileMetadata(ip, 8081, price, ways=ways, url=url)
    return sign_offer(HOLDER, OfferTerms(CONTENT, b"u", "n", metadata), 1.0)


@pytest.mark.parametrize(
    ("made", "url", "addr"),
    [
        (offer(), "", None),
        (offer(ways=Way.BITSWAP), "", None),
        (offer(ways=Way.HTTP), "http://192.0.2.7:8081", "/ip4/192.0.2.7/tcp/8081/http"),
        (offer(ways=Way.HTTPS | Way.HTTP), "https://192.0.2.7:8081", "/ip4/192.0.2.7/tcp/8081/tls/http"),
        (offer("2001:db8::1", ways=Way.HTTP), "http://[2001:db8::1]:8081", "/ip6/2001:db8::1/tcp/8081/http"),
        (offer("a.example", ways=Way.HTTPS), "https://a.example:8081", "/dns/a.example/tcp/8081/tls/http"),
        (
            offer(ways=Way.HTTPS, url="https://shop.example/"),
            "https://shop.example",
            "/dns/shop.example/tcp/443/tls/http",
        ),
        (offer(ways=Way.HTTPS, url="https://shop.example/files"), "https://shop.example/files", None),
        *((offer(ways=Way.HTTP, url=bad), "", None) for bad in ("ftp://a.example", "http://", "/files", "x")),
        *(
            (offer(ways=1, url=bad), "", None)
            for bad in ("http://u@a.example", "http://a.example:0", "http://[")
        ),
        (offer(ways=Way.HTTP, url="http://a.example:99999"), "", None),
    ],
)
def test_where_a_content_is_served(made: Offer, url: str, addr: str | None) -> None:
    assert gateway_url(made) == url
    found = gateway_addr(made)
    assert (None if found is None else str(found)) == addr


@given(st.text(max_size=60), st.integers(0, 2**64 - 1))
def test_no_url_of_a_stranger_raises(text: str, ways: int) -> None:
    url = "".join(character for character in text if character.isprintable())
    for made in ("http://" + url, "https://" + url, url):
        try:
            one = offer(ways=ways, url=made)
        except ValueError:
            continue
        gateway_addr(one)


def test_bitswap_is_told_of_what_is_free() -> None:
    both = Way.HTTP | Way.BITSWAP
    assert transfers_of([offer()]) == ("fastmarket-offer",)
    free = ("fastmarket-offer", "transport-ipfs-gateway-http", "transport-bitswap")
    assert transfers_of([offer(ways=both)]) == free
    assert transfers_of([offer(ways=both, price=3)]) == free[:2]
    assert transfers_of([offer(ways=both, price=3), offer(ways=Way.BITSWAP)]) == free
