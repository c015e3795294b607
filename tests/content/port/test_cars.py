"""CARs: what is in them, in which order, and what happens to one that cannot be completed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.content.port import dag_walk
from fastmarket.content.port.gateway import Gateway
from fastmarket.content.port.pieces import AnswerCut
from fastmarket.formats.car import CarReader
from fastmarket.formats.cid import Cid, Codec
from fastmarket.formats.dag_pb import PbLink, decode_pb_node, encode_pb_node
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, UNIXFS_V1_2025
from tests.content.port.asking import ask, blocks_of, cids_of, joined, plan
from tests.content.port.conftest import TEXT
from tests.content.port.shop import DIRECTORY, Shop

SMALL = UNIXFS_V0_2015.with_(chunk_bytes=1000, links_per_node=4)  # a file of TEXT[:50_000] has 4 levels


def small_file(folder: Path, data: bytes = TEXT[:50_000], name: str = "small") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_a_whole_file_depth_first(shop: Shop, gateway: Gateway, tmp_path: Path) -> None:
    root = shop.sell(small_file(tmp_path), SMALL)
    car = ask(gateway, f"/ipfs/{root}?format=car").body
    sections = {str(cid): block for cid, block in blocks_of(car)}

    def expected(cid: Cid) -> list[str]:
        links = decode_pb_node(sections[str(cid)]).links
        return [str(cid), *(one for link in links for one in expected(Cid.from_bytes(link.cid)))]

    assert cids_of(car) == expected(root)
    assert [cid for cid in cids_of(car) if cid in map(str, shop.leaves)] == [str(one) for one in shop.leaves]
    reader = CarReader()
    reader.feed(car)
    assert reader.roots == (root.raw,)


def test_the_headers_of_a_car(shop: Shop, gateway: Gateway, file: Path) -> None:
    root = shop.sell(file)
    folder = shop.directory(a=root)
    got = ask(gateway, f"/ipfs/{folder}/a?format=car")
    assert got.headers["Content-Type"] == "application/vnd.ipld.car; version=1; order=dfs; dups=n"
    assert got.headers["Content-Disposition"] == f'attachment; filename="{folder}_a.car"'
    assert got.headers["Accept-Ranges"] == "none"
    assert got.headers["Etag"].startswith(f'W/"{root}.car.')
    assert got.length is None
    ranged = ask(gateway, f"/ipfs/{folder}/a?format=car", headers={"range": "bytes=0-1"})
    assert ranged.status == 200


def test_what_changes_the_bytes_changes_the_tag(shop: Shop, gateway: Gateway, file: Path) -> None:
    root = shop.sell(file)
    folder = shop.directory(a=root)
    asked = [
        f"/ipfs/{root}?format=car{more}"
        for more in (
            "",
            "&dag-scope=block",
            "&dag-scope=entity",
            "&car-dups=y",
            "&entity-bytes=0:5",
            "&entity-bytes=0:*",
            "&entity-bytes=5:*",
        )
    ]
    asked.append(f"/ipfs/{folder}/a?format=car")
    tags = [ask(gateway, target, "HEAD").headers["Etag"] for target in asked]
    assert len(set(tags)) == len(tags)


def test_the_blocks_of_the_path_come_first(shop: Shop, gateway: Gateway, file: Path) -> None:
    root = shop.sell(file)
    inner = shop.directory(file=root)
    outer = shop.directory(inner=inner)
    leaves = [str(one) for one in shop.leaves]
    ways = {
        "block": [str(outer), str(inner), str(root)],
        "entity": [str(outer), str(inner), str(root), *leaves],
        "all": [str(outer), str(inner), str(root), *leaves],
    }
    for scope, expected in ways.items():
        got = ask(gateway, f"/ipfs/{outer}/inner/file?format=car&dag-scope={scope}")
        assert cids_of(got.body) == expected
    assert cids_of(ask(gateway, f"/ipfs/{outer}?format=car&dag-scope=entity").body) == [str(outer)]
    assert cids_of(ask(gateway, f"/ipfs/{outer}?format=car").body)[:3] == [str(outer), str(inner), str(root)]


def test_duplicates_come_once_unless_wanted(shop: Shop, gateway: Gateway, tmp_path: Path) -> None:
    root = shop.sell(small_file(tmp_path, bytes(20_000)), SMALL)
    once = cids_of(ask(gateway, f"/ipfs/{root}?format=car").body)
    assert len(once) == len(set(once))
    all_of_them = cids_of(ask(gateway, f"/ipfs/{root}?format=car&car-dups=y").body)
    assert set(all_of_them) == set(once)
    assert all_of_them.count(str(shop.leaves[0])) == 20
    both = shop.directory(a=root, b=root)
    assert cids_of(ask(gateway, f"/ipfs/{both}?format=car").body) == [str(both), *once]


def test_a_tree_that_repeats_itself_ends(shop: Shop, gateway: Gateway) -> None:
    cid = Cid(1, Codec.DAG_PB, shop.put(DIRECTORY_NODE))
    for _ in range(40):  # 2^40 paths
        links = [PbLink(cid.raw, name, 0) for name in (b"a", b"b")]
        cid = Cid(1, Codec.DAG_PB, shop.put(encode_pb_node(links, DIRECTORY)))
    assert len(cids_of(ask(gateway, f"/ipfs/{cid}?format=car").body)) == 41


DIRECTORY_NODE = encode_pb_node((), DIRECTORY)


def test_what_was_seen_too_long_ago_comes_again(
    shop: Shop, gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dag_walk, "MAX_SEEN", 8)
    root = shop.sell(small_file(tmp_path), SMALL)
    both = shop.directory(a=root, b=root)
    found = cids_of(ask(gateway, f"/ipfs/{both}?format=car").body)
    assert set(found) == {str(both), *cids_of(ask(gateway, f"/ipfs/{root}?format=car").body)}


def test_identity_cids_are_no_sections(shop: Shop, gateway: Gateway) -> None:
    inline = Cid(1, Codec.RAW, b"\x00\x05hello")
    folder = shop.directory(hello=inline)
    for dups in "yn":
        got = ask(gateway, f"/ipfs/{folder}?format=car&car-dups={dups}")
        assert cids_of(got.body) == [str(folder)]
        assert cids_of(ask(gateway, f"/ipfs/{inline}?format=car&car-dups={dups}").body) == []
    assert ask(gateway, f"/ipfs/{folder}/hello").body == b"hello"


@pytest.mark.parametrize("profile", [SMALL, SMALL.with_(cid_version=1), UNIXFS_V1_2025])
@settings(max_examples=30)
@given(first=st.integers(-60_000, 60_000), last=st.none() | st.integers(-60_000, 60_000))
def test_the_least_that_holds_the_bytes(
    tmp_path_factory: pytest.TempPathFactory, profile: object, first: int, last: int | None
) -> None:
    shop = Shop()
    data = TEXT[:50_000]
    try:
        root = shop.sell(small_file(tmp_path_factory.mktemp("car"), data), profile)  # type: ignore[arg-type]
        given_last = "*" if last is None else last
        got = ask(Gateway(shop), f"/ipfs/{root}?format=car&entity-bytes={first}:{given_last}")
        start = max(first + len(data), 0) if first < 0 else first
        end = len(data) - 1 if last is None else last + len(data) if last < 0 else min(last, len(data) - 1)
        if last is not None and last < first and (first < 0) is (last < 0):
            assert got.status == 400
            return
        sent = [cid for cid in cids_of(got.body) if cid in {str(one) for one in shop.leaves}]
        chunk = profile.chunk_bytes  # type: ignore[attr-defined]
        if len(shop.leaves) == 1:
            expected = [str(root)]
        elif start > end:
            expected = []
        else:
            expected = [str(one) for one in shop.leaves[start // chunk : end // chunk + 1]]
        assert sent == expected
        assert cids_of(got.body)[0] == str(root)
    finally:
        shop.close()


def test_bytes_are_ignored_for_what_is_no_file(shop: Shop, gateway: Gateway, file: Path) -> None:
    folder = shop.directory(a=shop.sell(file))
    got = ask(gateway, f"/ipfs/{folder}?format=car&dag-scope=entity&entity-bytes=5:9")
    assert cids_of(got.body) == [str(folder)]


def test_a_block_that_is_missing_cuts_the_stream(shop: Shop, gateway: Gateway, tmp_path: Path) -> None:
    root = shop.sell(small_file(tmp_path), SMALL)
    shop.forget(shop.leaves[30].multihash)
    body = plan(gateway, f"/ipfs/{root}?format=car").body
    assert body is not None
    with pytest.raises(AnswerCut):
        joined(body)
    within = ask(gateway, f"/ipfs/{root}?format=car&entity-bytes=0:9999")
    assert len(blocks_of(within.body)) > 10
    after = ask(gateway, f"/ipfs/{root}?format=car&entity-bytes=31000:*")
    assert [cid for cid in cids_of(after.body) if cid in map(str, shop.leaves[31:])]


def test_a_malformed_block_cuts_the_stream(shop: Shop, gateway: Gateway) -> None:
    broken = Cid(1, Codec.DAG_PB, shop.put(b"\xff\xff\xff"))
    other = Cid(1, 0x71, shop.put(b"\xa0"))
    for cid in (shop.directory(a=broken), shop.directory(a=other)):
        body = plan(gateway, f"/ipfs/{cid}?format=car").body
        assert body is not None
        with pytest.raises(AnswerCut):
            joined(body)
        assert cids_of(ask(gateway, f"/ipfs/{cid}?format=car&dag-scope=entity").body) == [str(cid)]
        assert len(cids_of(ask(gateway, f"/ipfs/{cid}/a?format=car&dag-scope=entity").body)) == 2


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("dag-scope=some", 400),
        ("car-version=2", 400),
        ("car-version=1", 200),
        ("car-order=bfs", 400),
        ("car-order=unk", 200),
        ("car-order=dfs", 200),
        ("car-dups=x", 400),
        ("entity-bytes=", 400),
        ("entity-bytes=1", 400),
        ("entity-bytes=a:b", 400),
        ("entity-bytes=*:5", 400),
        ("entity-bytes=9:5", 400),
        ("entity-bytes=-5:-9", 400),
        ("entity-bytes=-5:9", 200),
        ("entity-bytes=" + "9" * 30 + ":*", 400),
    ],
)
def test_parameters(shop: Shop, gateway: Gateway, file: Path, query: str, status: int) -> None:
    assert ask(gateway, f"/ipfs/{shop.sell(file)}?format=car&{query}").status == status


def test_parameters_of_accept_count_where_the_query_has_none(
    shop: Shop, gateway: Gateway, file: Path
) -> None:
    root = shop.sell(file)
    accept = {"accept": "application/vnd.ipld.car; version=1; order=unk; dups=y"}
    for query, dups in (("", "y"), ("?format=car", "y"), ("?format=car&car-dups=n", "n")):
        got = ask(gateway, f"/ipfs/{root}{query}", headers=accept)
        assert f"dups={dups}" in got.headers["Content-Type"]
    bad = {"accept": "application/vnd.ipld.car; version=2"}
    assert ask(gateway, f"/ipfs/{root}", headers=bad).status == 400


def test_a_path_that_leads_nowhere_is_404(shop: Shop, gateway: Gateway, file: Path) -> None:
    folder = shop.directory(a=shop.sell(file))
    for path in ("b", "a/b", "a/b/c"):
        assert ask(gateway, f"/ipfs/{folder}/{path}?format=car").status == 404


def test_an_answer_goes_on_in_small_steps(shop: Shop, gateway: Gateway, tmp_path: Path) -> None:
    """Blocks that were sent before cost a step each, and no more, so that others have their turn."""
    root = shop.sell(small_file(tmp_path, bytes(1_000_000)), SMALL)
    body = plan(gateway, f"/ipfs/{root}?format=car").body
    assert body is not None
    assert sum(1 for piece in body if piece == b"") > 0
