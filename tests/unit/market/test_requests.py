"""Bad requests name the field as the service calls it; odd but honest ones are taken."""

from __future__ import annotations

from hashlib import sha256

import pytest

from fastmarket.errors import CallerFault
from fastmarket.market.requests import market_content, market_terms, v1_content, v1_terms
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.pb import market_pb2
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1
from tests.virtual import identity

NODE = identity(1).peer_id
HASH = "ab" * 32
USER = {"id": b"me", "name": "Ann", "ip": "localhost2", "port": 4000, "price": 3}
V1 = {"content": HASH, "user_id": b"me", "user_name": "Ann", "ip": "::1", "port": 4000, "price": 3}


def market_request(file_hash: str = HASH, **changes: object) -> market_pb2.RegisterFileRequest:
    user = market_pb2.User(**{**USER, **changes})  # type: ignore[arg-type]
    return market_pb2.RegisterFileRequest(user=user, fileHash=file_hash)


def test_a_good_request() -> None:
    terms = market_terms(market_request(), NODE)
    assert terms.content == b"\x12\x20" + bytes.fromhex(HASH)
    assert (terms.user_id, terms.user_name) == (b"me", "Ann")
    assert terms.metadata == FileMetadata("localhost2", 4000, 3)
    request = v1.RegisterFileRequest(**{**V1, "size": 0, "file_name": ""})  # type: ignore[arg-type]
    assert v1_terms(request, NODE).metadata == FileMetadata("::1", 4000, 3, 0, "")
    assert v1_terms(v1.RegisterFileRequest(**V1), NODE).metadata.size is None  # type: ignore[arg-type]


def test_any_text_names_a_content() -> None:
    assert market_content("some words") == b"\x12\x20" + sha256(b"some words").digest()
    assert v1_content("x" * 1024) == b"\x12\x20" + sha256(b"x" * 1024).digest()


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (market_request(""), "fileHash"),
        (market_request("x" * 1025), "fileHash"),
        (market_pb2.RegisterFileRequest(fileHash=HASH), "user"),
        (market_pb2.RegisterFileRequest(), "fileHash"),
        (market_request(ip=""), "user.ip"),
        (market_request(ip="1.2.3.4.5"), "user.ip"),
        (market_request(ip="two words"), "user.ip"),
        (market_request(port=0), "user.port"),
        (market_request(port=-1), "user.port"),
        (market_request(port=416320), "user.port"),
        (market_request(price=-1), "user.price"),
        (market_request(id=bytes(1025)), "user.id"),
        (market_request(name="n" * 257), "user.name"),
        (market_request(name="\x1b[31m"), "user.name"),
        (market_request(id=b"", name="n" * 257), "user.name"),
    ],
)
def test_market_names_the_field(request_: market_pb2.RegisterFileRequest, field: str) -> None:
    with pytest.raises(CallerFault) as caught:
        market_terms(request_, NODE)
    assert str(caught.value).startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"content": ""}, "content"),
        ({"ip": ""}, "ip"),
        ({"port": 65536}, "port"),
        ({"price": 2**63}, "price"),
        ({"user_id": bytes(1025)}, "user_id"),
        ({"user_name": "n" * 257}, "user_name"),
        ({"file_name": "n" * 256}, "file_name"),
    ],
)
def test_v1_names_the_field(changes: dict[str, object], field: str) -> None:
    with pytest.raises(CallerFault) as caught:
        v1_terms(v1.RegisterFileRequest(**{**V1, **changes}), NODE)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_an_empty_user_id_is_the_name_or_the_node() -> None:
    assert market_terms(market_request(id=b""), NODE).user_id == b"Ann"
    assert market_terms(market_request(id=b"", name=""), NODE).user_id == str(NODE).encode()
    assert market_terms(market_request(name=""), NODE).user_id == b"me"


def test_an_id_need_not_be_text() -> None:
    assert market_terms(market_request(id=b"\xff\x00"), NODE).user_id == b"\xff\x00"
