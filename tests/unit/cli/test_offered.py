"""What the node offers in the user's name, beside what the list on disk says."""

from __future__ import annotations

import pytest

from fastmarket.cli.offered import Offered, Terms
from fastmarket.formats.cid import Cid, Codec, new_cidv0
from fastmarket.market.client_values import Holder, OwnOffer

CID = str(new_cidv0(b"x"))
TERMS = Terms(3, "192.0.2.1", 4001, "Ann")
NOW = 1_700_000_000.0


def holder(**changes: object) -> Holder:
    fields = {"price": 3, "ip": "192.0.2.1", "port": 4001, "name": "Ann", "not_after": int(NOW) + 1} | changes
    return Holder(id=b"me", **fields)  # type: ignore[arg-type]


def offered(terms: Terms, *offers: OwnOffer) -> Offered:
    found = Offered(terms)
    for offer in offers:
        found.take(offer, NOW)
    return found


@pytest.mark.parametrize(
    ("changes", "stands"),
    [
        ({}, True),
        ({"file_name": "another", "size": 7}, True),
        ({"not_after": None}, True),
        ({"not_after": int(NOW)}, False),
        ({"price": 4}, False),
        ({"ip": "192.0.2.2"}, False),
        ({"port": 1}, False),
        ({"name": "Bob"}, False),
    ],
)
def test_an_offer_stands_while_it_lives_and_says_the_same(changes: dict[str, object], stands: bool) -> None:
    assert (CID in offered(TERMS, OwnOffer(CID, holder(**changes)))) is stands


def test_a_content_is_one_by_all_its_names() -> None:
    multihash = new_cidv0(b"x").multihash
    for name in (
        CID,
        str(Cid(1, Codec.DAG_PB, multihash)),
        str(Cid(1, Codec.RAW, multihash)),
        multihash.hex(),
    ):
        assert CID in offered(TERMS, OwnOffer(name, holder()))
    assert CID not in offered(TERMS, OwnOffer(str(new_cidv0(b"y")), holder()))
    assert CID not in offered(TERMS)


def test_an_address_is_one_by_all_its_forms() -> None:
    terms = TERMS._replace(ip="2001:DB8:0::1")
    assert CID in offered(terms, OwnOffer(CID, holder(ip="2001:db8::1")))
    assert CID in offered(TERMS._replace(ip="host.example"), OwnOffer(CID, holder(ip="host.example")))
