"""DAGs that no importer makes (RETRIEVAL facts: unixfs.md): refused before a wrong byte is written, and
bounded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastmarket.config import FetchConfig
from fastmarket.errors import CallerFault
from fastmarket.exchange.fetching.events import FetchFailed, FetchFinished
from fastmarket.exchange.fetching.faults import BadContent
from fastmarket.exchange.fetching.fetch import Fetch
from fastmarket.formats.cid import Cid, Codec
from fastmarket.formats.dag_pb import PbLink, encode_pb_node
from fastmarket.formats.unixfs.message import NodeKind, UnixfsMessage, encode_message
from tests.virtual.dags import Blocks, Part, identity
from tests.virtual.fetching import START, FetchRun, VirtualHolder

CONFIG = FetchConfig()
MIB = 1024 * 1024


def fetched(dag: Blocks, root: bytes, config: FetchConfig = CONFIG, **options: object) -> FetchRun:
    """A run against one honest holder, until it ended."""
    fetch = Fetch(Cid.from_bytes(root), config, START, **options)  # type: ignore[arg-type]
    run = FetchRun(fetch, dag.blocks, [VirtualHolder(1, rate=1e9)])
    run.start().run()
    return run


def fault_of(run: FetchRun) -> Exception:
    end = run.events[-1]
    assert isinstance(end, FetchFailed)
    assert run.ends() == {}, "the holder is not to blame"
    return end.fault


def refused(dag: Blocks, root: Part, reason: str, *, written: bytes = b"") -> None:
    run = fetched(dag, root[0])
    fault = fault_of(run)
    assert isinstance(fault, BadContent)
    assert reason in str(fault)
    assert bytes(run.file) == written


def whole(dag: Blocks, root: Part, data: bytes, config: FetchConfig = CONFIG) -> FetchRun:
    run = fetched(dag, root[0], config)
    assert isinstance(run.events[-1], FetchFinished)
    assert bytes(run.file) == data
    return run


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("promised", [1, 9, 11, 3 * MIB])
def test_a_leaf_that_has_not_what_is_promised_is_not_written(raw: bool, promised: int) -> None:
    dag = Blocks(raw_leaves=raw)
    cid, _ = dag.leaf(b"0123456789")
    refused(dag, dag.node([(cid, promised)]), "promised were")


def test_a_node_that_has_not_what_is_promised_is_not_written() -> None:
    dag = Blocks()
    inner, _ = dag.node([dag.leaf(b"01234"), dag.leaf(b"56789")])
    refused(dag, dag.node([(inner, 11)]), "promised were 11")


def test_two_promises_for_one_block_cannot_both_be_kept() -> None:
    dag = Blocks()
    cid, _ = dag.leaf(b"0123456789")
    run = fetched(dag, dag.node([(cid, 10), (cid, 9)])[0])
    assert isinstance(fault_of(run), BadContent)
    assert bytes(run.file) in (b"", b"0123456789")


def test_bytes_of_an_inner_node_come_before_its_children() -> None:
    dag = Blocks()
    inner = dag.node([dag.leaf(b"cd")], inline=b"b")
    whole(dag, dag.node([inner, dag.leaf(b"ef")], inline=b"a"), b"abcdef")
    assert fetched(dag, dag.node([inner, dag.leaf(b"ef")], inline=b"a")[0], span=(1, 2)).file[1:] == b"b"


def test_a_size_that_is_a_lie_is_refused_by_the_callers_limit() -> None:
    dag = Blocks()
    root = dag.node([(dag.leaf(b"x")[0], 1 << 40)])[0]
    assert isinstance(fault_of(fetched(dag, root, max_bytes=1 << 30)), CallerFault)
    eib = dag.node([(root, 1 << 60)])[0]
    assert isinstance(fault_of(fetched(dag, eib)), BadContent)
    # What a span wants is what counts.
    spanned = fetched(dag, root, span=(0, 10), max_bytes=1 << 30)
    assert "promised were" in str(fault_of(spanned))


def test_a_tree_of_one_block_linked_again_and_again_costs_one_request_a_level() -> None:
    """Ten levels of 1,024 links: 1 EiB by ten blocks. A span of it is fetched all the same."""
    dag = Blocks()
    part = dag.leaf(b"\0" * 1024)
    for _ in range(4):
        part = dag.node([part] * 1024)
    fetch = Fetch(Cid.from_bytes(part[0]), CONFIG, START, span=(5 << 30, (5 << 30) + 300_000))
    run = FetchRun(fetch, dag.blocks, [VirtualHolder(1)], keeps=False)
    assert isinstance(run.start().run(), FetchFinished)
    assert run.written_bytes == 300_000
    assert len(run.asks) == 5


def test_a_tree_that_is_too_deep_is_refused() -> None:
    dag = Blocks()
    part = dag.leaf(b"0123456789")
    for _ in range(CONFIG.max_depth):
        part = dag.node([part])
    whole(dag, part, b"0123456789")
    refused(dag, dag.node([part]), "from the root to a leaf")


def test_children_without_bytes_are_counted_and_not_fetched() -> None:
    dag = Blocks()
    empty = dag.leaf(b"")
    node = dag.node([empty] * 500)
    run = whole(dag, dag.node([empty, node, dag.leaf(b"ab"), empty, dag.leaf(b"cd"), node]), b"abcd")
    assert len(run.asks) == 3
    small = replace(CONFIG, free_links=400)
    many = dag.node([dag.leaf(b"ab"), *[empty] * 500, dag.leaf(b"cd")])
    assert "links in a file of that size" in str(fault_of(fetched(dag, many[0], small)))


def test_leaves_of_a_byte_are_counted() -> None:
    dag = Blocks()
    part = dag.leaf(b"x")
    for _ in range(3):
        part = dag.node([part] * 10)
    whole(dag, part, b"x" * 1000)
    assert "links in a file" in str(fault_of(fetched(dag, part[0], replace(CONFIG, free_links=500))))
    # Also where bytes behind them are promised.
    large = dag.leaf(bytes(MIB))
    behind = dag.node([part, *[large] * 64])
    run = fetched(dag, behind[0], replace(CONFIG, free_links=500))
    assert "links in a file" in str(fault_of(run))
    whole(dag, dag.node([*[large] * 2, part]), bytes(2 * MIB) + b"x" * 1000, replace(CONFIG, free_links=500))


def test_inner_nodes_of_more_bytes_than_the_file_are_refused() -> None:
    dag = Blocks()
    small = replace(CONFIG, free_inner_bytes=3000)
    parts = []
    for number in range(40):
        part = dag.leaf(b"%02d" % number)
        for _ in range(5):
            part = dag.node([part])
        parts.append(part)
    assert "inner nodes of more than" in str(fault_of(fetched(dag, dag.node(parts)[0], small)))


def test_identity_cids_are_decoded_in_place() -> None:
    dag = Blocks()
    raw = identity(b"0123", Codec.RAW)
    leaf = dag.leaf(b"4567")
    inner_block = encode_pb_node(
        [PbLink(leaf[0], b"", 0)], encode_message(UnixfsMessage(NodeKind.FILE, b"", 4, (4,)))
    )
    inner = identity(inner_block, Codec.DAG_PB)
    run = whole(dag, dag.node([(raw, 4), (inner, 4), (raw, 4)]), b"012345670123")
    assert len(run.asks) == 2
    assert run.fetch.holders()[0].bytes == 4, "bytes that stand in a link cost nothing"
    refused(dag, dag.node([(inner, 5)]), "promised were 5")
    whole_root = fetched(dag, raw)
    assert bytes(whole_root.file) == b"0123"
    assert whole_root.asks == []


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\x0a\x02\x08\x01",  # a directory
        b"\x0a\x04\x08\x04\x12\x00",  # a symlink
        b"\x0a\x02\x08\x03",  # metadata
        b"\xff" * 20,
    ],
)
def test_what_is_no_file_inside_a_file_is_refused(block: bytes) -> None:
    dag = Blocks()
    refused(dag, dag.node([(dag.add(block), 4)]), "")


def test_links_with_names_and_missing_sizes_are_refused() -> None:
    dag = Blocks()
    refused(dag, dag.node([dag.leaf(b"a")], names=[b"name"]), "name")
    cid = dag.leaf(b"a")[0]
    message = UnixfsMessage(NodeKind.FILE, b"", 1, ())
    refused(dag, (dag.add(encode_pb_node([PbLink(cid, b"", 0)], encode_message(message))), 1), "block sizes")
    message = UnixfsMessage(NodeKind.FILE, b"", 2, (1,))
    refused(dag, (dag.add(encode_pb_node([PbLink(cid, b"", 0)], encode_message(message))), 2), "whose parts")


def test_a_false_tree_size_changes_nothing() -> None:
    dag = Blocks()
    links = [PbLink(dag.leaf(part)[0], b"", tsize) for part, tsize in ((b"ab", 0), (b"cd", 1 << 60))]
    message = UnixfsMessage(NodeKind.FILE, b"", 4, (2, 2))
    whole(dag, (dag.add(encode_pb_node(links, encode_message(message))), 4), b"abcd")


def test_a_sparse_file_of_a_tebibyte_costs_a_request_a_level_and_little_memory() -> None:
    """4,194,304 equal leaves: as many writes, which the driver's answers pace."""
    dag = Blocks(raw_leaves=True)
    part = dag.leaf(bytes(256 * 1024))
    for width in (128, 128, 256):
        part = dag.node([part] * width)
    assert part[1] == 1 << 40
    fetch = Fetch(Cid.from_bytes(part[0]), CONFIG, START)
    run = FetchRun(fetch, dag.blocks, [VirtualHolder(1, rate=1e9)], keeps=False)
    run.start()
    assert not run.go(60.0, until_verified=20 << 30)
    assert len(run.asks) == 4
    assert run.max_unwritten <= CONFIG.max_ahead_bytes + 256 * 1024
    assert run.written_bytes >= 19 << 30
