"""A CID and a path, in every form in which they are copied."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.errors import CallerFault
from fastmarket.formats.cid import Cid, sha256_multihash
from fastmarket.formats.cid_path import MAX_CHARS, cid_and_path

V1 = Cid(1, 0x70, sha256_multihash(b"x"))
V0 = Cid(0, 0x70, sha256_multihash(b"x"))

FORMS = [
    ("{}", ()),
    ("{}/", ()),
    (" {} ", ()),
    ("{}/a", ("a",)),
    ("{}/a/b c/", ("a", "b c")),
    ("{}//a", ("a",)),
    (" {}/ a ", (" a ",)),
    (" ipfs://{}/a ", ("a",)),
    ("{}/a%20b", ("a%20b",)),
    ("{}/a?b#c", ("a?b#c",)),
    ("{}/a/ipfs/b", ("a", "ipfs", "b")),
    ("/ipfs/{}/a/b", ("a", "b")),
    ("ipfs://{}/a%20b/%E2%82%AC", ("a b", "\N{EURO SIGN}")),
    ("ipfs://ipfs/{}/a", ("a",)),
    ("https://gateway.example/ipfs/{}/a%2Fb?filename=x#y", ("a/b",)),
    ("http://127.0.0.1:8081/ipfs/{}", ()),
]


@pytest.mark.parametrize("cid", [V0, V1], ids=["v0", "v1"])
@pytest.mark.parametrize(("form", "path"), FORMS)
def test_each_form_names_the_same(cid: Cid, form: str, path: tuple[str, ...]) -> None:
    assert cid_and_path(form.format(cid)) == (cid, path)


@pytest.mark.parametrize("form", ["https://{}.ipfs.dweb.example/a/b%20c?x", "{}.ipfs.dweb.example/a/b%20c"])
def test_a_cid_may_stand_in_the_host(form: str) -> None:
    assert cid_and_path(form.format(V1)) == (V1, ("a", "b c"))


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "/", "a/b", "/ipfs/", "/ipfs/a/b", "ipfs://", "ipfs://x/y", "https://host/ipfs/x/y"),
        *("a" * 64, f"{V1}x/a", f"x/{V1}", "movie.mkv", "\ud800/a", "a" * (MAX_CHARS + 1)),
    ],
)
def test_what_names_no_cid_is_the_callers_fault(text: str) -> None:
    with pytest.raises(CallerFault) as caught:
        cid_and_path(text)
    assert caught.value.field == "content"


@given(st.text(max_size=80))
def test_any_text_is_a_cid_or_a_fault(text: str) -> None:
    for whole in (text, f"{V1}{text}", f"/ipfs/{text}", f"https://h/ipfs/{text}"):
        try:
            cid, path = cid_and_path(whole)
        except CallerFault:
            continue
        assert isinstance(cid, Cid)
        assert all(path)
