"""What strangers write and people type at the page: names to save under, fields of JSON."""

from __future__ import annotations

import os
import unicodedata
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from fastmarket.errors import CallerFault
from fastmarket.web.download import file_name
from fastmarket.web.json_body import JsonBody


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
