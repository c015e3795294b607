"""What may be sold is below an allowed directory, really, and never the node's own."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.content.allowed import AllowedPaths, is_within, shown_path
from fastmarket.errors import CallerFault, Forbidden, NoSuchGood


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    for name in ("shelf/a", "shelf/sub/b", "shelf2/c", "node/identity.pem"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_what_is_below_may_be_sold(shelf: Path) -> None:
    allowed = AllowedPaths([str(shelf / "shelf")])
    (shelf / "way").symlink_to("shelf/sub")
    for path, real in (
        ("shelf", "shelf"),
        ("shelf/", "shelf"),
        ("shelf/a", "shelf/a"),
        ("shelf/../shelf/./sub//b", "shelf/sub/b"),
        ("way/b", "shelf/sub/b"),
    ):
        assert allowed.check(f"{shelf}/{path}") == str(shelf / real)


@pytest.mark.parametrize(
    "path", ["shelf2/c", "shelf2", "shelf/../shelf2/c", "out/c", "out", "file", "deep/x", "none", "none/x"]
)
def test_what_is_elsewhere_may_not(shelf: Path, path: str) -> None:
    allowed = AllowedPaths([str(shelf / "shelf")])
    (shelf / "shelf" / "out").symlink_to(shelf / "shelf2")
    (shelf / "shelf" / "file").symlink_to("/etc/hostname")
    (shelf / "shelf" / "deep").symlink_to("../out of here")
    asked = shelf / "shelf" / path if path.split("/")[0] in ("out", "file", "deep") else shelf / path
    # Not even whether it is there.
    with pytest.raises(Forbidden, match="may not be sold") as caught:
        allowed.check(str(asked))
    assert caught.value.field == "path"
    assert str(asked) in str(caught.value)


def test_without_directories_all_may_be_sold_but_the_node_s_own(shelf: Path) -> None:
    allowed = AllowedPaths([], [str(shelf / "node")])
    assert allowed.check(str(shelf / "shelf2" / "c")) == str(shelf / "shelf2" / "c")
    (shelf / "shelf" / "key").symlink_to("../node/identity.pem")
    for path in ("node", "node/identity.pem", "node/none", "shelf/key"):
        with pytest.raises(Forbidden, match="belongs to the node"):
            allowed.check(str(shelf / path))
    with pytest.raises(Forbidden, match="whole file system"):
        allowed.check("/")


def test_what_is_not_there_is_named(shelf: Path) -> None:
    with pytest.raises(NoSuchGood, match="no such file") as caught:
        AllowedPaths([]).check(str(shelf / "shelf" / "none"))
    assert str(shelf / "shelf" / "none") in str(caught.value)


@pytest.mark.parametrize("path", ["", "a", "./a", "a/../b", "/a\0b", "/" + 5000 * "x", "/a\ud800"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(CallerFault):
        AllowedPaths([]).check(path)


def test_a_loop_is_refused(shelf: Path) -> None:
    (shelf / "loop").symlink_to("loop")
    with pytest.raises(CallerFault, match="loop"):
        AllowedPaths([]).check(str(shelf / "loop" / "x"))


@pytest.mark.parametrize("path", ["shelf", "/no/such/directory", "/etc/hostname"])
def test_what_is_allowed_is_a_directory(path: str) -> None:
    with pytest.raises(CallerFault, match="allow-path"):
        AllowedPaths([path])


def test_within_is_by_whole_names() -> None:
    assert is_within("/a/b", "/a")
    assert is_within("/a", "/a")
    assert is_within("/a", "/")
    assert not is_within("/ab", "/a")
    assert not is_within("/", "/a")


@given(st.text())
def test_any_path_can_be_shown(path: str) -> None:
    shown_path(path).encode()


@given(st.text(max_size=50))
def test_no_text_is_more_than_refused(path: str) -> None:
    with suppress(CallerFault):
        AllowedPaths(["/usr"], ["/usr/lib"]).check("/usr/" + path)
