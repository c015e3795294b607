"""Paths through directories and shards to a file."""

from __future__ import annotations

import pytest

from fastmarket.config import FetchConfig
from fastmarket.errors import CallerFault
from fastmarket.exchange.fetching.events import FetchFailed, FetchFinished, Planned
from fastmarket.exchange.fetching.faults import BadContent
from fastmarket.exchange.fetching.fetch import Fetch
from fastmarket.formats.cid import Cid
from fastmarket.formats.dag_pb import encode_pb_node
from fastmarket.formats.unixfs.directory import DirectoryBuilder
from fastmarket.formats.unixfs.importer import DagLink
from fastmarket.formats.unixfs.message import NodeKind, UnixfsMessage, encode_message
from fastmarket.formats.unixfs.profile import UNIXFS_V1_2025
from tests.virtual.dags import Blocks, identity
from tests.virtual.fetching import START, FetchRun, VirtualHolder

CONFIG = FetchConfig()
DATA = bytes(range(200))


def fetched(dag: Blocks, root: bytes, *path: str) -> FetchRun:
    run = FetchRun(Fetch(Cid.from_bytes(root), CONFIG, START, path=path), dag.blocks, [VirtualHolder(1)])
    run.start().run()
    return run


def fault_of(run: FetchRun) -> Exception:
    end = run.events[-1]
    assert isinstance(end, FetchFailed)
    assert run.ends() == {}
    return end.fault


def tree(dag: Blocks) -> tuple[bytes, Cid]:
    file = dag.file(DATA)
    below = dag.directory([("größe.bin", file.raw), ("other", dag.leaf(b"x")[0])])
    return dag.directory([("a", dag.leaf(b"y")[0]), ("dir", below)]), file


def test_a_path_leads_to_a_file_and_fetches_nothing_else() -> None:
    dag = Blocks()
    root, file = tree(dag)
    run = fetched(dag, root, "dir", "größe.bin")
    assert isinstance(run.events[-1], FetchFinished)
    assert bytes(run.file) == DATA
    (planned,) = run.of(Planned)
    assert isinstance(planned, Planned)
    assert planned.cid == file
    assert len(run.asks) == len(dag.blocks) - 2


def test_a_path_leads_through_shards() -> None:
    dag = Blocks()
    file = dag.file(DATA)
    builder = DirectoryBuilder(UNIXFS_V1_2025)
    names = [f"file {number}" + "x" * 100 for number in range(3000)]
    for name in names:
        builder.add(name, DagLink(file.raw, len(DATA), 10))
    root = builder.finish(dag.blocks.__setitem__).cid
    below = dag.directory([("dir", root)])
    for name in (names[0], names[77], names[2999]):
        run = fetched(dag, below, "dir", name)
        assert isinstance(run.events[-1], FetchFinished)
        assert bytes(run.file) == DATA
        assert len(run.asks) < 30
    fault = fault_of(fetched(dag, root, "file 3000"))
    assert isinstance(fault, CallerFault)
    assert "there is no 'file 3000'" in str(fault)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (("dir",), "dir is a directory, not a file"),
        ((), "is a directory, not a file"),
        (("dir", "none"), "there is no 'none' in dir"),
        (("a", "b"), "a is a file, not a directory"),
    ],
)
def test_a_path_that_leads_to_no_file_is_the_callers(path: tuple[str, ...], reason: str) -> None:
    dag = Blocks()
    root, _ = tree(dag)
    fault = fault_of(fetched(dag, root, *path))
    assert isinstance(fault, CallerFault)
    assert fault.field == "path"
    assert reason in fault.reason


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b", "x" * 256, "\ud800"])
def test_names_that_cannot_be_are_refused_at_once(name: str) -> None:
    with pytest.raises(CallerFault, match="path"):
        Fetch(Cid.from_bytes(Blocks().leaf(b"")[0]), CONFIG, START, path=(name,))


def test_paths_are_bounded() -> None:
    root = Cid.from_bytes(Blocks().leaf(b"")[0])
    with pytest.raises(CallerFault, match="names"):
        Fetch(root, CONFIG, START, path=("a",) * (CONFIG.max_path_segments + 1))
    with pytest.raises(CallerFault, match="bytes"):
        Fetch(root, CONFIG, START, path=("a" * 200,) * 30)


def test_a_symlink_is_not_followed() -> None:
    dag = Blocks()
    message = encode_message(UnixfsMessage(NodeKind.SYMLINK, b"/etc/passwd", None, ()))
    link = dag.add(encode_pb_node([], message))
    root = dag.directory([("link", link)])
    for path in (("link",), ("link", "x")):
        assert "link is a symlink" in str(fault_of(fetched(dag, root, *path)))


def test_a_directory_with_a_bad_name_is_bad_content() -> None:
    dag = Blocks()
    fault = fault_of(fetched(dag, dag.directory([("../x", dag.leaf(b"")[0])]), "a"))
    assert isinstance(fault, BadContent)


def test_what_is_not_unixfs_is_refused() -> None:
    dag = Blocks()
    with pytest.raises(CallerFault, match="codec"):
        Fetch(Cid(1, 0x71, b"\x12\x20" + bytes(32)), CONFIG, START)
    with pytest.raises(CallerFault, match="hash function"):
        Fetch(Cid(1, 0x55, b"\x11\x14" + bytes(20)), CONFIG, START)
    root = dag.directory([("cbor", Cid(1, 0x71, b"\x12\x20" + bytes(32)).raw)])
    assert "codec 0x71" in str(fault_of(fetched(dag, root, "cbor")))


def test_a_file_may_stand_in_its_name() -> None:
    dag = Blocks()
    root = dag.directory([("small", identity(b"tiny", 0x55))])
    run = fetched(dag, root, "small")
    assert bytes(run.file) == b"tiny"
    assert len(run.asks) == 1
