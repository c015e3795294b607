"""formats.cid: well-known CIDs, and what a `fileHash` names."""

from __future__ import annotations

import contextlib
import hashlib

import multiformats
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.cid import MAX_FILE_HASH_BYTES, Cid, Codec, content_multihash, new_cidv0

V0 = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"  # "hello world\n" by `ipfs add`
V1_RAW = (
    "bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am"  # "hello\n" by `ipfs add --cid-version 1`
)
PEER = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"  # libp2p peer-ids specification
PEER_CID = "bafzaajaiaejcal72gwuz2or47oyxxn6b3rkwdmmkrxgkjxzy3rqt5kczyn7lcm3l"  # the same, as a CIDv1


def sha256_multihash(data: bytes) -> bytes:
    return b"\x12\x20" + hashlib.sha256(data).digest()


def test_published_cids():
    cid = Cid.from_text(V1_RAW)
    assert (cid.version, cid.codec) == (1, Codec.RAW)
    assert cid.multihash == sha256_multihash(b"hello\n")
    assert str(cid) == V1_RAW
    assert (Cid.from_text(V0).version, Cid.from_text(V0).codec) == (0, Codec.DAG_PB)
    assert str(Cid.from_text(V0)) == V0
    assert Cid.from_text(PEER_CID).codec == Codec.LIBP2P_KEY
    # The same block under both versions: kubo's own pair.
    v1 = Cid.from_text("bafybeiffndsajwhk3lwjewwdxqntmjm4b5wxaaanokonsggenkbw6slwk4")
    assert v1.multihash == Cid.from_text("QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN").multihash


def test_new_cidv0_hashes_the_bytes_themselves():
    cid = new_cidv0(b"hello\n")
    assert cid == Cid(0, Codec.DAG_PB, sha256_multihash(b"hello\n"))
    assert str(cid) == str(multiformats.CID("base58btc", 0, "dag-pb", sha256_multihash(b"hello\n")))


@pytest.mark.parametrize(
    "base",
    [
        "base16",
        "base32",
        "base32upper",
        "base32hex",
        "base36",
        "base58btc",
        "base58flickr",
        "base64",
        "base64url",
    ],
)
def test_every_usual_multibase(base):
    multihash = sha256_multihash(b"content")
    text = str(multiformats.CID(base, 1, "raw", multihash))
    assert Cid.from_text(text) == Cid(1, Codec.RAW, multihash)
    assert content_multihash(text) == multihash


@given(st.integers(0, 1), st.binary(min_size=32, max_size=32))
def test_bytes_and_text_round_trip(version, digest):
    cid = Cid(version, Codec.DAG_PB, b"\x12\x20" + digest)
    assert Cid.from_text(str(cid)) == Cid.from_bytes(cid.raw) == cid
    assert hash(Cid.from_bytes(cid.raw)) == hash(cid)


@given(st.text(max_size=300) | st.text("kKvmuZ0123456789abcdef-_=", max_size=300))
def test_any_text_is_a_cid_or_the_callers_fault(text):
    with contextlib.suppress(CallerFault):
        cid = Cid.from_text(text)
        assert Cid.from_bytes(cid.raw) == cid


@given(st.binary(max_size=200))
def test_any_bytes_are_a_cid_or_the_peers_fault(raw):
    with contextlib.suppress(PeerFault):
        assert Cid.from_bytes(raw).raw == raw


@pytest.mark.parametrize(
    "parts",
    [
        (2, Codec.RAW, sha256_multihash(b"")),
        (0, Codec.RAW, sha256_multihash(b"")),
        (0, Codec.DAG_PB, b"\x11\x14" + bytes(20)),
        (1, Codec.RAW, b""),
        (1, Codec.RAW, sha256_multihash(b"") + b"\0"),
        (1, -1, sha256_multihash(b"")),
        (1, 1 << 63, sha256_multihash(b"")),
    ],
)
def test_a_cid_that_cannot_be(parts):
    with pytest.raises(CallerFault) as caught:
        Cid(*parts)
    assert caught.value.field == "cid"


def test_a_file_hash_names_a_multihash():
    digest = hashlib.sha256(b"x").hexdigest()
    for text in (digest, digest.upper()):
        assert content_multihash(text) == sha256_multihash(b"x")
    assert content_multihash(V0) == Cid.from_text(V0).multihash
    assert content_multihash(V1_RAW) == sha256_multihash(b"hello\n")
    sha512 = multiformats.multihash.digest(b"x", "sha2-512")
    assert content_multihash(str(multiformats.CID("base32", 1, "raw", sha512))) == sha512


@pytest.mark.parametrize(
    "text",
    ["a", " ", "some file", "0" * 63, "0" * 65, V0[:-1], " name ", "é", "x" * MAX_FILE_HASH_BYTES, PEER],
)
def test_any_other_file_hash_is_hashed_as_text(text):
    assert content_multihash(text) == sha256_multihash(text.encode())


@pytest.mark.parametrize("text", ["", "x" * (MAX_FILE_HASH_BYTES + 1), "é" * 513, "\ud800"])
def test_a_file_hash_that_names_nothing(text):
    with pytest.raises(CallerFault) as caught:
        content_multihash(text)
    assert caught.value.field == "fileHash"


@given(st.text(min_size=1, max_size=2000))
def test_any_file_hash_has_a_multihash_or_is_the_callers_fault(text):
    with contextlib.suppress(CallerFault):
        assert 2 <= len(content_multihash(text)) <= 80
