"""`register -r` and `unregister -r` of a tree that changes, at a node that forgets: offered is what is there.

The commands run in this process, against a real node.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fastmarket.cli import client, registered, walking, withdrawing
from fastmarket.cli.processes import ServerProcess, environment, executable
from fastmarket.hashing import cid_of_file
from fastmarket.market import grpc_client
from tests.e2e.conftest import Done, Servers

Change = Callable[[Path], None]


@dataclass
class User:
    """A seller with a tree."""

    home: Path
    node: ServerProcess
    capture: pytest.CaptureFixture[str]

    def __post_init__(self) -> None:
        self.tree = self.home / "tree"
        self.tree.mkdir(parents=True)
        self.data_dir = self.home / "data"

    @property
    def at(self) -> tuple[str, ...]:
        return ("-p", self.node.port, "--data-dir", str(self.data_dir), "-u", "me", "--price", "3")

    def run(self, *arguments: str) -> Done:
        self.capture.readouterr()
        status = client.main([*self.at, *arguments])
        out, err = self.capture.readouterr()
        return Done(status, out, err)

    def register(self, *options: str, status: int = 0) -> dict[str, object]:
        done = self.run("register", "-r", str(self.tree), "--json", *options)
        assert done.status == status, done
        found: dict[str, object] = json.loads(done.out)
        assert "Traceback" not in done.err
        return found

    def write(self, name: str, text: str) -> str:
        """Its CID."""
        path = self.tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(cid_of_file(path))

    def offered(self) -> set[str]:
        """Contents with an offer in this user's name."""
        who = self.run("id", "--json").json["user_id"]
        return {
            offer["content"] for offer in self.run("offers", "--json").json["offers"] if offer["id"] == who
        }


@pytest.fixture
def user(tmp_path: Path, node: ServerProcess, capsys: pytest.CaptureFixture[str]) -> User:
    return User(tmp_path / "one", node, capsys)


def counts(told: dict[str, object]) -> tuple[object, ...]:
    return tuple(told[name] for name in ("registered", "skipped", "withdrawn", "failed"))


def same_size_under_the_old_time(path: Path) -> None:
    old = path.stat()
    other = path.with_name("other")
    other.write_text(path.read_text()[::-1])
    os.utime(other, ns=(old.st_atime_ns, old.st_mtime_ns))
    other.rename(path)


def same_size_in_place_under_the_old_time(path: Path) -> None:
    old = path.stat()
    path.write_text(path.read_text()[::-1])
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))


CHANGES: list[Change] = [
    same_size_under_the_old_time,
    same_size_in_place_under_the_old_time,
    lambda path: path.write_text("quite another") and None,
    lambda path: path.write_text("") and None,
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_offered_again_and_what_it_was_no_more(user: User, change: Change) -> None:
    stays, before = user.write("stays", "stays"), user.write("changes", "version 1")
    assert counts(user.register()) == (2, 0, 0, 0)
    change(user.tree / "changes")
    after = str(cid_of_file(user.tree / "changes"))
    assert after != before
    assert counts(user.register()) == (1, 1, 1, 0)
    assert user.offered() == {stays, after}
    assert counts(user.register()) == (0, 2, 0, 0)


def test_other_times_and_the_same_bytes_are_no_change(user: User) -> None:
    user.write("one", "bytes")
    user.register()
    os.utime(user.tree / "one", ns=(5, 5))
    (user.tree / "one").chmod(0o640)
    assert counts(user.register()) == (0, 1, 0, 0)


def test_what_went_is_withdrawn(user: User) -> None:
    stays = user.write("a/stays", "stays")
    for name in ("went", "b/went too", "c/becomes a directory"):
        user.write(name, name)
    user.register()
    (user.tree / "went").unlink()
    shutil.rmtree(user.tree / "b")
    (user.tree / "c" / "becomes a directory").unlink()
    (user.tree / "c" / "becomes a directory").mkdir()
    assert counts(user.register()) == (0, 1, 3, 0)
    assert user.offered() == {stays}
    (user.tree / "a" / "stays").unlink()
    assert counts(user.register()) == (0, 0, 1, 0)
    assert user.offered() == set()


def test_keep_withdraws_nothing_until_a_run_without_it(user: User) -> None:
    changed, went = user.write("changes", "1"), user.write("goes", "goes")
    user.register()
    (user.tree / "goes").unlink()
    new = user.write("changes", "22")
    assert counts(user.register("--keep")) == (1, 0, 0, 0)
    assert user.offered() == {changed, went, new}
    assert counts(user.register()) == (0, 1, 2, 0)
    assert user.offered() == {new}


def test_a_content_stays_as_long_as_a_path_has_it(user: User, node: ServerProcess) -> None:
    twice = user.write("first", "twice")
    assert user.write("second", "twice") == twice
    user.register()
    (user.tree / "first").unlink()
    assert counts(user.register()) == (0, 1, 0, 0)
    assert user.offered() == {twice}
    # It moves to another name: what is new is registered before what went is withdrawn.
    (user.tree / "second").rename(user.tree / "third")
    user.register()
    assert user.offered() == {twice}
    (user.tree / "third").unlink()
    assert counts(user.register()) == (0, 0, 1, 0)
    assert user.offered() == set()


@pytest.mark.parametrize("how", ["file", "cid", "tree"])
def test_a_content_registered_otherwise_stays(user: User, how: str) -> None:
    elsewhere = user.home / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "same").write_text("the same")
    cid = user.write("same", "the same")
    user.register()
    arguments = {"file": [str(elsewhere / "same")], "cid": [cid], "tree": ["-r", str(elsewhere)]}[how]
    assert user.run("register", *arguments).status == 0
    (user.tree / "same").unlink()
    assert counts(user.register()) == (0, 0, 0, 0)
    assert user.offered() == {cid}
    assert user.run("unregister", "-r", str(user.tree)).status == 1  # nothing of it is left
    assert user.run("unregister", *arguments).status == 0
    assert user.offered() == set()


def test_a_file_by_itself_that_changed(user: User) -> None:
    """What it held is withdrawn; `unregister` takes back what was registered, whatever it holds by now."""
    path = user.tree / "film"
    first = user.write("film", "version 1")
    assert user.run("register", str(path)).status == 0
    second = user.write("film", "version 2")
    done = user.run("register", str(path), "--json")
    assert done.json["withdrawn"] == 1
    assert user.offered() == {second}
    user.write("film", "version 3, which nobody offers")
    assert user.run("unregister", str(path)).status == 0
    assert user.offered() == set()
    assert first != second
    user.write("film", "version 4")
    user.run("register", str(path))
    path.unlink()
    assert user.run("unregister", str(path)).status == 0
    assert user.offered() == set()
    assert "no such file" in user.run("unregister", str(path)).complaint


def test_a_tree_is_withdrawn_as_it_was_registered(user: User) -> None:
    other = user.home / "other"
    other.mkdir()
    (other / "kept").write_text("in both")
    kept = user.write("in both", "in both")
    for name in ("unchanged", "changed", "gone/away"):
        user.write(name, name)
    user.register()
    user.run("register", "-r", str(other))
    user.write("changed", "since")
    shutil.rmtree(user.tree / "gone")
    (user.home / "link").symlink_to(user.tree)  # by another name of it
    told = user.run("unregister", "-r", str(user.home / "link"), "--json").json
    assert (told["withdrawn"], told["failed"]) == (3, 0)
    assert user.offered() == {kept}
    assert "nothing under" in user.run("unregister", "-r", str(user.tree)).complaint
    # Again from the start.
    assert counts(user.register()) == (3, 0, 0, 0)
    shutil.rmtree(user.tree)
    assert user.run("unregister", "-r", str(user.tree), "--json").json["withdrawn"] == 2
    assert user.offered() == {kept}


@pytest.mark.parametrize("command", ["register", "unregister"])
def test_what_was_registered_before_a_tree_was_moved(user: User, command: str) -> None:
    """Its old paths stand in the list, but no file is there any more: they keep no content offered."""
    for name in ("stays", "goes"):
        user.write(name, name)
    user.register()
    moved = user.home / "moved"
    user.tree.rename(moved)
    user.tree = moved
    assert counts(user.register()) == (2, 0, 0, 0)
    (moved / "goes").unlink()
    told = user.run(command, "-r", str(moved), "--json").json
    assert told["withdrawn"] == {"register": 1, "unregister": 2}[command]
    assert len(user.offered()) == {"register": 1, "unregister": 0}[command]


def test_what_the_node_took_before_a_run_was_killed(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node has offers of it all, and the run never learned so: the next one withdraws what went since."""
    for name in ("stays", "changes", "goes"):
        user.write(name, name)

    class Killed(BaseException):
        pass

    answers = grpc_client.MarketClient.register_many

    async def unheard(
        self: grpc_client.MarketClient, batches: AsyncIterator[list[grpc_client.Listing]]
    ) -> AsyncIterator[list[object]]:
        async for _ in answers(self, batches):
            raise Killed
            yield []

    with monkeypatch.context() as patched:
        patched.setattr(grpc_client.MarketClient, "register_many", unheard)
        with pytest.raises(Killed):
            user.run("register", "-r", str(user.tree))
    assert len(user.offered()) == 3
    now = user.write("changes", "since then")
    (user.tree / "goes").unlink()
    assert counts(user.register()) == (1, 1, 2, 0)
    assert user.offered() == {now, str(cid_of_file(user.tree / "stays"))}


def test_what_was_done_is_told_though_the_node_goes_meanwhile(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("1 early", "2 early", "3 early"):
        user.write(name, name)
    answers = grpc_client.MarketClient.register_many

    async def ending(
        self: grpc_client.MarketClient, batches: AsyncIterator[list[grpc_client.Listing]]
    ) -> AsyncIterator[object]:
        async for outcomes in answers(self, batches):
            yield outcomes
        raise grpc_client.ServerUnavailable("the node is shutting down")

    with monkeypatch.context() as patched:
        patched.setattr(grpc_client.MarketClient, "register_many", ending)
        done = user.run("register", "-r", str(user.tree), "--json")
        told = json.loads(done.out)
        assert (done.status, counts(told), told["faults"]) == (1, (3, 0, 0, 1), ["the node is shutting down"])
        assert "3 files (21 B) registered. Run the same command to continue" in done.err
        user.write("four", "four")
        done = user.run("register", "-r", str(user.tree))
        assert (done.status, done.out) == (1, "")
        assert "1 file (4 B) registered, 3 already registered. Run the same command to continue" in done.err
        assert done.err.endswith("fastmarket-client: the node is shutting down\n")
    assert counts(user.register()) == (0, 4, 0, 0)


@pytest.mark.parametrize("command", ["register", "unregister"])
def test_a_withdrawal_that_was_interrupted_goes_on(
    user: User, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after some of the withdrawals: the rest stands in the list."""
    names = [f"file {number}" for number in range(20)]
    for name in names:
        user.write(name, name)
    user.register()
    shutil.rmtree(user.tree)
    user.tree.mkdir()

    class Killed(BaseException):
        pass

    left, settle = [5], registered.RegisteredList.settle

    def dying(done: registered.RegisteredList, root: bytes, cid: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        settle(done, root, cid)

    with monkeypatch.context() as patched:
        patched.setattr(registered.RegisteredList, "settle", dying)
        patched.setattr(withdrawing, "AT_ONCE", 1)
        with pytest.raises(Killed):
            user.run(command, "-r", str(user.tree), "--json")
    assert len(user.offered()) == 14
    assert user.run(command, "-r", str(user.tree), "--json").json["withdrawn"] == 15  # one of them again
    assert user.offered() == set()


def test_another_price_registers_again(user: User) -> None:
    user.write("one", "one")
    user.register()
    assert counts(user.register("--price", "4")) == (1, 0, 0, 0)
    assert [o["price"] for o in user.run("offers", "--json").json["offers"] if o["file_name"] == "one"][
        -1:
    ] == [4]
    # Another program changed it at the node: the list is not believed.
    shutil.copytree(user.data_dir, user.home / "copy")
    user.register("--price", "5")
    shutil.rmtree(user.data_dir)
    (user.home / "copy").rename(user.data_dir)
    assert counts(user.register("--price", "4")) == (1, 0, 0, 0)


@pytest.mark.parametrize("loss", ["all", "older"])
def test_what_the_node_lost_is_registered_again(
    servers: Servers, tmp_path: Path, capsys: pytest.CaptureFixture[str], loss: str
) -> None:
    home = tmp_path / "node"
    first = servers.start("--data-dir", str(home))
    user = User(tmp_path / "one", first, capsys)
    kept = user.write("kept", "kept")
    user.register()
    with sqlite3.connect(home / "offers.db") as database:
        database.execute("VACUUM INTO ?", (str(tmp_path / "backup.db"),))
    database.close()
    lost = user.write("lost", "lost")
    assert counts(user.register()) == (1, 1, 0, 0)
    first.terminate()
    for file in home.glob("offers.db*"):
        file.unlink()
    if loss == "older":
        shutil.copy(tmp_path / "backup.db", home / "offers.db")
    user.node = servers.start("--data-dir", str(home))
    assert counts(user.register()) == ((2, 0, 0, 0) if loss == "all" else (1, 1, 0, 0))
    assert user.offered() == {kept, lost}
    user.node.terminate()
    user.node = servers.start()  # another node, with another key
    assert counts(user.register()) == (2, 0, 0, 0)
    assert user.offered() == {kept, lost}


def test_a_list_of_the_first_format_is_read(user: User) -> None:
    cid = user.write("one", "one")
    user.register()
    node, who = user.run("id", "--json").json["peer_id"], user.run("id", "--json").json["user_id"]
    for file in user.data_dir.glob("registered.*"):
        file.unlink()
    status = (user.tree / "one").stat()
    (user.home / "link").symlink_to(user.tree)
    with sqlite3.connect(user.data_dir / registered.FILE) as old:
        old.execute(
            "CREATE TABLE files (node TEXT, user BLOB, path BLOB, size INTEGER, changed_ns INTEGER, "
            "terms TEXT, cid TEXT, PRIMARY KEY (node, user, path)) WITHOUT ROWID"
        )
        old.execute("CREATE INDEX files_by_cid ON files (cid)")
        row = (
            node,
            who.encode(),
            os.fsencode(user.home / "link" / "one"),
            status.st_size,
            status.st_mtime_ns,
        )
        old.execute(
            "INSERT INTO files VALUES (?,?,?,?,?,?,?)", (*row, repr((3, "127.0.0.1", 8081, "me")), cid)
        )
        old.execute("PRAGMA user_version=1")
    old.close()
    assert counts(user.register()) == (0, 1, 0, 0)
    (user.tree / "one").unlink()
    assert counts(user.register()) == (0, 0, 1, 0)


def test_a_file_that_is_written_to_costs_itself(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at it and its bytes."""
    good = user.write("good", "good")
    user.write("moving", "moving")
    walk = walking.files_under

    def meanwhile(root: str, troubles: walking.Troubles) -> object:
        for found in walk(root, troubles):
            yield found
            if found.path.endswith("moving"):
                (user.tree / "moving").write_text("on")

    monkeypatch.setattr("fastmarket.cli.tree.files_under", meanwhile)
    told = user.register(status=1)
    assert counts(told) == (1, 0, 0, 1)
    assert told["faults"] == [f"{user.tree / 'moving'}: changed while it was being read"]
    assert user.offered() == {good}


def test_an_empty_mount_point_is_no_deletion(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = user.write("mount/inside", "inside")
    user.register()
    (user.tree / "mount" / "inside").unlink()
    real = os.stat

    def other_device(path: object, **options: object) -> os.stat_result:
        status = real(path, **options)  # type: ignore[arg-type]
        if os.fsdecode(path).endswith("/mount"):  # type: ignore[arg-type]
            status = os.stat_result((*status[:2], status.st_dev + 1, *status[3:]))
        return status

    with monkeypatch.context() as patched:
        patched.setattr("fastmarket.cli.withdrawing.os.stat", other_device)
        told = user.register(status=1)
    assert counts(told) == (0, 0, 0, 1)
    assert "so is its file system" in str(told["faults"])
    assert user.offered() == {inside}
    assert counts(user.register()) == (0, 0, 1, 0)


ODD_NAME = b"caf\xe9"


def test_each_part_that_cannot_be_read_is_named(user: User, tmp_path: Path) -> None:
    """In the words of the system; by a process that may not read everything, as root may."""
    good = user.write("good", "good")
    for name in ("locked/in it", "listed/in it", "unreadable"):
        user.write(name, name)
    tree = user.tree
    (tree / "nowhere").symlink_to("nothing")
    (tree / "loop").symlink_to("loop")
    (tree / "up").symlink_to("..")
    os.mkfifo(tree / "pipe")
    (tree / os.fsdecode(ODD_NAME)).symlink_to("nothing")
    for name, mode in (("locked", 0o000), ("listed", 0o644), ("unreadable", 0o000)):
        (tree / name).chmod(mode)
    dropped = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root reads everything, and there is no setpriv")
        dropped = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
        dropped.append("--inh-caps=-dac_override,-dac_read_search")

    def run(*arguments: str) -> Done:
        command = [*dropped, *executable("fastmarket-client"), *user.at, *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment(), timeout=30, check=False
        )
        return Done(done.returncode, done.stdout, done.stderr)

    told = run("register", "-r", str(tree), "--json")
    people = run("register", "-r", str(tree))
    alone = run("register", "-r", str(tree / "locked"))
    single = run("register", str(tree / "locked" / "in it"))
    for name in ("locked", "listed", "unreadable"):
        (tree / name).chmod(0o755)
    assert told.status == 1, told
    found = json.loads(told.out)
    assert counts(found) == (1, 0, 0, 7)
    reasons = dict(fault.rsplit(": ", 1) for fault in found["faults"])
    assert reasons == {
        f"{tree}/locked": "Permission denied",
        f"{tree}/listed/in it": "Permission denied",
        f"{tree}/unreadable": "Permission denied",
        f"{tree}/nowhere": "is a dangling link",
        f"{tree}/caf\\xe9": "is a dangling link",
        f"{tree}/loop": "Too many levels of symbolic links",
        f"{tree}/pipe": "is not a regular file",
    }
    assert found["left_out"] == [f"{tree}/up"]
    assert people.status == 1
    assert people.out.startswith(
        "0 files (0 B) registered, 1 already registered, 1 link to directories skipped"
    )
    assert set(people.err.splitlines()) >= {f"{path}: {reason}" for path, reason in reasons.items()}
    assert "1 directory could not be read, 6 files could not be registered" in people.err
    assert alone.status == 1
    assert "1 directory could not be read" in alone.err
    assert single.status == 1
    assert "Permission denied" in single.complaint
    assert user.offered() == {good}
    # Nothing that could not be looked at is taken for gone.
    assert counts(user.register(status=1))[:3] == (3, 1, 0)


def test_no_directory(user: User) -> None:
    for argument, reason in (
        ("", "DIR: is empty"),
        ("gone", "No such file"),
        (str(user.tree / "x"), "not a directory"),
    ):
        user.write("x", "x")
        assert reason in user.run("register", "-r", argument).complaint
    assert "DIR: is empty" in user.run("unregister", "-r", "").complaint


def test_first_runs_at_once(user: User) -> None:
    """The first use of the client's data, as `xargs -P 4` makes it."""
    for number in range(4):
        user.write(f"{number}/file", f"{number}")
    started = [
        subprocess.Popen(
            [*executable("fastmarket-client"), "register", "-r", str(user.tree / str(number)), *user.at],
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(4)
    ]  # fmt: skip
    ends = [(process.communicate(timeout=30)[1], process.returncode) for process in started]
    assert ends == [("", 0)] * 4
    assert len(user.offered()) == 4
