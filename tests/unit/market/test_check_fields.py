"""The fields of a message are counted before it is parsed, whatever form they are written in."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.errors import CallerFault
from fastmarket.formats.varint import frame
from fastmarket.market.calls import check_fields

MOST = 10
FIELDS = {
    "a varint": b"\x08\x05",
    "a negative number": b"\x08" + b"\xff" * 9 + b"\x01",
    "a varint in a longer form": b"\x08\x85\x00",
    "a tag in a longer form": b"\x88\x00\x05",
    "bytes": b"\x12" + frame(b"x" * 200),
    "bytes behind a length in a longer form": b"\x12\x83\x00abc",
    "eight bytes": b"\x09" + bytes(8),
    "four bytes": b"\x0d" + bytes(4),
}


@pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS)
def test_each_form_counts_as_one(field: bytes) -> None:
    check_fields(field * MOST, MOST)
    with pytest.raises(CallerFault, match="more than 10 fields"):
        check_fields(field * (MOST + 1), MOST)


@given(st.binary(max_size=60))
def test_what_is_no_message_is_left_to_the_parser(raw: bytes) -> None:
    with suppress(CallerFault):
        check_fields(raw, MOST)
