"""Where offers say that the content port is."""

from __future__ import annotations

import pytest

from fastmarket.config import ContentConfig
from fastmarket.content.address import ContentPlace, check_url, content_place
from fastmarket.errors import CallerFault
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.offers.model.metadata import Way

ANNOUNCED = [
    Multiaddr.from_text(text)
    for text in (
        "/ip4/127.0.0.1/tcp/1",
        "/ip6/2001:4860::8/tcp/1",
        "/ip4/8.8.4.4/tcp/1",
        "/ip4/10.0.0.1/tcp/1",
    )
]


@pytest.mark.parametrize(
    ("config", "announced", "wanted"),
    [
        (ContentConfig(), ANNOUNCED, ContentPlace("127.0.0.1", 99, Way.HTTP)),
        (ContentConfig(host="192.0.2.1", cert="c"), [], ContentPlace("192.0.2.1", 99, Way.HTTPS)),
        (ContentConfig(host="0.0.0.0"), ANNOUNCED, ContentPlace("8.8.4.4", 99, Way.HTTP)),
        (ContentConfig(host="::"), ANNOUNCED[:2], ContentPlace("2001:4860::8", 99, Way.HTTP)),
        (ContentConfig(host="::"), [], ContentPlace("::1", 99, Way.HTTP)),
        (
            ContentConfig(url="https://shop.example/"),
            ANNOUNCED,
            ContentPlace("shop.example", 443, Way.HTTPS),
        ),
        (
            ContentConfig(url="http://shop.example:81/a/"),
            [],
            ContentPlace("shop.example", 81, Way.HTTP, "http://shop.example:81/a"),
        ),
    ],
)
def test_the_place_of_the_content_port(
    config: ContentConfig, announced: list[Multiaddr], wanted: ContentPlace
) -> None:
    assert content_place(config, 99, announced) == wanted


def test_the_url_before_a_cid() -> None:
    assert ContentPlace("::1", 99, Way.HTTPS).base_url == "https://[::1]:99"
    assert ContentPlace("a.example", 80, Way.HTTP, "http://a.example/b").base_url == "http://a.example/b"


@pytest.mark.parametrize(
    "url", ["ftp://a", "http://", "http://u:p@a", "http://a?b", "http://a:0", "http://[", "http://a_b.c!"]
)
def test_a_url_that_no_buyer_could_use(url: str) -> None:
    with pytest.raises(CallerFault, match="content-url"):
        check_url(url)
