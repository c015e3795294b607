"""At which address a router may forward to the content port, and what offers then say."""

from __future__ import annotations

import pytest

from fastmarket.config import ContentConfig
from fastmarket.content.address import content_place, open_address
from fastmarket.formats.multiaddr import Multiaddr

ANNOUNCED = (Multiaddr.from_text("/ip4/192.168.1.2/tcp/4001"),)


@pytest.mark.parametrize(
    ("config", "address"),
    [
        (ContentConfig(), None),
        (ContentConfig(host="::1"), None),
        (ContentConfig(host="0.0.0.0"), "0.0.0.0"),
        (ContentConfig(host="::"), "::"),
        (ContentConfig(host="192.168.1.2"), "192.168.1.2"),
        (ContentConfig(host="seller.example"), None),
        (ContentConfig(host="0.0.0.0", url="https://seller.example"), None),
    ],
)
def test_where_others_can_connect(config: ContentConfig, address: str | None) -> None:
    found = open_address(config)
    assert (None if found is None else str(found)) == address


def test_offers_name_what_the_router_forwards_unless_the_operator_says_otherwise() -> None:
    forwarded = ("11.22.33.44", 20001)
    here = content_place(ContentConfig(host="0.0.0.0"), 8080, ANNOUNCED)
    assert here.base_url == "http://192.168.1.2:8080"
    there = content_place(ContentConfig(host="0.0.0.0"), 8080, ANNOUNCED, forwarded)
    assert there.base_url == "http://11.22.33.44:20001"
    named = ContentConfig(host="0.0.0.0", url="https://seller.example")
    assert content_place(named, 8080, ANNOUNCED, forwarded).base_url == "https://seller.example:443"
