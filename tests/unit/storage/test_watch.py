"""Nothing is acknowledged that is on no disk: files that are not where they were opened, and locked ones."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from fastmarket.config import NodeConfig, StorageConfig
from fastmarket.errors import StorageFault
from fastmarket.formats.identity import Identity
from fastmarket.net.dht_node import DhtNode
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.store.changes import Change
from fastmarket.storage.database import FILE, Locked, OfferDatabase, RecordRow, reason
from fastmarket.storage.directory import KEY_FILE, LOCK_FILE, data_directory
from fastmarket.storage.journal import Journal
from fastmarket.storage.peers import PeerFile
from fastmarket.storage.records import RecordKeeper
from fastmarket.storage.watch import Misplaced, lock_holder
from tests.conftest import Run
from tests.net.loopback import until
from tests.unit.storage.test_database import row
from tests.unit.storage.test_journal import NOW, held, offer

RECORD = RecordRow(b"key", True, b"value", b"", 1.0, 2.0)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    with data_directory(home):
        (home / KEY_FILE).write_text("a key")
        yield home


def backup(home: Path, to: Path) -> None:
    with closing(sqlite3.connect(home / FILE)) as connection:
        connection.execute(f"VACUUM INTO '{to}'")


def page_backup(home: Path, to: Path) -> None:
    with closing(sqlite3.connect(home / FILE)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)


def moved(path: Path) -> None:
    path.rename(path.with_name("moved"))


def home_again(path: Path) -> None:
    path.with_name("moved").rename(path)


def replaced(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copyfile(path, copy)
    copy.replace(path)


def replaced_by(path: Path, text: str) -> None:
    copy = path.with_name("copy")
    copy.write_text(text)
    copy.replace(path)


def all_replaced(home: Path) -> None:
    shutil.copytree(home, home.with_name("copy"))
    home.rename(home.with_name("moved"))
    home.with_name("copy").rename(home)


def copied_over(home: Path) -> None:
    """By a database of another node."""
    other = home.with_name("other")
    other.mkdir()
    with closing(OfferDatabase(other)) as database:
        database.put([row(b"x")])
    shutil.copyfile(other / FILE, home / FILE)


LOSSES: dict[str, Callable[[Path], object]] = {
    "the directory removed": shutil.rmtree,
    "the directory moved": moved,
    "another directory there": all_replaced,
    "the database removed": lambda home: (home / FILE).unlink(),
    "the database moved": lambda home: moved(home / FILE),
    "the database replaced": lambda home: replaced(home / FILE),
    "the database copied over": copied_over,
    "the log removed": lambda home: (home / f"{FILE}-wal").unlink(),
    "the log replaced": lambda home: replaced(home / f"{FILE}-wal"),
    "the index removed": lambda home: (home / f"{FILE}-shm").unlink(),
    "the index replaced": lambda home: replaced(home / f"{FILE}-shm"),
    "the lock removed": lambda home: (home / LOCK_FILE).unlink(),
    "the key removed": lambda home: (home / KEY_FILE).unlink(),
    "another key": lambda home: (home / KEY_FILE).write_text("no key"),
    "another key in its place": lambda home: replaced_by(home / KEY_FILE, "b key"),
}


@pytest.mark.parametrize("what", LOSSES)
def test_nothing_is_acknowledged_that_a_restart_would_not_find(home: Path, what: str) -> None:
    with closing(OfferDatabase(home)) as database:
        database.put([row(b"before")])
        database.check()
        LOSSES[what](home)
        with pytest.raises(Misplaced, match=r"(home|offers\.db|lock|identity\.pem).*start it again"):
            database.put([row(b"after")])
        with pytest.raises(Misplaced):
            database.put_records([RECORD], 0.0)
        with pytest.raises(Misplaced):
            database.check()


@pytest.mark.parametrize("what", LOSSES)
def test_what_stands_there_instead_is_left_alone(home: Path, what: str) -> None:
    """At the end, too: a database that is closed removes its log by name."""
    database = OfferDatabase(home)
    database.put([row(b"before")])
    LOSSES[what](home)
    looked_at = {"another directory there": [FILE, f"{FILE}-wal", LOCK_FILE, KEY_FILE]}
    names = looked_at.get(what, [FILE] if "the database replaced" in what else [])
    others = {home / name: (home / name).read_bytes() for name in names}
    with pytest.raises(Misplaced):
        database.put([row(b"after")])
    database.close()
    for path, content in others.items():
        assert path.read_bytes() == content, path


@pytest.mark.parametrize("copy", [backup, page_backup])
@pytest.mark.parametrize("kind", ["replaced", "copied over"])
def test_a_backup_of_this_very_database_put_back_while_it_is_open(
    home: Path, copy: Callable[[Path, Path], None], kind: str
) -> None:
    saved = home.with_name("saved")
    with closing(OfferDatabase(home)) as database:
        database.put([row(b"before")])
        copy(home, saved)
        database.put([row(b"%d" % number, bytes(600)) for number in range(50_000)])  # the log is folded in
        if kind == "replaced":
            saved.replace(home / FILE)
        else:
            shutil.copyfile(saved, home / FILE)
        with pytest.raises(Misplaced):
            database.put([row(b"after")])


def test_what_other_programs_may_do_is_no_loss(home: Path) -> None:
    with closing(OfferDatabase(home)) as database:
        for number, statement in enumerate(
            (
                "PRAGMA wal_checkpoint(FULL)",
                "SELECT count(*) FROM offers",
                "PRAGMA integrity_check",
                "VACUUM",
                "PRAGMA wal_checkpoint(TRUNCATE)",
                f"VACUUM INTO '{home.with_name('saved')}'",
            )
        ):
            database.put([row(b"%d" % number)])
            with closing(sqlite3.connect(home / FILE)) as other:
                other.execute(statement).fetchall()
            database.check()
            database.put([row(b"%d again" % number)])
        (home / KEY_FILE).chmod(0o400)
        replaced(home / KEY_FILE)  # as openssl does that encrypts it
        os.utime(home / FILE)
        database.put([row(b"last")])
        assert len(list(database.offers())) == 13


def test_a_directory_that_comes_back_heals(
    run: Run[None], home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        made = Journal(OfferDatabase(home), StorageConfig(look_s=0.01, retry_s=0.01), lambda: NOW)
        made.look_on()
        try:
            moved(home)
            await until(lambda: bool(made.lost))
            assert made.trouble == made.lost
            with pytest.raises(StorageFault, match="removed or renamed"):
                await made.keep([Change(offer("a"), True)])
            home_again(home)
            await until(lambda: not made.trouble)
            await made.keep([Change(offer("b"), True)])
            await until(lambda: len(held(home)) == 2)
        finally:
            await made.close()

    run(main())
    assert caplog.text.count("registrations are refused") == 1
    assert caplog.text.count("is writable again") == 1


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(home: Path) -> Iterator[int]:
    """By another process, whose id it is."""
    words = [sys.executable, "-c", HOLD, str(home / FILE)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"held\n"
            yield process.pid
        finally:
            process.stdin.close()
            process.wait()


def test_a_caller_learns_in_its_time_who_holds_the_lock(
    run: Run[None], home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        made = Journal(OfferDatabase(home), StorageConfig(), lambda: NOW)
        node = DhtNode(Identity.from_seed(bytes(32)), NodeConfig())
        node.keep_offers(made)
        loop = asyncio.get_running_loop()

        async def register(name: str, deadline_s: float) -> None:
            content = b"\x12\x20" + name.encode() * 32
            await node.register_offer(content, b"u", "n", FileMetadata("192.0.2.1", 1, 1), deadline_s)

        with locked(home) as pid:
            for name in "ab":
                began = loop.time()
                with pytest.raises(StorageFault, match="locked by another program") as caught:
                    await register(name, 0.75)
                assert 0.5 < loop.time() - began < 5.0
                if sys.platform == "linux":
                    assert f"process {pid} (" in str(caught.value)
            waiting = asyncio.ensure_future(register("c", 30.0))
            await asyncio.sleep(0)
        await waiting
        assert made.trouble == ""
        assert len(held(home)) == 3, "those whose callers were told otherwise, too"
        await node.close()
        await made.close()

    run(main())
    assert caplog.text.count("registrations fail until this is resolved") == 1
    assert caplog.text.count("is writable again") == 1


def test_a_node_stops_though_the_database_is_locked(run: Run[None], home: Path) -> None:
    async def main() -> None:
        made = Journal(OfferDatabase(home), StorageConfig(), lambda: NOW)
        with locked(home):
            waiting = made.keep([Change(offer("a"), True)])
            await until(lambda: bool(made.trouble))
            await made.close()
            with pytest.raises(StorageFault, match="locked"):
                await waiting

    run(main())


def test_values_wait_for_the_lock_and_say_so(
    run: Run[None], home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        made = Journal(OfferDatabase(home), StorageConfig(), lambda: NOW)
        changed = [[RECORD], []]
        config = StorageConfig(record_interval_s=0.01)
        keeper = RecordKeeper(made, config, lambda: changed.pop(0) if changed else [])
        with locked(home):
            await until(lambda: "cannot write" in caplog.text)
        await keeper.close()
        await made.close()
        with closing(OfferDatabase(home)) as database:
            assert database.records() == [RECORD]

    run(main())
    assert "cannot write 1 value (cannot write" in caplog.text
    assert "locked by another program" in caplog.text


def test_nobody_is_named_who_does_not_hold_it(home: Path) -> None:
    with closing(OfferDatabase(home)) as database:
        database.put([row(b"a")])
        assert lock_holder(home / FILE) == ""


def test_the_documented_backup_does_not_keep_us_from_writing(home: Path) -> None:
    """It takes a while, and commits go on meanwhile, none of which waits for it."""
    with closing(OfferDatabase(home)) as database:
        for part in range(8):
            database.put([row(b"%d %d" % (part, number), bytes(2000)) for number in range(5000)])
        page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
        assert 'offers.db "VACUUM INTO' in page
        done = threading.Event()

        def back_up() -> None:
            backup(home, home.with_name("saved"))
            done.set()

        thread = threading.Thread(target=back_up)
        thread.start()
        during = 0
        while not done.is_set():
            database.put([row(b"during %d" % during)])  # raises Locked if it has to wait for long
            during += 1
        thread.join()
        assert during > 3
        assert len(list(database.offers())) == 40_000 + during
    with closing(sqlite3.connect(home.with_name("saved"))) as saved:
        (count,) = saved.execute("SELECT count(*) FROM offers").fetchone()
        assert 40_000 <= count <= 40_000 + during
        assert saved.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_peers_are_not_written_into_another_directory(home: Path) -> None:
    file = PeerFile(home)
    file.write([])
    all_replaced(home)
    (home / "peers.json").unlink()
    with pytest.raises(StorageFault, match="was replaced by another"):
        file.write([])
    assert not (home / "peers.json").exists()


CODES = [
    (sqlite3.SQLITE_FULL, "the disk is full"),
    (sqlite3.SQLITE_BUSY, "locked by another program"),
    (sqlite3.SQLITE_BUSY | 2 << 8, "locked by another program"),
    (sqlite3.SQLITE_READONLY, "cannot be written to"),
    (sqlite3.SQLITE_IOERR | 3 << 8, "the disk reports an error"),
    (sqlite3.SQLITE_CANTOPEN, "cannot be opened"),
    (sqlite3.SQLITE_CORRUPT, "damaged"),
    (sqlite3.SQLITE_NOTADB, "damaged"),
    (sqlite3.SQLITE_PERM, "lacks permission"),
]


@pytest.mark.parametrize(("code", "words"), CODES)
def test_each_fault_of_the_disk_has_its_words(tmp_path: Path, code: int, words: str) -> None:
    error = sqlite3.OperationalError("what SQLite says")
    error.sqlite_errorcode = code
    assert words in reason(error, tmp_path / FILE)


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounts a file system")
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    home = tmp_path / "mounted"
    home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(home)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount here")
    try:
        with closing(OfferDatabase(home)) as database:
            database.put([row(b"before")])
            with pytest.raises(StorageFault, match="the disk is full"):
                database.put([row(b"%d" % number, bytes(600)) for number in range(10_000)])
            database.put([row(b"a few bytes")])
    finally:
        subprocess.run(["umount", "-l", str(home)], check=True)


def test_a_lock_is_a_fault_of_its_own(home: Path) -> None:
    with closing(OfferDatabase(home)) as database, locked(home), pytest.raises(Locked):
        database.put([row(b"a")])
