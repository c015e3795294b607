"""Files for people and curl, out of whole files and out of trees of blocks."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.content.port.fields import ALWAYS, MAX_HEADERS_BYTES
from fastmarket.content.port.gateway import Gateway
from fastmarket.content.port.media import SNIFFED_BYTES, type_by_content
from fastmarket.content.port.pieces import AnswerCut, FileSlice
from fastmarket.formats.cid import Cid, Codec
from fastmarket.formats.dag_pb import PbLink, encode_pb_node
from fastmarket.formats.unixfs.directory import DirectoryBuilder
from fastmarket.formats.unixfs.importer import DagLink
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015
from tests.content.port.asking import ask, joined, plan
from tests.content.port.conftest import TEXT
from tests.content.port.shop import Shop
from tests.content.port.test_cars import SMALL, small_file


def test_a_whole_file_is_one_slice(shop: Shop, gateway: Gateway, file: Path) -> None:
    body = plan(gateway, f"/ipfs/{shop.sell(file)}").body
    assert body is not None
    assert [piece[1:] for piece in body if isinstance(piece, FileSlice)] == [(0, len(TEXT))]


@pytest.mark.parametrize("sold", [True, False])
@pytest.mark.parametrize("version", [0, 1])
@settings(max_examples=40)
@given(start=st.integers(0, 49_999), length=st.integers(1, 60_000))
def test_every_range_is_that_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, sold: bool, version: int, start: int, length: int
) -> None:
    shop = Shop()
    try:
        data = TEXT[:50_000]
        path = small_file(tmp_path_factory.mktemp("file"), data)
        root = shop.sell(path, SMALL.with_(cid_version=version))
        if not sold:
            shop.break_up(root)
        got = ask(Gateway(shop), f"/ipfs/{root}", headers={"range": f"bytes={start}-{start + length - 1}"})
        assert (got.status, got.body) == (206, data[start : start + length])
        assert ask(Gateway(shop), f"/ipfs/{root}").body == data
    finally:
        shop.close()


def test_an_empty_file(shop: Shop, gateway: Gateway, tmp_path: Path) -> None:
    root = shop.sell(small_file(tmp_path, b""))
    got = ask(gateway, f"/ipfs/{root}")
    assert (got.status, got.body, got.length) == (200, b"", 0)
    shop.break_up(root)
    assert ask(gateway, f"/ipfs/{root}").body == b""


def test_a_file_by_its_path(shop: Shop, gateway: Gateway, file: Path) -> None:
    root = shop.sell(file)
    folder = shop.directory(**{"a picture.png": root})
    got = ask(gateway, f"/ipfs/{folder}/a%20picture.png")
    assert got.body == TEXT
    assert got.headers["Content-Type"] == "image/png"
    assert got.headers["Etag"] == f'"{root}"'
    assert got.headers["Accept-Ranges"] == "bytes"
    assert got.headers["X-Ipfs-Path"] == f"/ipfs/{folder}/a%20picture.png"


@pytest.mark.parametrize("path", ["", "/", "/inner", "/inner/"])
def test_directories_are_not_listed(shop: Shop, gateway: Gateway, file: Path, path: str) -> None:
    folder = shop.directory(inner=shop.directory(a=shop.sell(file)))
    assert ask(gateway, f"/ipfs/{folder}{path}").status == 404


def test_names_in_a_directory_of_shards(shop: Shop, gateway: Gateway, file: Path) -> None:
    root = shop.sell(file)
    builder = DirectoryBuilder(UNIXFS_V0_2015)
    for number in range(6000):
        builder.add(f"file number {number}", DagLink(root.raw, len(TEXT), len(TEXT)))
    folder = Cid.from_bytes(builder.finish(lambda cid, block: shop.put(block) and None).cid)
    for number in (0, 17, 5999):
        got = ask(gateway, f"/ipfs/{folder}/file%20number%20{number}")
        assert got.body == TEXT
    assert ask(gateway, f"/ipfs/{folder}/file%20number%206000").status == 404
    assert ask(gateway, f"/ipfs/{folder}").status == 404
    assert ask(gateway, f"/ipfs/{folder}?format=raw").status == 200


def test_a_symlink_is_shown_and_not_followed(shop: Shop, gateway: Gateway) -> None:
    link = Cid(1, Codec.DAG_PB, shop.put(encode_pb_node((), b"\x08\x04\x12\x0b/etc/passwd")))
    got = ask(gateway, f"/ipfs/{shop.directory(a=link)}/a")
    assert (got.status, got.body, got.headers["Content-Type"]) == (200, b"/etc/passwd", "inode/symlink")
    assert ask(gateway, f"/ipfs/{shop.directory(a=link)}/a/b").status == 404


def test_what_is_no_unixfs_is_no_file(shop: Shop, gateway: Gateway) -> None:
    cid = Cid(1, Codec.DAG_PB, shop.put(encode_pb_node((), None)))
    assert ask(gateway, f"/ipfs/{cid}").status == 404
    assert ask(gateway, f"/ipfs/{cid}?format=raw").status == 200


def test_saved_or_shown(shop: Shop, gateway: Gateway, file: Path) -> None:
    root = shop.sell(file)
    headers = ask(gateway, f"/ipfs/{root}").headers
    assert "Content-Disposition" not in headers
    headers = ask(gateway, f"/ipfs/{root}?filename=a.mp4").headers
    assert headers["Content-Disposition"] == 'inline; filename="a.mp4"'
    assert headers["Content-Type"] == "video/mp4"
    headers = ask(gateway, f"/ipfs/{root}?filename=a.mp4&download=true").headers
    assert headers["Content-Disposition"] == 'attachment; filename="a.mp4"'
    headers = ask(gateway, f"/ipfs/{root}?download=true").headers
    assert headers["Content-Disposition"] == f'attachment; filename="{root}"'


@pytest.mark.parametrize("name", ["page.html", "drawing.svg", "page.rdf", "feed.xml"])
def test_what_a_browser_would_run_is_shown_in_a_box(
    shop: Shop, gateway: Gateway, file: Path, name: str
) -> None:
    root = shop.sell(file)
    assert ask(gateway, f"/ipfs/{root}?filename={name}").headers["Content-Security-Policy"] == "sandbox"
    assert "Content-Security-Policy" not in ask(gateway, f"/ipfs/{root}?filename=a.pdf").headers


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"", "text/plain; charset=utf-8"),
        (b"plain text\n", "text/plain; charset=utf-8"),
        ("żółw".encode()[:-1], "text/plain; charset=utf-8"),
        (b"<html><script>", "text/plain; charset=utf-8"),
        (b"%PDF-1.7", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n....", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF....WEBPVP8 ", "image/webp"),
        (b"....ftypisom", "video/mp4"),
        (b"PK\x03\x04", "application/zip"),
        (b"\x00\x01\x02", "application/octet-stream"),
        (b"abc\xffdef", "application/octet-stream"),
    ],
)
def test_types_by_content(head: bytes, found: str) -> None:
    assert type_by_content(head) == found


@given(st.binary(max_size=SNIFFED_BYTES))
def test_any_content_has_a_type_and_none_that_runs(head: bytes) -> None:
    assert "html" not in type_by_content(head)


def test_a_tree_that_does_not_keep_its_word_is_cut(shop: Shop, gateway: Gateway) -> None:
    leaf = Cid(1, Codec.RAW, shop.put(b"x" * 10))
    gone = Cid(1, Codec.RAW, b"\x12\x20" + bytes(32))

    def tree(child: Cid, size: int) -> Cid:
        data = b"\x08\x02\x18" + bytes((size,)) + b"\x20" + bytes((size,))
        return Cid(1, Codec.DAG_PB, shop.put(encode_pb_node([PbLink(child.raw, b"", 10)], data)))

    assert ask(gateway, f"/ipfs/{tree(leaf, 10)}").body == b"x" * 10
    inner = tree(leaf, 10)
    for root in (tree(leaf, 11), tree(leaf, 9), tree(gone, 10), tree(inner, 11)):
        # What is looked at for its type shows it before anything is sent.
        assert ask(gateway, f"/ipfs/{root}").status == 404
        body = plan(gateway, f"/ipfs/{root}?filename=a.bin").body
        assert body is not None
        with pytest.raises(AnswerCut):
            joined(body)


def test_a_tree_of_any_depth_ends(shop: Shop, gateway: Gateway) -> None:
    cid = Cid(1, Codec.RAW, shop.put(b"x"))
    for _ in range(40):
        cid = Cid(
            1, Codec.DAG_PB, shop.put(encode_pb_node([PbLink(cid.raw, b"", 1)], b"\x08\x02\x18\x01\x20\x01"))
        )
    assert ask(gateway, f"/ipfs/{cid}").status == 404
    assert len(ask(gateway, f"/ipfs/{cid}?format=car").body) > 40


@settings(max_examples=200)
@given(
    names=st.lists(
        st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60),
        min_size=1,
        max_size=12,
    ).filter(lambda names: not {".", ".."} & set(names)),
    filename=st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
)
def test_headers_stay_short_and_clean(names: list[str], filename: str) -> None:
    from urllib.parse import quote

    shop = Shop()
    cid = Cid(1, Codec.DAG_PB, shop.put(encode_pb_node((), b"\x08\x02\x12\x02hi\x18\x02")))
    for name in reversed(names):
        links = [PbLink(cid.raw, name.encode(), 0)]
        cid = Cid(1, Codec.DAG_PB, shop.put(encode_pb_node(links, b"\x08\x01")))
    path = "/".join(quote(name, safe="") for name in names)
    for query in ("format=raw", "format=car", "download=true"):
        answer = plan(Gateway(shop), f"/ipfs/{cid}/{path}?{query}&filename={quote(filename)}")
        assert answer.status == 200
        lines = [*answer.headers, *ALWAYS, ("Date", "x" * 29), ("Content-Length", "9" * 19)]
        assert sum(len(name) + len(value) + 4 for name, value in lines) < MAX_HEADERS_BYTES
        assert all(value.isascii() and value.isprintable() for _, value in lines)
