"""Multibases: what go-multibase reads, read without a library, each as an independent reader has it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiformats import multibase as oracle

from fastmarket.errors import CallerFault
from fastmarket.formats.cid import Cid, NamedBy, content_multihash, named
from fastmarket.formats.multibase import PREFIXES, decode_loosely, decode_multibase

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "cids.json").read_text())["cids"]
BASES = [base for base in oracle.table() if base.code_printable in PREFIXES]


def test_the_oracle_knows_all_but_two() -> None:
    assert {base.code_printable for base in BASES} | {"\0", "🚀"} == PREFIXES


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
@given(data=st.binary(max_size=90))
def test_each_base_against_multiformats(base: oracle.Multibase, data: bytes) -> None:
    text = base.encode(data)
    assert decode_multibase(text) == data
    if text[0] in "fFbBcCvVtTkK":  # of one case: either is read
        assert decode_multibase(text[0] + text[1:].swapcase()) == data


@given(st.sampled_from(sorted(PREFIXES)), st.text("AZaz019+/-_= \n🚀é", max_size=40))
def test_any_text_is_decoded_or_a_value_error(prefix: str, rest: str) -> None:
    with contextlib.suppress(ValueError):
        raw, whole = decode_loosely(prefix + rest)
        assert isinstance(raw, bytes)
        if whole:
            assert decode_multibase(prefix + rest) == raw


@pytest.mark.parametrize(
    "text", ["", "1", "x", "h", "p", "f0", "f0g", "ba", "b0", "caa", "caa=", "m=", "Maa=", "zO"]
)
def test_what_no_encoder_makes(text: str) -> None:
    with pytest.raises(ValueError, match=r"prefix|alphabet|encoder"):
        decode_multibase(text)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["base"])
def test_what_go_cid_reads(vector: dict[str, str | int]) -> None:
    text, multihash = str(vector["text"]), bytes.fromhex(str(vector["multihash"]))
    found = named(text)
    assert found.by is NamedBy.CID
    assert (found.multihash, found.form) == (multihash, (vector["version"], vector["codec"]))
    assert Cid.from_link(text).multihash == multihash
    if "/" not in text[:8]:
        assert Cid.from_text(text) == Cid(int(vector["version"]), int(vector["codec"]), multihash)


def test_no_text_of_a_content_loads_a_library() -> None:
    texts = [vector["text"] for vector in VECTORS]
    code = (
        "import sys, json; from fastmarket.formats.cid import content_multihash\n"
        "before = set(sys.modules)\n"
        "for text in json.load(sys.stdin): content_multihash(text)\n"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(texts), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@given(st.text(max_size=60))
def test_any_text_behind_a_prefix_has_a_multihash_or_is_the_callers_fault(text: str) -> None:
    for prefix in PREFIXES:
        with contextlib.suppress(CallerFault):
            assert 2 <= len(content_multihash(prefix + text)) <= 80
