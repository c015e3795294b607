"""`fastmarket-client register DIR --recursive` against a real node: it goes on where it was."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from fastmarket.cli.processes import ServerProcess, environment, executable
from fastmarket.cli.registered import FILE
from tests.certificates import Authority
from tests.e2e.conftest import Run, Servers

DEADLINE_S = 30.0
FILES = 5000


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for number in range(FILES):
        directory = root / f"dir {number // 1000}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"file {number}.txt").write_text(f"content {number}")
    return root


def listed(data_dir: Path) -> int:
    """Files in the list of what is registered."""
    try:
        with sqlite3.connect(data_dir / FILE) as connection:
            count = connection.execute("SELECT count(*) FROM files").fetchone()[0]
        connection.close()
        return int(count)
    except sqlite3.OperationalError:
        return 0


def test_a_run_that_was_killed_goes_on_where_it_was(
    run_client: Run, servers: Servers, tree: Path, tmp_path: Path
) -> None:
    node = servers.start()
    data_dir = tmp_path / "client"
    command = ("register", str(tree), "-r", "--price", "3", "-p", node.port, "--data-dir", str(data_dir))
    first = subprocess.Popen([*executable("fastmarket-client"), *command], env=environment())
    end = time.monotonic() + DEADLINE_S

    def own_offers() -> int:
        found = json.loads(run_client("id", "-p", node.port, "--data-dir", str(data_dir), "--json").out)
        return int(found["own_offers"])

    while not own_offers() and first.poll() is None:
        assert time.monotonic() < end
    first.kill()
    first.wait()
    before = own_offers()  # more, where the node is at a batch of the run that is dead
    assert before <= listed(data_dir)
    done = run_client(*command, "--json")
    assert done.status == 0, done.err
    told = json.loads(done.out)
    assert (told["skipped"] + told["registered"], told["failed"]) == (FILES, 0)
    assert told["skipped"] >= before > 0
    assert own_offers() == FILES

    # What changed, was withdrawn or is new is registered; the rest is left alone.
    (tree / "dir 0" / "file 1.txt").write_text("changed since")
    (tree / "new").write_text("new")
    withdrawn = tree / "dir 1" / "file 1000.txt"
    assert run_client("unregister", str(withdrawn), "-p", node.port, "--data-dir", str(data_dir)).status == 0
    told = json.loads(run_client(*command, "--json").out)
    assert (told["registered"], told["skipped"]) == (3, FILES - 2)
    done = run_client(*command, "--again")
    assert done.out.startswith(f"{FILES + 1} files (")


def test_what_cannot_be_registered_is_named_and_the_rest_is(
    run_client: Run, node: ServerProcess, tmp_path: Path
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "good").write_text("good")
    (tmp_path / "tree" / "odd\x07name").write_text("odd")
    common = ("--price", "3", "-p", node.port, "--data-dir", str(tmp_path / "client"))
    done = run_client("register", str(tmp_path / "tree"), "-r", *common)
    assert done.status == 0
    assert done.out.startswith("2 files (7 B) registered")
    assert "odd?name" in run_client("offers", *common).out
    done = run_client("register", str(tmp_path / "tree" / "good"), "-r", *common)
    assert done.status == 2
    assert "is not a directory" in done.err
    done = run_client("register", str(tmp_path / "tree"), "-r", *common, "--client-ip", "no address")
    assert done.status != 0
    assert "is neither an IPv4 or IPv6 address" in done.err
    assert "2 files could not be registered" in done.err


def test_a_client_with_tls_and_a_token(run_client: Run, servers: Servers, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    for name, scope in (("tokens", "write "), ("token", "")):
        (tmp_path / name).write_text(f"{scope}{'t' * 20}\n")
        (tmp_path / name).chmod(0o600)
    server = servers.start(
        "--tls-cert", str(pair.cert), "--tls-key", str(pair.key), "--tokens", str(tmp_path / "tokens"),
        "-p", "0", "-l", "/ip4/127.0.0.1/tcp/0", "--ephemeral",
    )  # fmt: skip
    common = ("-p", server.port, "--data-dir", str(tmp_path / "client"), "--tls-ca", str(authority.ca))
    token = ("--token-file", str(tmp_path / "token"))
    done = run_client("register", "a name", "--price", "3", *common, *token)
    assert done.status == 0, done.err
    refused = run_client("id", *common)
    assert refused.status == 1
    assert "UNAUTHENTICATED" in refused.err
    (tmp_path / "token").chmod(0o644)
    refused = run_client("id", *common, *token)
    assert refused.status == 2
    assert "may be read by others" in refused.err
