"""What strangers and people type at the page: names to save under, contents with a path, JSON."""

from __future__ import annotations

import os
import unicodedata
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from fastmarket.errors import CallerFault
from fastmarket.formats.cid import Cid, Codec, sha256_multihash
from fastmarket.web.content_path import file_of, split_path
from fastmarket.web.download import file_name
from fastmarket.web.json_body import JsonBody

CID = Cid(1, Codec.RAW, sha256_multihash(b"x"))
SEGMENTS = st.lists(st.text(min_size=1).filter(lambda part: "/" not in part), max_size=5)


@given(st.text(), st.integers(20, 300))
def test_a_name_to_save_is_one_harmless_part_of_a_path(text: str, most: int) -> None:
    name = file_name(text, "otherwise", most)
    assert name == "otherwise" or 0 < len(name.encode()) <= most
    assert os.path.basename(name) == name not in (".", "..")
    assert not name.startswith(".")
    assert not {*name} & {*'/\\:*?"<>|'}
    assert all(unicodedata.category(char) not in ("Cc", "Cf", "Cs") for char in name)


def test_the_ending_of_a_long_name_stays() -> None:
    assert file_name("ü" * 300 + ".tar.gz", "x", 255).endswith("ü.gz")
    assert file_name("a" * 300, "x", 255) == "a" * 255
    assert file_name("a." + "b" * 300, "x", 255) == "a." + "b" * 253
    assert file_name("x" * 300 + ".jpeg", "x", 255) == "x" * 250 + ".jpeg"
    assert file_name(" .. ", "x", 255) == file_name("\u202e", "x", 255) == file_name("///", "x", 255) == "x"


@given(st.text(max_size=200))
def test_any_text_names_a_file_or_says_why_not(text: str) -> None:
    with suppress(CallerFault):
        root, _ = file_of(text)
        assert isinstance(root, Cid)


@given(SEGMENTS, st.sampled_from(["", "/ipfs/", " /ipfs/"]))
def test_a_path_behind_a_cid_is_kept(segments: list[str], before: str) -> None:
    text = before + "/".join((str(CID), *segments))
    if text == text.strip():
        expected = tuple(segments)
        assert split_path(text) == ((str(CID), expected) if expected else (text, ()))


def test_the_path_of_an_url_is_decoded() -> None:
    assert split_path(f"ipfs://{CID}/a%20b/c?download=1") == (str(CID), ("a b", "c"))
    assert split_path(f"{CID}/a%20b") == (str(CID), ("a%20b",))
    assert split_path("some/name") == ("some/name", ())


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(JSON_VALUES)
def test_a_field_has_its_type_or_is_refused(value: object) -> None:
    body = JsonBody({"field": value})
    for read in (body.text, body.flag, lambda name: body.amount(name, 1000)):
        with suppress(CallerFault):
            got = read("field")
            assert got is None or got == value or got == int(str(value))
