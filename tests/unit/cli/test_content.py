"""What an argument names: a file by its CID, anything else itself."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastmarket.cli import content
from fastmarket.errors import CallerFault, NodeFault
from fastmarket.formats.cid import NamedBy

HELLO = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"  # echo "hello world" | ipfs add -q
RAW = "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"  # printf hello, --cid-version 1


@pytest.mark.parametrize(
    "text", [HELLO[:-1], HELLO.replace("T", "0"), HELLO + "x", HELLO[:20], RAW[:-1], RAW + "7", RAW[:24]]
)
def test_what_looks_like_a_cid_is_no_name(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Typed, or cut: its hash is not what a person means."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CallerFault, match="CID"):
        content.resolve(text)
    Path(text).write_text("a file of that name")
    assert content.resolve(text).path == Path(text)


@pytest.mark.parametrize("form", ["{}", "ipfs://{}", " {}\n"])
def test_what_a_cid_says_of_itself(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cids = {
        HELLO: "base58btc - cidv0 - dag-pb - (sha2-256 : 256 : ",
        RAW: "base32 - cidv1 - raw - (sha2-256 : 256 : 2CF24D",
    }
    for cid, said in cids.items():
        assert content.cid_line(form.format(cid)).startswith(f"{cid}  {said}")
    with pytest.raises(CallerFault, match="paths are not supported"):
        content.cid_line(f"ipfs://{HELLO}/a.txt")
    with pytest.raises(CallerFault, match="no such file"):
        content.cid_line("holiday.mkv")
    Path(HELLO).write_text("a file of that name\n")
    assert content.cid_line(HELLO) == content.hash_file(Path(HELLO)).text


def test_a_file_by_its_cid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "hello"
    path.write_text("hello world\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for argument in (str(path), "hello", "./hello", "~/hello"):
        named = content.resolve(argument)
        assert (named.text, named.size, named.file_name) == (HELLO, 12, "hello")
        assert named.hashed_in_s is not None
        assert not content.is_bare_text(named)


@pytest.mark.parametrize("argument", [HELLO, "aB" * 32, "hello", "a b", "~nobody-here", "x" * 300])
def test_anything_else_stands_for_itself(
    argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if argument.startswith("~"):
        with pytest.raises(CallerFault, match="no such file"):
            content.resolve(argument)
        return
    named = content.resolve(argument)
    assert (named.text, named.path, named.size) == (argument, None, None)
    assert content.is_bare_text(named) == (argument not in (HELLO, "aB" * 32))


@pytest.mark.parametrize("argument", ["/no/such/file", "./gone", "../gone", "~/gone", "a\ud800"])
def test_a_path_to_nothing_is_a_slip_of_the_keyboard(
    argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CallerFault, match="no such file"):
        content.resolve(argument)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (errno.EACCES, "Permission denied"),
        (errno.EIO, "Input/output error"),
        (errno.ESTALE, "Stale file handle"),
    ],
)
def test_what_cannot_be_looked_at_is_no_text(
    fault: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that may not be entered, a disk or a server that is away: not the hash of its text."""

    def stat(*_: object, **__: object) -> os.stat_result:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(NodeFault, match=f"cannot read locked/film: {reason}"):
        content.resolve("locked/film")


def test_a_link_that_leads_to_nothing_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dangling").symlink_to("nothing")
    Path("loop").symlink_to("loop")
    with pytest.raises(CallerFault, match="dangling: is a dangling link"):
        content.resolve("dangling")
    with pytest.raises(NodeFault, match="cannot read loop: Too many levels"):
        content.resolve("loop")


def test_a_file_that_changes_while_it_is_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "film"
    path.write_bytes(bytes(10_000_000))

    @contextmanager
    def bar(name: str, size: int) -> Iterator[Callable[[int, int], None]]:
        yield lambda done, total: path.write_bytes(b"on") and None

    monkeypatch.setattr(content, "_bar", bar)
    for name in (content.hash_file, lambda path: content.resolve(str(path))):
        path.write_bytes(bytes(10_000_000))
        with pytest.raises(NodeFault, match="film changed while it was being read"):
            name(path)


@pytest.mark.skipif(not Path("/proc/version").is_file(), reason="no /proc here")
def test_the_size_told_is_that_of_the_bytes() -> None:
    named = content.resolve("/proc/version")
    assert named.size == len(Path("/proc/version").read_bytes())


@pytest.mark.parametrize(
    "form", ["ipfs://{}", "/ipfs/{}", "https://ipfs.io/ipfs/{}", "{}.ipfs.dweb.link", " {}/"]
)
def test_a_copied_cid_is_no_path(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    named = content.resolve(form.format(HELLO))
    assert (named.text, named.named_by) == (form.format(HELLO), NamedBy.CID)
    assert not content.is_bare_text(named)
    with pytest.raises(CallerFault, match="content: names a path after the CID"):
        content.resolve(f"ipfs://{HELLO}/a.txt")
    with pytest.raises(CallerFault, match="content: is not a CID behind /ipfs/"):
        content.resolve("/ipfs/gone")


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(CallerFault, match="is a directory"):
        content.resolve(str(tmp_path))


def test_a_directory_by_its_cid(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("hello world\n")
    (tmp_path / ".hidden").touch()
    shown = content.cid_line(str(tmp_path))
    assert shown.startswith("Qm")
    assert content.cid_line(str(tmp_path), hidden=True) != shown
    (tmp_path / "sub").mkdir()
    os.mkfifo(tmp_path / "sub" / "pipe")
    with pytest.raises(NodeFault, match=r"cannot read: .*pipe is not a regular file"):
        content.cid_line(str(tmp_path))


@pytest.mark.parametrize("name", ["gone", "gone/below", "nul\0", "x" * 5000])
def test_hashing_what_is_no_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(CallerFault):
        content.hash_file(tmp_path / name)


def test_a_name_that_is_no_utf8_is_still_sent(tmp_path: Path) -> None:
    path = Path(str(tmp_path) + "/caf\udce9")
    path.write_text("hello world\n")
    named = content.resolve(str(path))
    assert (named.text, named.file_name) == (HELLO, "caf?")
