"""The walk over a DAG: by offset, and of a huge file only a part at once."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from fastmarket.config import FetchConfig
from fastmarket.exchange.fetching.kept_spans import KeptSpans
from fastmarket.exchange.fetching.links import PackedLinks
from fastmarket.exchange.fetching.walk import LeafWalk
from fastmarket.exchange.fetching.wanted import Place
from fastmarket.formats.unixfs.node import Child, FileNode

CONFIG = FetchConfig()
LEAF = 256 * 1024
WIDTH = 174


def node_of(file_bytes: int, offset: int) -> PackedLinks:
    """The node of a balanced tree over so many bytes; CIDs say where."""
    part = LEAF
    while part * WIDTH < file_bytes:
        part *= WIDTH
    children = []
    for at in range(0, file_bytes, part):
        cid = b"\x12\x20" + (offset + at).to_bytes(32, "big")
        children.append(Child(cid, min(part, file_bytes - at)))
    return PackedLinks(FileNode(b"", tuple(children), file_bytes))


def test_of_a_file_of_a_tebibyte_only_a_part_is_known_at_once() -> None:
    size = 1 << 40
    walk = LeafWalk(CONFIG, 0, size)
    walk.expand(node_of(size, 0), 0, 1)
    under_way: deque[Place] = deque()
    offset = most = inner_ahead = 0
    while offset < 40 << 30:
        while len(under_way) < CONFIG.max_inner_requests and (place := walk.next_inner(size)) is not None:
            under_way.append(place)
        if under_way:
            place = under_way.popleft()
            inner_ahead = max(inner_ahead, place.offset - offset)
            walk.expand(node_of(place.length, place.offset), place.offset, place.depth + 1)
        else:
            place = walk.next_leaf()
            assert (place.offset, place.cid[2:]) == (offset, offset.to_bytes(32, "big"))
            offset += place.length
        most = max(most, walk.known_leaves)
    known = CONFIG.max_known_leaves
    assert known <= most <= known + CONFIG.max_inner_requests * WIDTH
    assert inner_ahead <= CONFIG.max_inner_requests * WIDTH * WIDTH * LEAF


def test_links_of_several_widths_are_packed_too() -> None:
    children = (Child(b"abc", 1), Child(b"de", 2))
    links = PackedLinks(FileNode(b"", children, 3))
    assert [links.cid(0), links.cid(1)] == [b"abc", b"de"]
    assert len(links) == 2


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 10))), st.integers(0, 60), st.integers(0, 20))
def test_kept_spans_cover_what_their_bytes_cover(spans: list[tuple[int, int]], first: int, size: int) -> None:
    kept = KeptSpans((at, at + length) for at, length in spans)
    held = {byte for at, length in spans for byte in range(at, at + length)}
    if size:
        assert kept.covers(first, first + size) == held.issuperset(range(first, first + size))
