"""fastmarket.native.sodium against OpenSSL and the examples of RFC 8032, 7748 and 8439."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.native import sodium as _sodium
from tests.reference import sodium as twin

KEYS = st.binary(min_size=32, max_size=32)
NONCES = st.integers(0, 2**64 - 1)
ORDER = 2**252 + 27742317777372353535851937790883648493
P = 2**255 - 19
# Points of order 1, 2, 4 and 8, and the encodings of the first two that are not the right one.
SMALL_ORDER = [
    (1).to_bytes(32, "little"),
    (P - 1).to_bytes(32, "little"),
    bytes(32),
    bytes(31) + b"\x80",
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    (P + 1).to_bytes(32, "little"),
    P.to_bytes(32, "little"),
]


def test_published_examples():
    seed = bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
    secret = _sodium.ed25519_secret(seed)
    assert secret[32:].hex() == "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
    assert _sodium.ed25519_sign(secret, b"\xaf\x82").hex() == (
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    )
    private = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    public = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    shared = _sodium.x25519(private, public)
    assert shared is not None
    assert shared.hex() == "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"


@settings(deadline=None)
@given(KEYS, st.binary(max_size=3000), st.integers(0, 511))
def test_signatures(seed: bytes, message: bytes, bit: int):
    secret = _sodium.ed25519_secret(seed)
    signature = _sodium.ed25519_sign(secret, message)
    assert secret == twin.ed25519_secret(seed)
    assert signature == twin.ed25519_sign(secret, message)
    assert _sodium.ed25519_verify(secret[32:], message, signature)
    damaged = bytearray(signature)
    damaged[bit // 8] ^= 1 << bit % 8
    assert not _sodium.ed25519_verify(secret[32:], message, bytes(damaged))
    assert not _sodium.ed25519_verify(secret[32:], message + b"x", signature)
    assert not _sodium.ed25519_verify(secret[32:], message, signature[:63])
    assert not _sodium.ed25519_verify(secret[31:], message, signature)


@settings(deadline=None)
@given(KEYS, KEYS, KEYS)
def test_what_is_accepted_openssl_accepts_too(public: bytes, point: bytes, scalar: bytes):
    signature = point + scalar
    assert not _sodium.ed25519_verify(public, b"", signature) or twin.ed25519_verify(public, b"", signature)


def test_a_second_form_of_a_signature_is_refused():
    secret = _sodium.ed25519_secret(bytes(32))
    signature = _sodium.ed25519_sign(secret, b"once")
    other = int.from_bytes(signature[32:], "little") + ORDER
    assert not _sodium.ed25519_verify(secret[32:], b"once", signature[:32] + other.to_bytes(32, "little"))


@pytest.mark.parametrize("public", SMALL_ORDER, ids=bytes.hex)
@pytest.mark.parametrize("point", SMALL_ORDER, ids=bytes.hex)
def test_keys_that_anybody_can_sign_with_are_refused(public: bytes, point: bytes):
    """With a key of small order a signature needs no private half. OpenSSL takes some of these; nobody owns
    such a key, so nobody is shut out."""
    for message in (b"", b"any", b"of", b"these", b"could", b"hold", b"in", b"the", b"end"):
        assert not _sodium.ed25519_verify(public, message, point + bytes(32))


def test_openssl_would_have_taken_one_of_these():
    assert twin.ed25519_verify(SMALL_ORDER[0], b"anything", SMALL_ORDER[0] + bytes(32))


@settings(deadline=None)
@given(KEYS, KEYS)
def test_key_agreement(private: bytes, other: bytes):
    public = _sodium.x25519_public(other)
    assert public == twin.x25519_public(other)
    assert _sodium.x25519(private, public) == twin.x25519(private, public)
    assert _sodium.x25519(private, other) == twin.x25519(private, other)


@pytest.mark.parametrize("value", [0, 1, P - 1, P, P + 1])
def test_a_point_of_low_order_gives_no_secret(value: int):
    point = value.to_bytes(32, "little")
    assert _sodium.x25519(bytes(range(32)), point) is None
    assert twin.x25519(bytes(range(32)), point) is None


@settings(deadline=None)
@given(KEYS, NONCES, st.binary(max_size=2000), st.none() | st.binary(max_size=100), st.binary(max_size=3))
def test_cipher(key: bytes, nonce: int, plain: bytes, associated: bytes | None, around: bytes):
    ours, theirs = _sodium.Aead(key), twin.Aead(key)
    sealed = ours.encrypt(nonce, plain, associated)
    assert sealed == theirs.encrypt(nonce, plain, associated)
    assert ours.encrypt(nonce, bytearray(plain), associated) == sealed
    assert ours.decrypt(nonce, memoryview(sealed), associated) == plain
    assert ours.frame(nonce, plain) == theirs.frame(nonce, plain)
    assert ours.decrypt(nonce ^ 1, sealed, associated) is None
    assert ours.decrypt(nonce, sealed[:-1], associated) is None
    assert ours.decrypt(nonce, sealed, b"other" * 30) is None
    bare = ours.encrypt(nonce, plain)
    source = around + bare + around
    assert ours.decrypt_part(nonce, source, len(around), len(around) + len(bare)) == plain
    assert ours.decrypt_part(nonce, source, len(around), len(around) + len(bare) - 1) is None


def test_sizes():
    cipher = _sodium.Aead(bytes(32))
    assert cipher.decrypt(0, bytes(15)) is None
    assert len(cipher.frame(0, bytes(65519))) == 2 + 65535
    with pytest.raises(ValueError, match="too long"):
        cipher.frame(0, bytes(65520))
    for start, end in ((-1, 20), (5, 4), (0, 41)):
        with pytest.raises(ValueError, match="outside"):
            cipher.decrypt_part(0, bytes(40), start, end)
    with pytest.raises(OverflowError):
        cipher.encrypt(2**64, b"")
    for call in (
        lambda: _sodium.Aead(bytes(31)),
        lambda: _sodium.ed25519_secret(bytes(33)),
        lambda: _sodium.ed25519_sign(bytes(32), b""),
        lambda: _sodium.x25519_public(b""),
        lambda: _sodium.x25519(bytes(32), bytes(31)),
    ):
        with pytest.raises(ValueError, match="bytes wanted"):
            call()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("mix_hash"), st.binary(max_size=700)),
        st.tuples(st.just("mix_shared"), KEYS),
        st.tuples(st.just("encrypt_and_hash"), st.binary(max_size=700)),
        st.tuples(st.just("decrypt_and_hash"), st.binary(max_size=700)),
        st.tuples(st.just("hear"), st.binary(max_size=700)),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(KEYS, KEYS, STEPS)
def test_symmetric_state(name: bytes, private: bytes, steps: list[tuple[str, bytes]]):
    """`hear`: what another one in the same state has said."""
    kinds = (_sodium.SymmetricState, twin.SymmetricState, twin.SymmetricState)
    ours, theirs, speaker = (kind(name) for kind in kinds)
    for step, data in steps:
        if step == "mix_shared":
            public = _sodium.x25519_public(data)
            done = [state.mix_shared(private, public) for state in (ours, theirs, speaker)]
        elif step == "hear":
            said = speaker.encrypt_and_hash(data)
            done = [ours.decrypt_and_hash(said), theirs.decrypt_and_hash(said), data]
        else:
            done = [getattr(state, step)(data) for state in (ours, theirs, speaker)]
        assert done[0] == done[1] == done[2]
        assert ours.hash == theirs.hash == speaker.hash
    assert ours.split() == theirs.split() == speaker.split()
    assert not ours.mix_shared(private, bytes(32))
    with pytest.raises(ValueError, match="bytes wanted"):
        ours.mix_shared(private, bytes(31))
