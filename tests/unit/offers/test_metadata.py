"""FileMetadata: validation, JSON, bytes."""

from __future__ import annotations

import dataclasses
import json

import pytest

from fastmarket.errors import CallerFault, PeerFault
from fastmarket.offers.model.metadata import FileMetadata

FULL = FileMetadata("2001:db8::1", 65535, 2**64 - 1, 2**64 - 1, "a file.txt")


@pytest.mark.parametrize(
    "ip", ["127.0.0.1", "::1", "2001:db8::1", "localhost", "localhost2", "a-b.example.org", "host.", "my_box"]
)
def test_hosts_that_are_taken(ip: str) -> None:
    assert FileMetadata(ip, 1, 0).ip == ip


@pytest.mark.parametrize(
    "ip",
    [
        "",
        "1.2.3",
        "1.2.3.256",
        "1.2.3.4.5",
        ":::1",
        "fe80::1%eth0",
        "-a",
        "a-",
        "a..b",
        "a b",
        "ä",
        "x" * 64,
        "a/b",
        "x." * 127,
        "host:80",
        "[::1]",
        "a\n",
    ],
)
def test_hosts_that_are_not(ip: str) -> None:
    with pytest.raises(CallerFault, match=r"^ip: ") as caught:
        FileMetadata(ip, 1, 0)
    assert caught.value.field == "ip"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", 0),
        ("port", 65536),
        ("port", 416320),
        ("port", -1),
        ("port", True),
        ("port", "80"),
        ("price_per_mb", -1),
        ("price_per_mb", 2**64),
        ("price_per_mb", 1.5),
        ("size", -1),
        ("size", 2**64),
        ("name", "n" * 256),
        ("name", "ä" * 128),
        ("name", "bell\a"),
        ("name", "\ud800"),
        ("name", 7),
        ("ip", 7),
    ],
)
def test_a_bad_field_is_named(field: str, value: object) -> None:
    with pytest.raises(CallerFault) as caught:
        dataclasses.replace(FULL, **{field: value})
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")


def test_it_is_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.port = 1  # type: ignore[misc]


def test_json() -> None:
    short = FileMetadata("localhost", 80, 3)
    assert json.loads(short.to_json()) == {"ip": "localhost", "port": 80, "price_per_mb": 3}
    for metadata in (short, FULL):
        assert FileMetadata.from_json(metadata.to_json()) == metadata
    assert FileMetadata.from_json(b'{"ip": "::1", "port": 1, "price_per_mb": 0, "later": []}').port == 1


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "metadata"),
        ("[]", "metadata"),
        ("{", "metadata"),
        ("[" * 4000, "metadata"),
        (" " * 5000, "metadata"),
        (b"\xff\xfe", "metadata"),
        ("{}", "ip"),
        ('{"ip": "::1"}', "port"),
        ('{"ip": "::1", "port": 1}', "price_per_mb"),
        ('{"ip": "::1", "port": 1.0, "price_per_mb": 1}', "port"),
        ('{"ip": ["::1"], "port": 1, "price_per_mb": 1}', "ip"),
    ],
)
def test_bad_json_is_the_callers_fault(text: str | bytes, field: str) -> None:
    with pytest.raises(CallerFault) as caught:
        FileMetadata.from_json(text)
    assert caught.value.field == field


def test_bytes() -> None:
    for metadata in (FileMetadata("localhost", 80, 3), FileMetadata("::1", 80, 0, 0, ""), FULL):
        assert FileMetadata.from_bytes(metadata.to_bytes()) == metadata


@pytest.mark.parametrize("raw", [b"", b"\xff", b"\x2a\x01\xff", bytes(5000)])
def test_bad_bytes_are_a_peers_fault(raw: bytes) -> None:
    with pytest.raises(PeerFault):
        FileMetadata.from_bytes(raw)
