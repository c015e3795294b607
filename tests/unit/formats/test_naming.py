"""What a caller's text names: every form a CID is copied in, and where the border to plain words runs."""

from __future__ import annotations

import contextlib
import hashlib
import re
from pydoc_data import topics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiformats import multibase

from fastmarket.errors import CallerFault
from fastmarket.formats.cid import Cid, Codec, Named, NamedBy, cid_form, cid_text, content_multihash, named
from fastmarket.formats.varint import encode_uvarint

DIGEST = hashlib.sha256(b"content").digest()
MULTIHASH = b"\x12\x20" + DIGEST
RAW = Cid(1, Codec.RAW, MULTIHASH)
BASES = [
    "base2",
    "base16",
    "base32",
    "base32upper",
    "base32hexpad",
    "base36",
    "base58btc",
    "base58flickr",
    "base64",
    "base64urlpad",
]
SLASHED = b"\x12\x20" + DIGEST[:-2] + b"\xff\xff"  # its last two digits in base64 are slashes
CIDS = [str(Cid(0, Codec.DAG_PB, MULTIHASH)), *(multibase.get(base).encode(RAW.raw) for base in BASES)]
FORMS = [
    "{}",
    " {}",
    "{}\n",
    "\t{} \r\n",
    "{}/",
    "/ipfs/{}",
    "/ipfs/{}/",
    "ipfs://{}",
    "IPFS://{}/",
    "ipfs://ipfs/{}",
    "https://ipfs.io/ipfs/{}",
    "http://127.0.0.1:8080/ipfs/{}/",
    "https://ipfs.io/ipfs/{}?filename=a%20b.pdf",
    "ipfs://{}#page=2",
    "ipfs.io/ipfs/{}",
    "dweb:/ipfs/{}",
    "{}?filename=a.pdf",
    "{}/?download=true#x",
    "{}.ipfs.dweb.link",
    "{}.ipfs.localhost:8080",
    "https://{}.ipfs.dweb.link/",
    "http://{}.ipfs.localhost:8080/?download=true",
    " https://{}.ipfs.dweb.link ",
]


def text_hash(text: str) -> Named:
    return Named(b"\x12\x20" + hashlib.sha256(text.encode()).digest(), NamedBy.TEXT_HASH, None)


@pytest.mark.parametrize("form", [form for form in FORMS if ".ipfs." not in form])
@pytest.mark.parametrize("base", ["base64", "base64pad"])
def test_a_slash_at_the_end_may_be_a_digit(form: str, base: str) -> None:
    cid = multibase.encode(Cid(1, Codec.RAW, SLASHED).raw, base)
    assert cid.endswith("//")
    assert named(form.format(cid)) == Named(SLASHED, NamedBy.CID, (1, Codec.RAW))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cid", CIDS, ids=lambda cid: cid[:3])
def test_each_form_names_the_multihash_of_its_cid(form: str, cid: str) -> None:
    if ".ipfs." in form and not cid.isalnum():
        cid = str(RAW)  # base64 in no host name
    version = 0 if cid.startswith("Qm") else 1
    codec = Codec.DAG_PB if cid.startswith("Qm") else Codec.RAW
    assert named(form.format(cid)) == Named(MULTIHASH, NamedBy.CID, (version, codec))
    assert Cid.from_link(form.format(cid)) == Cid(version, codec, MULTIHASH)


@pytest.mark.parametrize(
    "form",
    [
        "{}/a.txt",
        "/ipfs/{}/a/b",
        "ipfs://{}/a.txt",
        "https://ipfs.io/ipfs/{}/a.txt?x=1",
        "https://{}.ipfs.dweb.link/a.txt",
        "{}.ipfs.dweb.link/a",
    ],
)
@pytest.mark.parametrize("cid", [CIDS[0], str(RAW)])
def test_a_path_behind_a_cid_is_refused(form: str, cid: str) -> None:
    for read, field in ((named, "fileHash"), (Cid.from_link, "cid")):
        with pytest.raises(CallerFault, match=f"path after the CID {cid}") as caught:
            read(form.format(cid))
        assert caught.value.field == field


def encoded(parts: bytes, base: str = "base32") -> str:
    return str(multibase.get(base).encode(parts))


UNUSABLE = [
    (b"\x01\x55\x00\x4f" + bytes(79), "multihash of 81 bytes"),  # identity above the limit
    (b"\x01\x55\x00" + encode_uvarint(200) + bytes(200), "multihash of 203 bytes"),
    (b"\x01\x55\x12\x14" + DIGEST[:20], "20 bytes, which sha2-256 does not produce"),
    (b"\x01\x70\x12\x1f" + DIGEST[:31], "31 bytes, which sha2-256 does not produce"),
    (b"\x01\x70\x12\x08" + DIGEST[:8], "8 bytes, which sha2-256 does not produce"),
    (b"\x01\x55\x13\x20" + DIGEST, "32 bytes, which sha2-512 does not produce"),
    (b"\x01\x55\x12\x20" + DIGEST[:31], "cut short: 31 of 32"),
    (b"\x01\x55\x12\x20" + DIGEST[:10], "cut short: 10 of 32"),
    (b"\x01\x55\x12\x20" + DIGEST + b"x", "followed by other text"),
    (b"\x01\x55\x00\x00", "empty digest"),
]


@pytest.mark.parametrize(("raw", "why"), UNUSABLE)
@pytest.mark.parametrize("base", ["base32", "base16", "base58btc", "base36upper", "base64url", "base64pad"])
@pytest.mark.parametrize("form", ["{}", "/ipfs/{}", "https://{}.ipfs.dweb.link"])
def test_a_cid_that_cannot_be_used_says_why(raw: bytes, why: str, base: str, form: str) -> None:
    text = encoded(raw, base)
    with pytest.raises(CallerFault, match=why) as caught:
        named(form.format(text))
    assert caught.value.field == "fileHash"
    for read in (Cid.from_text, Cid.from_link):
        with pytest.raises(CallerFault):
            read(text)


@pytest.mark.parametrize("cut", range(1, 33))
def test_a_copy_that_was_cut_short(cut: int) -> None:
    """Of base32 characters; of a few of them nobody could say what they were."""
    with pytest.raises(CallerFault, match=r"cut short|wrong last character"):
        named(str(RAW)[:-cut])


@pytest.mark.parametrize(
    "text", ["ipfs://", "/ipfs/", "ipfs://readme.txt", "/ipfs/a/b", "ipfs://Qm/x", " /ipfs/x "]
)
def test_what_says_that_it_is_a_cid_has_to_be_one(text: str) -> None:
    with pytest.raises(CallerFault, match="is not a CID behind"):
        named(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "mymusic",
            "bookmark",
            "zebra",
            "film",
            "baffle",
            "bagel",
            "f01",
            "u",
            "z",
            "b",
            "m",
            "0",
            "🚀",
            "\0",
        ),
        *(
            "a",
            " ",
            "some file",
            "film/part 2",
            "bag/",
            "https://example.org/",
            "docs.ipfs.tech",
            " film ",
            "\n",
        ),
        *("https://ipfs.io/ipfs/readme.html", "readme.ipfs.dweb.link", "/ipns/name", "0" * 63, "0" * 65, "é"),
        *("bafkrei", "bafybei", "bafkqaaa"[:-1], "Qm" + "1" * 44, "Qm" + "é" * 44, CIDS[0][:-1]),
    ],
)
def test_words_are_hashed_just_as_they_are(text: str) -> None:
    assert named(text) == text_hash(text)


def test_no_word_of_a_large_text_is_taken_for_a_cid() -> None:
    words = set(re.findall(r"[\w./+=-]+", " ".join(topics.topics.values())))
    words |= {word.lower() for word in words} | {word.upper() for word in words}
    assert len(words) > 5_000
    for prefix in ("", *"0fFbBcCvVtTkKzZmMuU"):
        assert all(named(prefix + word).by is NamedBy.TEXT_HASH for word in words)


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=34))
def test_a_random_word_is_a_name(word: str) -> None:
    """With so few characters a CID has a codec, a function and a length that are known, or is none."""
    assert named(word) == text_hash(word)


@given(st.binary(min_size=1, max_size=60), st.sampled_from(BASES))
def test_random_bytes_in_a_base_are_a_name_unless_they_have_the_outline_of_a_cid(
    raw: bytes, base: str
) -> None:
    text = encoded(raw, base)
    outline = raw.startswith((b"\x01", b"\x12\x20"))
    if not outline:
        assert named(text) == text_hash(text)


@given(
    st.integers(0, 2**63 - 1),
    st.integers(0, 0xB300),
    st.binary(max_size=90),
    st.sampled_from(BASES),
    st.integers(-3, 3),
)
def test_whatever_is_built_like_a_cid_is_one_or_says_why_not(
    codec: int, code: int, digest: bytes, base: str, off: int
) -> None:
    """From 20 bytes of digest on nothing whole is hashed as text."""
    size = max(0, len(digest) + off)
    multihash = encode_uvarint(code) + encode_uvarint(size) + digest
    text = encoded(b"\x01" + encode_uvarint(codec) + multihash, base)
    try:
        found = named(text)
    except CallerFault:
        return
    if found.by is NamedBy.CID:
        assert size == len(digest)
        assert (found.multihash, found.form) == (multihash, (1, codec))
        assert named(found.cid) == found
    else:
        assert size != len(digest) or size < 20
        assert found == text_hash(text)


@pytest.mark.parametrize("text", [DIGEST.hex(), DIGEST.hex().upper(), f" {DIGEST.hex()}\n"])
def test_hex_digits_are_a_sha256(text: str) -> None:
    assert named(text) == Named(MULTIHASH, NamedBy.SHA256, None)
    assert content_multihash(text) == MULTIHASH


@given(st.text(min_size=1, max_size=1200))
def test_any_text_has_a_multihash_or_is_the_callers_fault(text: str) -> None:
    for form in FORMS:
        with contextlib.suppress(CallerFault):
            assert 2 <= len(content_multihash(form.format(text))) <= 80


def test_the_text_of_a_content() -> None:
    sha512 = b"\x13\x40" + bytes(64)
    for text in (CIDS[0], str(RAW), str(Cid(1, 0x0129, sha512))):
        assert named(text).cid == text
    assert named(DIGEST.hex()).cid == str(RAW)
    assert named("some name").cid.startswith("bafkrei")
    assert cid_text(sha512, None) == str(Cid(1, Codec.RAW, sha512))
    assert cid_form(0, Codec.DAG_PB, MULTIHASH) == (0, Codec.DAG_PB)
    for version, codec, multihash in (
        (0, 0x55, MULTIHASH),
        (0, 0x70, sha512),
        (2, 0x55, MULTIHASH),
        (1, 2**63, MULTIHASH),
    ):
        assert cid_form(version, codec, multihash) is None
