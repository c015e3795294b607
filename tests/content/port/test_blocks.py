"""Raw blocks: what a buyer's client of any implementation asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastmarket.content.port.gateway import Gateway
from fastmarket.formats.block import verify_block
from fastmarket.formats.cid import Cid
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, UNIXFS_V1_2025, CidProfile
from fastmarket.native.cid import encode_cid_v1
from tests.content.port.asking import ask, plan
from tests.content.port.conftest import TEXT
from tests.content.port.shop import Shop

RAW = "application/vnd.ipld.raw"
ABSENT = "QmYzfKSE55XCjD1MW128RfciAf2DViABhEiXfgVFMabSjN"


@pytest.mark.parametrize("profile", [UNIXFS_V0_2015, UNIXFS_V1_2025])
def test_each_block_of_a_file_is_the_one_of_its_cid(
    shop: Shop, gateway: Gateway, file: Path, profile: CidProfile
) -> None:
    root = shop.sell(file, profile)
    for cid in (root, *shop.leaves):
        got = ask(gateway, f"/ipfs/{cid}?format=raw")
        assert got.status == 200
        assert verify_block(cid, got.body)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "target", ["/ipfs/bafkqaaa?format=raw", "/ipfs/bafkqaaa", "/ipfs/f01550000?format=raw"]
)
def test_the_probe_is_answered_without_the_store(
    shop: Shop, gateway: Gateway, method: str, target: str
) -> None:
    got = ask(gateway, target, method)
    assert (got.status, got.body, got.length) == (200, b"", 0)
    assert shop.finds == 0


def test_head_says_what_get_would(shop: Shop, gateway: Gateway, file: Path) -> None:
    root = shop.sell(file)
    for query in ("?format=raw", "", "?format=car"):
        got, head = (ask(gateway, f"/ipfs/{root}{query}", method) for method in ("GET", "HEAD"))
        assert (got.status, got.headers, got.length) == (head.status, head.headers, head.length)
        assert not head.body


def test_the_headers_of_a_block(shop: Shop, gateway: Gateway, file: Path) -> None:
    shop.sell(file)
    cid = shop.leaves[0]
    got = ask(gateway, f"/ipfs/{cid}", headers={"accept": RAW})
    assert got.headers == {
        "Content-Type": RAW,
        "Content-Disposition": f'attachment; filename="{cid}.bin"',
        "Etag": f'"{cid}.raw"',
        "Cache-Control": "public, max-age=29030400, immutable",
        "Accept-Ranges": "bytes",
        "X-Ipfs-Path": f"/ipfs/{cid}",
        "Ipfs-Uri": f"ipfs://{cid}",
        "X-Ipfs-Roots": str(cid),
    }


def test_what_is_not_here_is_404_whatever_is_asked(shop: Shop, gateway: Gateway) -> None:
    for query in ("?format=raw", "?format=car", "", "/some/path", "/some/path?format=car"):
        for method in ("GET", "HEAD"):
            assert ask(gateway, f"/ipfs/{ABSENT}{query}", method).status == 404
    assert ask(gateway, f"/ipfs/{ABSENT}", headers={"cache-control": "only-if-cached"}).status == 412


def test_what_is_here_comes_only_from_the_cache_too(shop: Shop, gateway: Gateway, file: Path) -> None:
    root = shop.sell(file)
    assert ask(gateway, f"/ipfs/{root}?format=raw", headers={"cache-control": "only-if-cached"}).status == 200


@pytest.mark.parametrize("profile", [UNIXFS_V0_2015, UNIXFS_V1_2025])
def test_every_range_of_a_block(shop: Shop, gateway: Gateway, file: Path, profile: CidProfile) -> None:
    shop.sell(file, profile)
    leaf = shop.leaves[0]
    block = ask(gateway, f"/ipfs/{leaf}?format=raw").body
    size = len(block)
    edges = sorted({*range(20), *range(size - 20, size), size // 2})
    for start in edges:
        for last in (start, start + 1, start + 13, size - 1, size + 100):
            got = ask(gateway, f"/ipfs/{leaf}?format=raw", headers={"range": f"bytes={start}-{last}"})
            assert got.status == 206
            assert got.body == block[start : last + 1]
            assert got.headers["Content-Range"] == f"bytes {start}-{min(last, size - 1)}/{size}"


@pytest.mark.parametrize(
    ("text", "status", "expected"),
    [
        ("bytes=-7", 206, TEXT[-7:]),
        ("bytes=999990-", 206, TEXT[-10:]),
        ("bytes=-99999999", 206, TEXT),
        ("bytes=5-6,20-30", 206, TEXT[5:7]),  # of several the first
        ("Bytes = 5-6", 200, TEXT),
        ("bytes=6-5", 200, TEXT),
        ("bytes=x-5", 200, TEXT),
        ("lines=1-5", 200, TEXT),
        ("bytes=", 200, TEXT),
        ("bytes=1000000-", 416, None),
        ("bytes=2000000-3000000", 416, None),
        ("bytes=-0", 416, None),
    ],
)
def test_ranges_of_a_file(
    shop: Shop, gateway: Gateway, file: Path, text: str, status: int, expected: bytes | None
) -> None:
    got = ask(gateway, f"/ipfs/{shop.sell(file)}", headers={"range": text})
    assert got.status == status
    if expected is None:
        assert got.headers["Content-Range"] == "bytes */1000000"
    else:
        assert got.body == expected


def test_a_range_of_a_changed_version_is_the_whole(shop: Shop, gateway: Gateway, file: Path) -> None:
    root = shop.sell(file)
    ranged = {"range": "bytes=1-2"}
    assert ask(gateway, f"/ipfs/{root}", headers={**ranged, "if-range": f'"{root}"'}).status == 206
    assert ask(gateway, f"/ipfs/{root}", headers={**ranged, "if-range": '"other"'}).status == 200
    assert ask(gateway, f"/ipfs/{root}", headers={**ranged, "if-range": f'W/"{root}"'}).status == 200


@pytest.mark.parametrize("query", ["?format=raw", "?format=car", "?format=car&dag-scope=block", ""])
def test_a_client_that_has_it_is_told_so(shop: Shop, gateway: Gateway, file: Path, query: str) -> None:
    root = shop.sell(file)
    etag = ask(gateway, f"/ipfs/{root}{query}").headers["Etag"]
    bare = etag.removeprefix("W/")
    for wanted in (etag, f"W/{bare}", f'"a", "b,c" , {etag}', "*", " * "):
        got = ask(gateway, f"/ipfs/{root}{query}", headers={"if-none-match": wanted})
        assert (got.status, got.body) == (304, b"")
        assert {"Etag", "Cache-Control"} <= set(got.headers)
    for wanted in ('"other"', "", bare.strip('"'), f"{bare[:-1]}x"):
        assert ask(gateway, f"/ipfs/{root}{query}", headers={"if-none-match": wanted}).status == 200
    got = ask(gateway, f"/ipfs/{ABSENT}{query}", headers={"if-none-match": "*"})
    assert got.status == 404


def test_a_block_is_named_as_the_asker_likes(shop: Shop, gateway: Gateway, file: Path) -> None:
    shop.sell(file)
    target = f"/ipfs/{shop.leaves[0]}?format=raw&filename="
    for given, expected in [
        ("a.bin", 'attachment; filename="a.bin"'),
        ("a%20b.bin", 'attachment; filename="a b.bin"'),
        ("a+b.bin", 'attachment; filename="a b.bin"'),
        ("%C4%99.txt", "attachment; filename=\"_.txt\"; filename*=UTF-8''%C4%99.txt"),
        ("a%22%0D%0Ab", "attachment; filename=\"a___b\"; filename*=UTF-8''a%22%0D%0Ab"),
    ]:
        assert ask(gateway, target + given).headers["Content-Disposition"] == expected


def test_a_block_is_found_under_any_codec(shop: Shop, gateway: Gateway, file: Path) -> None:
    shop.sell(file)
    leaf = shop.leaves[0]
    as_raw = encode_cid_v1(0x55, leaf.multihash)
    got = ask(gateway, f"/ipfs/{as_raw}?format=raw")
    assert got.body == ask(gateway, f"/ipfs/{leaf}?format=raw").body


def test_a_file_that_changed_is_not_here(shop: Shop, gateway: Gateway, file: Path) -> None:
    root = shop.sell(file)
    file.write_bytes(bytes(len(TEXT)))
    assert ask(gateway, f"/ipfs/{shop.leaves[0]}?format=raw").status == 404
    assert ask(gateway, f"/ipfs/{root}").status == 404


def test_a_block_by_its_path(shop: Shop, gateway: Gateway, file: Path) -> None:
    root = shop.sell(file)
    inner = shop.directory(**{"file.bin": root})
    outer = shop.directory(inner=inner)
    got = ask(gateway, f"/ipfs/{outer}/inner/file.bin?format=raw")
    assert verify_block(root, got.body)
    assert got.headers["X-Ipfs-Roots"] == f"{outer},{inner},{root}"
    assert got.headers["X-Ipfs-Path"] == f"/ipfs/{outer}/inner/file.bin"
    assert got.headers["Etag"] == f'"{root}.raw"'


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/", 404),
        ("/favicon.ico", 404),
        ("/ipns/example.org", 404),
        ("/ipfs", 404),
        ("/ipfs/", 400),
        ("/ipfs/nonsense", 400),
        ("/ipfs/Qm", 400),
        ("/ipfs/" + "b" * 5000, 400),
        ("/ipfs/f01550081" + "00" * 129, 400),  # an identity CID that is too long
        ("*", 400),
        ("", 400),
        ("/ipfs/bafkqaaa?format=tar", 406),
        ("/ipfs/bafkqaaa?format=ipns-record", 406),
        ("/ipfs/bafkqaaa?format=dag-json", 406),
        ("/ipfs/bafkqaaa/..", 400),
        ("/ipfs/bafkqaaa/%2e%2e/x", 400),
        ("/ipfs/bafkqaaa/%ff", 400),
        ("/ipfs/bafkqaaa" + "/x" * 129, 400),
        ("/ipfs/bafkqaaa?" + "&".join(f"a{n}=1" for n in range(17)), 400),
        ("/ipfs/bafkqaaa/x", 404),
        ("http://example.org/ipfs/bafkqaaa?format=raw", 200),
        ("ftp://example.org/ipfs/bafkqaaa", 400),
    ],
)
def test_what_cannot_be_answered(gateway: Gateway, target: str, status: int) -> None:
    assert ask(gateway, target).status == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "get"])
def test_nothing_can_be_changed(gateway: Gateway, method: str) -> None:
    got = ask(gateway, "/ipfs/bafkqaaa?format=raw", method)
    assert got.status == 405
    assert got.headers["Allow"] == "GET, HEAD, OPTIONS"


def test_a_browser_may_ask_first(gateway: Gateway) -> None:
    got = ask(gateway, f"/ipfs/{ABSENT}", "OPTIONS")
    assert (got.status, got.body) == (204, b"")


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "text/plain; charset=utf-8"),
        ("*/*", "text/plain; charset=utf-8"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/plain; charset=utf-8"),
        (RAW, RAW),
        (f"{RAW};q=0.5, application/vnd.ipld.car", "application/vnd.ipld.car; version=1; order=dfs; dups=n"),
        (f"text/html, {RAW}", RAW),
        (f"{RAW};q=0, */*", "text/plain; charset=utf-8"),
        ("application/vnd.ipld.car; dups=y", "application/vnd.ipld.car; version=1; order=dfs; dups=y"),
        ("application/vnd.ipld.dag-json, */*", "text/plain; charset=utf-8"),
        ("application/vnd.ipld.dag-json", None),
        ("application/vnd.ipfs.ipns-record", None),
    ],
)
def test_the_form_is_negotiated(gateway: Gateway, accept: str | None, content_type: str | None) -> None:
    hello = "/ipfs/bafkqabtimvwgy3yk"  # identity: "hello"
    got = ask(gateway, hello, headers={} if accept is None else {"accept": accept})
    if content_type is None:
        assert got.status == 406
    else:
        assert (got.status, got.headers["Content-Type"]) == (200, content_type)


def test_the_query_beats_accept(gateway: Gateway) -> None:
    got = ask(gateway, "/ipfs/bafkqaaa?format=raw", headers={"accept": "application/vnd.ipld.car"})
    assert got.headers["Content-Type"] == RAW
    got = ask(gateway, "/ipfs/bafkqaaa?format=car", headers={"accept": RAW})
    assert got.headers["Content-Type"].startswith("application/vnd.ipld.car")


def test_an_identity_cid_is_its_own_block(shop: Shop, gateway: Gateway) -> None:
    got = ask(gateway, "/ipfs/bafkqabtimvwgy3yk?format=raw")
    assert got.body == b"hello\n"
    assert shop.finds == 0


def test_cids_are_taken_in_any_base(shop: Shop, gateway: Gateway, file: Path) -> None:
    shop.sell(file, UNIXFS_V1_2025)
    cid = Cid.from_text(str(shop.leaves[0]))
    for text in (str(cid).upper(), f"f{cid.raw.hex()}", f"F{cid.raw.hex().upper()}"):
        assert ask(gateway, f"/ipfs/{text}?format=raw", "HEAD").status == 200


def test_a_plan_reads_nothing_of_a_file(shop: Shop, gateway: Gateway, file: Path) -> None:
    shop.sell(file)
    plan(gateway, f"/ipfs/{shop.leaves[0]}?format=raw", "HEAD")
    assert all(one.opened_count == 0 for one in shop.files)
