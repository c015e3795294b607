"""fastmarket.native.cid against its twin, against multiformats, and on text nobody meant as a CID."""

from __future__ import annotations

import os

import multiformats
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiformats import multibase

from fastmarket.native import cid as _cid
from tests.reference import cid as twin
from tests.reference import unixfs

digests = st.binary(min_size=32, max_size=32)
sha256_multihashes = digests.map(lambda digest: b"\x12\x20" + digest)
codecs = st.integers(0, (1 << 63) - 1) | st.sampled_from([0x55, 0x70, 0x72])
LATER = 1 << 62  # ns of Unix time: every file there is has settled by then
# Zeros in front are where base58 goes wrong.
short_bytes = st.builds(lambda zeros, rest: bytes(zeros) + rest, st.integers(0, 20), st.binary(max_size=100))


@given(short_bytes)
def test_base58(data):
    text = _cid.base58_encode(data)
    assert text == twin.base58_encode(data) == multibase.get("base58btc").encode(data)[1:]
    assert _cid.base58_decode(text) == twin.base58_decode(text) == data


@given(short_bytes)
def test_base32(data):
    text = _cid.base32_encode(data)
    assert text == twin.base32_encode(data) == multibase.get("base32").encode(data)[1:]
    assert _cid.base32_decode(text) == twin.base32_decode(text) == data


@given(st.text(twin.BASE58, max_size=180))
def test_any_base58_text_is_decoded_or_refused(text):
    expected = twin.base58_decode(text)
    if len(expected) <= _cid.MAX_BINARY_BYTES:
        assert _cid.base58_decode(text) == expected
        assert _cid.base58_encode(expected) == text
    else:
        with pytest.raises(ValueError, match="too long"):
            _cid.base58_decode(text)


@given(st.text(twin.BASE32, max_size=60))
def test_only_canonical_base32_is_decoded(text):
    try:
        expected = twin.base32_decode(text)
    except ValueError:
        with pytest.raises(ValueError, match="encoder"):
            _cid.base32_decode(text)
    else:
        assert _cid.base32_decode(text) == expected


@given(sha256_multihashes)
def test_cid_v0(multihash):
    text = _cid.encode_cid_v0(multihash)
    assert text == twin.encode_cid_v0(multihash) == str(multiformats.CID("base58btc", 0, "dag-pb", multihash))
    assert _cid.decode_cid(text) == twin.decode_cid(text) == (0, 0x70, multihash)
    assert _cid.cid_to_multihash(text) == multihash == multiformats.CID.decode(text).digest
    assert _cid.decode_cid_bytes(multihash) == (0, 0x70, multihash)


@given(sha256_multihashes, codecs)
def test_cid_v1(multihash, codec):
    text = _cid.encode_cid_v1(codec, multihash)
    raw = _cid.encode_cid_bytes_v1(codec, multihash)
    assert text == twin.encode_cid_v1(codec, multihash)
    assert raw == twin.encode_cid_bytes_v1(codec, multihash)
    assert _cid.decode_cid(text) == twin.decode_cid(text) == (1, codec, multihash)
    assert _cid.decode_cid_bytes(raw) == (1, codec, multihash)
    assert _cid.cid_to_multihash(text) == multihash


@given(digests, st.sampled_from(["base32", "base32upper", "base58btc", "base16", "base16upper"]))
def test_multibases_against_multiformats(digest, base):
    oracle = multiformats.CID(base, 1, "raw", b"\x12\x20" + digest)
    assert _cid.decode_cid(str(oracle)) == (1, 0x55, oracle.digest)
    assert _cid.encode_cid_v1(0x55, oracle.digest) == str(oracle.set(base="base32"))


@pytest.mark.parametrize("function", ["identity", "sha1", "sha2-512", "sha3-384", "blake2b-256"])
def test_other_hash_functions(function):
    multihash = multiformats.multihash.digest(b"content", function)
    text = str(multiformats.CID("base32", 1, "raw", multihash))
    assert _cid.decode_cid(text) == (1, 0x55, multihash)
    assert _cid.encode_cid_v1(0x55, multihash) == text


V0 = _cid.encode_cid_v0(b"\x12\x20" + bytes(range(32)))
V1 = _cid.encode_cid_v1(0x55, b"\x12\x20" + bytes(range(32)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Q",
        "b",
        "z",
        "f",
        V0[:-1],
        V0 + "1",
        V0.replace("Q", "0", 1),
        "Qm" + "l" * 44,
        "Qm" + "z" * 44,  # not a sha2-256 multihash
        "z" + V0,  # a CIDv0 has no multibase
        "b" + _cid.base32_encode(b"\x12\x20" + bytes(32)),
        V1[:-1],
        V1 + "a",
        V1[0] + V1[1:].upper(),
        V1.replace("a", "1"),
        V1 + " ",
        "é" + V1,
        "b" + _cid.base32_encode(b"\x02\x55\x12\x20" + bytes(32)),  # version 2
        "b" + _cid.base32_encode(b"\x01\x55\x12\x1f" + bytes(31)),  # sha2-256 cut short
        "b" + _cid.base32_encode(b"\x01\x55\x12\x20" + bytes(33)),  # bytes behind the digest
        "b" + _cid.base32_encode(b"\x01\xd5\x00\x12\x20" + bytes(32)),  # codec not minimal
        "b" + _cid.base32_encode(b"\x01" + b"\xff" * 12),  # codec without end
        "b" + _cid.base32_encode(b"\x01\x55\x00\x50" + bytes(80)),  # multihash above its bound
        "b" * 258,
        "z" * 257,
        "1" * 100_000,
    ],
)
def test_malformed_cids_are_value_errors(text):
    with pytest.raises(ValueError, match=r"\w"):
        _cid.decode_cid(text)
    with pytest.raises(ValueError, match=r"\w"):
        _cid.cid_to_multihash(text)


@given(st.text(max_size=300) | st.text("bzfFBQm" + twin.BASE58, max_size=300))
def test_any_text_is_a_cid_or_a_value_error(text):
    try:
        version, codec, multihash = _cid.decode_cid(text)
    except ValueError:
        return
    again = _cid.encode_cid_v0(multihash) if version == 0 else _cid.encode_cid_v1(codec, multihash)
    assert _cid.decode_cid(again) == (version, codec, multihash)


@given(st.binary(max_size=140))
def test_any_bytes_are_a_cid_or_a_value_error(raw):
    for text in ("b" + twin.base32_encode(raw), "z" + twin.base58_encode(raw), "f" + raw.hex()):
        try:
            version, codec, multihash = _cid.decode_cid(text)
        except ValueError:
            continue
        assert version == 1
        assert _cid.encode_cid_bytes_v1(codec, multihash) == raw


def test_bounds_of_binary():
    most = b"\xff" * _cid.MAX_BINARY_BYTES
    assert _cid.base58_decode(_cid.base58_encode(most)) == most
    assert _cid.base32_decode(_cid.base32_encode(most)) == most
    for encode in (_cid.base58_encode, _cid.base32_encode, _cid.decode_cid_bytes):
        with pytest.raises(ValueError, match="too long"):
            encode(most + b"\0")
    longest = b"\x00\x4e" + bytes(78)
    assert _cid.decode_cid(_cid.encode_cid_v1((1 << 63) - 1, longest))[2] == longest


def test_encoders_want_a_multihash():
    for multihash in (b"", b"\x12\x20", bytes(34), b"\x12\x20" + bytes(33), bytes(200)):
        with pytest.raises(ValueError, match=r"\w"):
            _cid.encode_cid_v0(multihash)
    for multihash in (b"", b"\x12\x20", b"\x12\x20" + bytes(33), b"\x80", bytes(200)):
        with pytest.raises(ValueError, match=r"\w"):
            _cid.encode_cid_v1(0x55, multihash)
    with pytest.raises(ValueError, match="codec"):
        _cid.encode_cid_v1(1 << 63, b"\x12\x20" + bytes(32))


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("chunk", [7, 100, 127, 128, 1000, 16384])
@pytest.mark.parametrize("length", [0, 1, 100, 254, 256, 5000, 33_000])
def test_leaf_digests(tmp_path, raw, chunk, length):
    offset = 17
    data = bytes(i * i & 255 for i in range(offset + length))
    path = tmp_path / "file"
    path.write_bytes(data + b"behind")
    expected = b"".join(
        unixfs.leaf(data[at : min(at + chunk, offset + length)], 0, raw).cid[-32:]
        for at in range(offset, offset + length, chunk)
    )
    fd = os.open(path, os.O_RDONLY)
    try:
        assert _cid.leaf_digests(fd, offset, length, chunk, raw) == expected
    finally:
        os.close(fd)


def test_leaf_digests_of_what_cannot_be_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(1000))
    fd = os.open(path, os.O_RDONLY)
    try:
        for length in (1001, 100_000):
            with pytest.raises(EOFError):
                _cid.leaf_digests(fd, 0, length, 300, True)
        for chunk in (0, -1, _cid.MAX_CHUNK_BYTES + 1):
            with pytest.raises(ValueError, match="chunk"):
                _cid.leaf_digests(fd, 0, 10, chunk, True)
        with pytest.raises(ValueError, match="negative"):
            _cid.leaf_digests(fd, -1, 10, 10, True)
    finally:
        os.close(fd)
    with pytest.raises(OSError, match="reading"):
        _cid.leaf_digests(fd, 0, 10, 10, True)


@pytest.mark.parametrize("raw", [False, True])
def test_file_digests(tmp_path, raw):
    sizes = [0, 1, 100, 64, 63, 1000, 7, 999]
    paths = []
    for number, size in enumerate(sizes):
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(bytes(i * i & 255 for i in range(size)))
    found = _cid.file_digests([bytes(path) for path in paths], 999, raw, LATER)
    assert found[5] == _cid.FILE_LARGE
    del found[5], paths[5]
    assert found == [unixfs.leaf(path.read_bytes(), 0, raw).cid[-32:] for path in paths]


def test_file_digests_of_what_is_no_path():
    assert _cid.file_digests([], 10, True, LATER) == []
    for path in (b"a\0b", "text", None):
        with pytest.raises(ValueError, match=r"paths\[1\]"):
            _cid.file_digests([b"/", path], 10, True, LATER)
    with pytest.raises(ValueError, match="chunk"):
        _cid.file_digests([b"/"], 0, True, LATER)


def test_file_digests_of_what_does_not_stand_still(tmp_path):
    """Each is left to whoever can look twice."""
    old, young, unsized = tmp_path / "old", tmp_path / "young", b"/proc/version"
    old.write_bytes(b"old")
    young.write_bytes(b"young")
    since = max(os.stat(path).st_ctime_ns for path in (old, young))
    assert _cid.file_digests([bytes(old), bytes(young)], 10, True, since)[1] == _cid.FILE_UNSETTLED
    found = _cid.file_digests([bytes(old), bytes(young)], 10, True, since + 1)
    assert found == [unixfs.leaf(text, 0, True).cid[-32:] for text in (b"old", b"young")]
    if os.path.exists(unsized):
        assert _cid.file_digests([unsized], 10, True, LATER) == [_cid.FILE_UNSETTLED]
