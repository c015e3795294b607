"""Replies of the engine of a fleet: a form that was not expected is a fault of the engine, never of ours."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError

from fastmarket.storage.replies import OddReply, as_fields, as_texts, as_value, readable
from fastmarket.storage.store_trouble import Trouble, hangs, trouble_of

ODD = (
    None,
    True,
    1.5,
    7,
    b"text",
    "text",
    [],
    [1],
    [1, 2],
    [0, [b"a"]],
    [-1, []],
    [True, []],
    {b"a": 1},
    [b"x", []],
)


@pytest.mark.parametrize("reply", [*ODD, [0, {b"a": b"b"}], [0, [1, 2]], [0, [b"a", None]]])
def test_fields_of_another_form_are_refused(reply: object) -> None:
    with pytest.raises(OddReply):
        as_fields(reply)


@pytest.mark.parametrize("reply", [None, True, 7, b"text", {}, [None], [[b"a"]], [1]])
def test_texts_of_another_form_are_refused(reply: object) -> None:
    with pytest.raises(OddReply):
        as_texts(reply)


@pytest.mark.parametrize("reply", [True, 1.5, float("nan"), "text", [], {}, [b"a"]])
def test_values_of_another_form_are_refused(reply: object) -> None:
    with pytest.raises(OddReply):
        as_value(reply)


def test_what_an_engine_replies_is_taken() -> None:
    assert as_fields([2, [b"a", b"b", b"c", b"d"]]) == (2, {b"a": b"b", b"c": b"d"})
    assert as_texts([b"", b"a"]) == [b"", b"a"]
    assert [as_value(reply) for reply in (None, 7, b"a")] == [None, 7, b"a"]


@pytest.mark.parametrize(
    "error", [ValueError("x"), TypeError("x"), KeyError("x"), AttributeError("x"), RecursionError("x")]
)
def test_what_the_library_cannot_read_is_a_fault_of_the_engine(error: Exception) -> None:
    """One that answers, if oddly, is not waited for: it is not paused."""
    with pytest.raises(ResponseError) as told, readable():
        raise error
    assert trouble_of(told.value) is Trouble.ODD_REPLY
    assert not hangs(told.value)
