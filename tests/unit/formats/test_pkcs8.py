"""PKCS#8 in both its versions, for every kind of key (RFC 5208, 5958, 8410)."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.errors import CallerFault
from fastmarket.formats.identity import Identity
from fastmarket.formats.pkcs8 import read_der, read_pkcs8
from fastmarket.storage.keys import export_identity, import_identity, load_or_create_identity

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "peer_ids.json").read_text())
# RFC 8410, 10.3: the same key in version 1, and in version 2 with an attribute and its public half.
VERSION_1 = "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC"
VERSION_2 = """-----BEGIN PRIVATE KEY-----
MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB
Z9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PRIVATE KEY-----
"""
DER_2 = base64.b64decode("".join(VERSION_2.splitlines()[1:-1]))
SAME = Identity.from_pkcs8(base64.b64decode(VERSION_1))


def identities() -> list[Identity]:
    return [Identity.from_private_bytes(bytes.fromhex(vector["private"])) for vector in VECTORS["keys"]]


def der(tag: int, value: bytes) -> bytes:
    size = len(value)
    length = bytes([size]) if size < 128 else bytes([0x82]) + size.to_bytes(2, "big")
    if 128 <= size < 256:
        length = bytes([0x81, size])
    return bytes([tag]) + length + value


def version_2(identity: Identity, public: bytes | None, attributes: bytes | None = b"") -> bytes:
    """What another encoder would write of the same key."""
    found = read_pkcs8(identity.to_pkcs8())
    assert found is not None
    body = der(2, b"\1") + found.algorithm + der(4, found.private)
    body += b"" if attributes is None else der(0xA0, attributes)
    body += b"" if public is None else der(0x81, b"\0" + public)
    return der(0x30, body)


def test_the_example_of_the_rfc(tmp_path: Path) -> None:
    assert Identity.from_pkcs8(DER_2).peer_id == SAME.peer_id
    assert import_identity(VERSION_2.encode()).peer_id == SAME.peer_id
    (tmp_path / "identity.pem").write_text(VERSION_2)
    (tmp_path / "identity.pem").chmod(0o600)
    assert load_or_create_identity(tmp_path).peer_id == SAME.peer_id
    assert base64.b64decode(VERSION_1) == SAME.to_pkcs8()  # what we write is version 1


@pytest.mark.parametrize("identity", identities(), ids=lambda identity: identity.public_key.key_type.name)
def test_every_kind_of_key(identity: Identity) -> None:
    public = identity.public_key.data
    for half, attributes in ((None, None), (public, der(0x30, b""))):
        again = Identity.from_pkcs8(version_2(identity, half, attributes))
        assert again.to_private_bytes() == identity.to_private_bytes()
        assert again.peer_id == identity.peer_id


def test_encrypted(tmp_path: Path) -> None:
    again = import_identity(export_identity(Identity.from_pkcs8(DER_2), "a passphrase"), "a passphrase")
    assert again.peer_id == SAME.peer_id


@pytest.mark.parametrize(
    "damaged",
    [
        *(DER_2[:size] for size in range(len(DER_2))),
        DER_2 + b"\0",
        DER_2[:-1] + b"\0",  # another public half
        DER_2.replace(b"\x02\x01\x01", b"\x02\x01\x02"),  # version 3
        DER_2.replace(b"\x81\x21\x00", b"\x81\x21\x01"),  # a public key that is no whole number of bytes
        der(0x30, b"\2\1\1" + bytes.fromhex("300506032b6570") + der(4, der(4, bytes(31)))),
        der(0x30, b"\2\1\1" + bytes.fromhex("300506032b6570") + der(4, der(4, bytes(32))) + der(0x82, b"")),
        der(0x30, b"\2\1\1" + bytes.fromhex("300506032b6570")),
        b"\x30\x84\x7f\xff\xff\xff",
        b"\x30\x80\0\0",
    ],
)
def test_damaged(damaged: bytes) -> None:
    with pytest.raises(CallerFault) as caught:
        Identity.from_pkcs8(damaged)
    assert caught.value.field == "private_key"


@given(st.one_of(st.binary(max_size=60), st.tuples(st.integers(0, 115), st.integers(0, 255))))
@settings(max_examples=200)
def test_any_bytes(change: bytes | tuple[int, int]) -> None:
    raw = bytearray(DER_2)
    if isinstance(change, bytes):
        raw = bytearray(change)
    else:
        raw[change[0]] = change[1]
    with suppress(CallerFault):
        Identity.from_pkcs8(bytes(raw))
    for read in (read_pkcs8, lambda data: read_der(data, 0)):
        with suppress(ValueError):
            read(bytes(raw))
