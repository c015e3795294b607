from __future__ import annotations

import copy
import json
import pickle
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from fastmarket.errors import CallerFault, LimitExceeded, PeerFault
from fastmarket.formats.identity import Identity, KeyType, PeerId, PublicKey
from fastmarket.formats.varint import encode_uvarint

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "peer_ids.json").read_text())
SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

each_kind = pytest.mark.parametrize("vector", VECTORS["keys"], ids=lambda vector: vector["type"])


def of(vector: dict[str, str]) -> Identity:
    return Identity.from_private_bytes(bytes.fromhex(vector["private"]))


def message(key_type: int, data: bytes) -> bytes:
    return b"\x08" + encode_uvarint(key_type) + b"\x12" + encode_uvarint(len(data)) + data


def spki(key: Any) -> bytes:
    der: bytes = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return der


@each_kind
def test_vectors_of_the_specification(vector: dict[str, str]) -> None:
    identity = of(vector)
    assert identity.public_key.key_type is KeyType[vector["type"]]
    assert identity.public_key.encode().hex() == vector["public"]
    assert PublicKey.decode(bytes.fromhex(vector["public"])) == identity.public_key
    assert identity.to_private_bytes().hex() == vector["private"]


@each_kind
def test_pkcs8_round_trip(vector: dict[str, str]) -> None:
    identity = of(vector)
    assert Identity.from_pkcs8(identity.to_pkcs8()).to_private_bytes() == identity.to_private_bytes()


@each_kind
def test_signatures(vector: dict[str, str]) -> None:
    identity = of(vector)
    signature = identity.sign(b"message")
    public_key = PublicKey.decode(bytes.fromhex(vector["public"]))
    assert public_key.verify(b"message", signature)
    assert not public_key.verify(b"another", signature)
    assert not public_key.verify(b"message", signature[:-1])
    assert not public_key.verify(b"message", b"")
    assert not Identity.from_seed(bytes(32)).public_key.verify(b"message", signature)


@each_kind
def test_peer_id(vector: dict[str, str]) -> None:
    encoded = bytes.fromhex(vector["public"])
    peer_id = of(vector).peer_id
    inlined = len(encoded) <= 42
    assert peer_id.raw == (
        b"\x00" + bytes((len(encoded),)) + encoded if inlined else b"\x12\x20" + sha256(encoded).digest()
    )
    assert peer_id.public_key() == (PublicKey.decode(encoded) if inlined else None)
    assert peer_id.key == sha256(peer_id.raw).digest()
    assert PeerId.from_text(str(peer_id)) is PeerId.from_bytes(peer_id.raw)


def test_the_kind_shows_in_the_text() -> None:
    starts = {vector["type"]: str(of(vector).peer_id)[:2] for vector in VECTORS["keys"]}
    assert starts == {"ED25519": "12", "SECP256K1": "16", "RSA": "Qm", "ECDSA": "Qm"}


@pytest.mark.parametrize("example", VECTORS["texts"], ids=lambda example: example["text"][:6])
def test_texts_of_the_specification(example: dict[str, str]) -> None:
    assert str(PeerId.from_text(example["text"])) == example["base58"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1" * 10_000,
        "hello",
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5",  # a character short
        "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5S0",  # 0 is not in the alphabet
        "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",  # a CID, of another codec
        "b",
        "\x00",
        "é",
    ],
)
def test_texts_that_are_none(text: str) -> None:
    with pytest.raises(CallerFault) as caught:
        PeerId.from_text(text)
    assert caught.value.field == "peer_id"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00",
        b"\x00\x00",
        b"\x12\x20" + bytes(31),
        b"\x12\x20" + bytes(33),
        b"\x12\x1f" + bytes(31),
        b"\x13\x40" + bytes(64),  # sha2-512
        b"\x00\x24" + bytes(36),  # no key
        b"\x00\x2b" + message(1, bytes(32)) + bytes(7),  # longer than may be inlined
        b"\x00\x26" + message(1, bytes(32)) + b"\x18\x01",  # a field too many
        b"\x00\x24\x12\x20" + bytes(32) + b"\x08\x01",  # the right fields in the wrong order
    ],
)
def test_bytes_that_are_no_peer_id(raw: bytes) -> None:
    with pytest.raises(PeerFault):
        PeerId.from_bytes(raw)


def test_peer_id_is_a_value() -> None:
    one, other = Identity.from_seed(bytes(32)).peer_id, Identity.from_seed(b"1" * 32).peer_id
    again = PeerId(one.raw)
    assert one == again
    assert hash(one) == hash(again)
    assert one != other
    assert one != one.raw
    assert pickle.loads(pickle.dumps(one)) == copy.copy(one) == one
    with pytest.raises(AttributeError):
        one.raw = other.raw


def test_fields_in_another_order_are_read_and_named_as_written_in_order() -> None:
    canonical = Identity.from_seed(bytes(32)).public_key
    shuffled = b"\x12\x20" + canonical.data + b"\x08\x01"
    assert PublicKey.decode(shuffled) == canonical
    assert PublicKey.decode(shuffled).encode() != shuffled


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x08\x01",  # no data
        b"\x12\x20" + bytes(32),  # no type
        message(4, bytes(32)),  # no such type
        message(1, bytes(31)),
        message(1, bytes(33)),
        message(2, b"\x04" + bytes(32)),
        message(2, b"\x02" + bytes(31)),
        message(0, b"\x30\x00"),
        message(3, bytes(91)),
        b"\x08\x01\x12\xff\xff\xff\xff\x0f",  # claims 4 GiB
    ],
)
def test_bytes_that_are_no_public_key(raw: bytes) -> None:
    with pytest.raises(PeerFault):
        PublicKey.decode(raw)


def test_an_oversized_key_is_refused_unread() -> None:
    with pytest.raises(LimitExceeded):
        PublicKey.decode(message(0, bytes(2048)))


@pytest.mark.parametrize("bits", [1024, 2048])
def test_rsa_sizes(bits: int) -> None:
    der = spki(rsa.generate_private_key(65537, bits))
    if bits < 2048:
        with pytest.raises(PeerFault, match="1024 bits"):
            PublicKey.decode(message(0, der))
    else:
        assert PublicKey.decode(message(0, der)).data == der


def test_rsa_too_large_or_slow() -> None:
    def der(n: int, e: int) -> bytes:
        key = rsa.RSAPublicNumbers(e, n).public_key()
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    assert PublicKey.decode(message(0, der(2**8191 + 1, 65537)))
    with pytest.raises(PeerFault):
        PublicKey.decode(message(0, der(2**8192 + 1, 65537)))
    with pytest.raises(PeerFault, match="exponent"):
        PublicKey.decode(message(0, der(2**2047 + 1, 2**31 + 1)))


def test_the_type_must_be_that_of_the_key() -> None:
    rsa_der, ec_der = (
        spki(rsa.generate_private_key(65537, 2048)),
        spki(ec.generate_private_key(ec.SECP256R1())),
    )
    for raw in (message(3, rsa_der), message(0, ec_der)):
        with pytest.raises(PeerFault):
            PublicKey.decode(raw)


def test_only_one_form_of_der() -> None:
    """Otherwise one key would have several peer ids."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    plain = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert PublicKey.decode(message(3, plain))
    compressed = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    rsa_key = rsa.generate_private_key(65537, 2048).public_key()
    for raw in (
        message(3, head + compressed),
        message(3, plain + b"\x00"),
        message(0, rsa_key.public_bytes(Encoding.DER, PublicFormat.PKCS1)),
    ):
        with pytest.raises(PeerFault):
            PublicKey.decode(raw)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda c: c.name)
def test_nist_curves(curve: ec.EllipticCurve) -> None:
    identity = Identity(ec.generate_private_key(curve))
    assert PublicKey.decode(identity.public_key.encode()).verify(b"m", identity.sign(b"m"))


def test_verify_never_raises() -> None:
    for key_type in KeyType:
        for data in (b"", bytes(32), b"\x02" + b"\xff" * 32, bytes(64)):
            assert not PublicKey(key_type, data).verify(b"message", bytes(64))


def test_secp256k1_signatures_are_low_s_and_the_other_form_is_read() -> None:
    identity = next(of(vector) for vector in VECTORS["keys"] if vector["type"] == "SECP256K1")
    for number in range(20):
        signature = identity.sign(b"%d" % number)
        r, s = decode_dss_signature(signature)
        assert s <= SECP256K1_ORDER // 2
        assert identity.public_key.verify(b"%d" % number, signature)
        assert identity.public_key.verify(b"%d" % number, encode_dss_signature(r, SECP256K1_ORDER - s))


def test_seed() -> None:
    # RFC 8032, section 7.1, TEST 1
    identity = Identity.from_seed(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert identity.public_key.data.hex() == public
    assert identity.sign(b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )
    with pytest.raises(CallerFault, match=r"^seed: "):
        Identity.from_seed(bytes(31))


def test_the_older_ed25519_form() -> None:
    identity = Identity.from_seed(bytes(32))
    public = identity.public_key.data
    older = message(1, bytes(32) + public + public)
    assert Identity.from_private_bytes(older).peer_id == identity.peer_id
    for wrong in (
        bytes(32),
        bytes(32) + bytes(32),
        bytes(32) + public + bytes(32),
        bytes(32) + public + b"x",
    ):
        with pytest.raises(CallerFault):
            Identity.from_private_bytes(message(1, wrong))


def test_private_keys_that_are_none() -> None:
    ec_key = ec.generate_private_key(ec.SECP256R1())
    ec_der = ec_key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    for raw in (b"", b"junk", message(0, ec_der), message(0, b""), message(2, bytes(32)), bytes(100_000)):
        with pytest.raises(CallerFault) as caught:
            Identity.from_private_bytes(raw)
        assert caught.value.field == "private_key"
    weak = rsa.generate_private_key(65537, 1024)
    foreign = dsa.generate_private_key(1024)
    for key in (weak, foreign):
        der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        with pytest.raises(CallerFault, match=r"^private_key: "):
            Identity.from_pkcs8(der)
    with pytest.raises(CallerFault, match=r"^private_key: "):
        Identity.from_pkcs8(b"junk")


def test_the_private_half_is_not_shown() -> None:
    identity = Identity.from_seed(b"s" * 32)
    assert repr(identity) == f"Identity({identity.peer_id})"
