"""The list of what was registered: what paths hold now, and what is to be withdrawn."""

from __future__ import annotations

import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from fastmarket.cli.registered import (
    BY_NAME,
    FILE,
    Entry,
    RegisteredList,
    content_name,
    exact,
    path_key,
    state_text,
)
from fastmarket.errors import NodeFault
from fastmarket.formats.cid import Cid, Codec, sha256_multihash
from fastmarket.hashing import FileState

STATE = FileState(1, 2**64 - 1, 3, 4, 5)  # some file systems use all bits of an inode's number


def entry(path: bytes, cid: str) -> Entry:
    return Entry(path, exact(STATE), "terms", cid)


@pytest.fixture
def done(tmp_path: Path) -> RegisteredList:
    return RegisteredList(tmp_path, "node", b"me")


def test_what_a_path_held_before_is_old(tmp_path: Path, done: RegisteredList) -> None:
    root = os.fsencode(tmp_path)
    for name in ("a/1", "a/2", "ab"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    done.add([entry(root + b"/a/1", "one"), entry(root + b"/a/2", "two"), entry(root + b"/ab", "three")])
    assert done.entry(root + b"/a/1") == entry(root + b"/a/1", "one")
    assert done.old_under(root) == []
    done.add([entry(root + b"/a/1", "new"), entry(root + b"/a/2", "two")])
    done.drop([root + b"/ab", b"/never"])
    assert done.entry(root + b"/ab") is None
    assert (done.old_under(root + b"/a"), done.old_under(root + b"/ab")) == (["one"], ["three"])
    assert sorted(done.old_under(b"/")) == ["one", "three"]
    assert [found.path for found in done.under(root + b"/a")] == [root + b"/a/1", root + b"/a/2"]
    assert [found.path for found in done.under(root + b"/a/1")] == [root + b"/a/1"]
    assert [done.needed(cid) for cid in ("new", "two", "one", "three")] == [True, True, False, False]
    done.settle(root + b"/a", "one")
    assert done.old_under(b"/") == ["three"]
    done.forget("two")
    done.forget("three")
    assert (done.entry(root + b"/a/2"), done.old_under(b"/")) == (None, [])


def test_a_content_is_needed_while_a_file_of_it_is_there(tmp_path: Path, done: RegisteredList) -> None:
    here = tmp_path / "here"
    here.touch()
    done.add([entry(os.fsencode(here), "one"), entry(os.fsencode(tmp_path / "moved" / "away"), "one")])
    done.add([entry(BY_NAME + b"two", "two")])
    assert (done.needed("one"), done.needed("two")) == (True, True)
    here.unlink()
    assert (done.needed("one"), done.needed("two")) == (False, True)
    here.mkdir()
    assert not done.needed("one")


def test_what_is_sent_is_like_no_file(done: RegisteredList) -> None:
    known = entry(b"/a", "one")
    assert known.sent().state not in ("", known.state)
    assert known.sent() == known.sent().sent()
    assert known.sent().device == known.device


def test_nodes_and_users_do_not_meet(tmp_path: Path, done: RegisteredList) -> None:
    (tmp_path / "a").touch()
    path = os.fsencode(tmp_path / "a")
    done.add([entry(path, "one")])
    for node, user in (("node", b"you"), ("other", b"me")):
        with RegisteredList(tmp_path, node, user) as other:
            assert other.entry(path) is None
            assert not other.needed("one")
            other.forget("one")
    assert done.needed("one")


def test_it_is_made_once_by_whoever_comes_first(tmp_path: Path) -> None:
    together = Barrier(8)

    def first(number: int) -> str:
        together.wait()
        with RegisteredList(tmp_path / "new", "node", b"me") as done:
            done.add([entry(b"/%d" % number, "one")])
            return ""

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(first, range(8))) == [""] * 8
    with RegisteredList(tmp_path / "new", "node", b"me") as done:
        assert len(done.under(b"/")) == 8
    assert (tmp_path / "new" / FILE).stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_used_is_named(tmp_path: Path, done: RegisteredList) -> None:
    del done
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(NodeFault, match=r"registered\.db: format 99 is from a newer version"):
        RegisteredList(tmp_path, "node", b"me")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / FILE).write_text("no database at all, " * 100)
    with pytest.raises(NodeFault, match="file is not a database; move it away to start over"):
        RegisteredList(tmp_path / "other", "node", b"me")
    (tmp_path / "file").touch()
    with pytest.raises(NodeFault, match="cannot use the list"):
        RegisteredList(tmp_path / "file", "node", b"me")


def test_a_file_that_changed_a_moment_ago_is_not_believed() -> None:
    second = 10**9
    state = STATE._replace(changed_ns=100 * second)
    assert state_text(state, 110 * second) == exact(state)
    for now_ns in (101 * second, 100 * second, 50 * second):
        assert state_text(state, now_ns) != exact(state)
        assert Entry(b"/a", state_text(state, now_ns), "", "").device == state.device
    assert Entry(b"/a", "", "", "").device is None


def test_every_part_of_the_state_counts() -> None:
    told = {exact(STATE._replace(**{name: 77})) for name in STATE._fields}
    assert len(told | {exact(STATE)}) == len(STATE) + 1


def test_names_of_a_content() -> None:
    multihash = sha256_multihash(b"x")
    v0 = str(Cid(0, Codec.DAG_PB, multihash))
    for name in (v0, str(Cid(1, Codec.RAW, multihash)), multihash[2:].hex()):
        assert content_name(name) == v0
    assert content_name("") == ""


def test_a_path_is_one_by_all_links_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "alias").symlink_to("file")
    monkeypatch.chdir(tmp_path / "link")
    wanted = os.fsencode(tmp_path.resolve() / "real" / "file")
    for name in ("file", "./file", "../link/file", str(tmp_path / "link" / "file")):
        assert path_key(Path(name)) == wanted
    assert path_key(Path("alias")) == os.fsencode(tmp_path.resolve() / "real" / "alias")
