"""`get` and `cat` against real sellers and buyers: what is on the disk, what it costs, and how it ends."""

from __future__ import annotations

import os
import random
import re
import shlex
import signal
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from fastmarket.cli.processes import ServerProcess, environment, executable
from tests.e2e.conftest import Run, Servers
from tests.e2e.cutting import Cutting
from tests.e2e.terminal import Terminal

SIZE = 20 * 256 * 1024 + 77
NOBODY_HAS = "QmPK1s3pNYLi9ERiq3BDxKa4XosgWwFRQUydHUtz4YgpqB"
# Its bytes go over the loopback device in a second or so: long enough to be killed on the way.
LARGE = 192 * 1024 * 1024
UNDER_WAY = 2 * 16 * 256 * 1024  # a block on each connection when it is killed, and what waits to be written


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    path = tmp_path / "movie.mkv"
    path.write_bytes(random.Random(1).randbytes(SIZE))
    return path


def sold(run_client: Run, seller: ServerProcess, path: Path, price: int) -> str:
    done = run_client("-p", seller.port, "sell", str(path), "--price", str(price), "-u", f"at {price}")
    assert done.status == 0, done
    return done.out.strip()


def test_a_file_is_fetched_from_two_sellers(
    run_client: Run, servers: Servers, movie: Path, tmp_path: Path
) -> None:
    first = servers.start("--content-port", "0")
    second = servers.start("--content-port", "0", join=first)
    buyer = servers.start(join=first)
    cid = sold(run_client, first, movie, 3)
    assert sold(run_client, second, movie, 4) == cid
    done = run_client("-p", buyer.port, "get", cid, "-o", "got.mkv", "--json")
    summary = done.json
    assert (tmp_path / "got.mkv").read_bytes() == movie.read_bytes()
    assert not list(tmp_path.glob("got.mkv.*"))
    assert summary["bytes"] == summary["fetched"] == SIZE
    assert {holder["price"] for holder in summary["holders"]} <= {3, 4}
    assert sum(holder["bytes"] for holder in summary["holders"]) == SIZE
    assert summary["cost"] == sum(holder["cost"] for holder in summary["holders"])


def test_what_is_shown_and_how_it_ends(
    run_client: Run, servers: Servers, movie: Path, tmp_path: Path
) -> None:
    node = servers.start("--content-port", "0")
    cid = sold(run_client, node, movie, 3)
    at = ("-p", node.port, "get")
    done = run_client(*at, cid)
    assert (done.status, done.out) == (0, "")
    plan, summary = done.err.splitlines()
    assert plan == f"{cid}: 5.2 MB, $16 at most, from 1 holder at $3 per MB"
    assert re.fullmatch(rf"{cid}: 5\.2 MB verified, 5\.2 MB fetched in .* for \$16", summary)
    got = tmp_path / cid
    assert got.read_bytes() == movie.read_bytes()
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(got.stat().st_mode) == 0o666 & ~mask

    done = run_client(*at, cid, "-o", "x", "--max-price", "2")
    assert (done.status, "--max-price: " in done.err and "cheapest asks 3" in done.err) == (4, True)
    done = run_client(*at, cid, "-o", "x", "--max-cost", "15")
    assert (done.status, "--max-cost: " in done.err) == (4, True)
    done = run_client(*at, NOBODY_HAS, "-o", "x")
    assert (done.status, "no holder" in done.err) == (3, True)
    done = run_client(*at, f"{cid}/name", "-o", "x")
    assert (done.status, "not a directory" in done.err) == (3, True)
    for wrong in ((f"{cid}", "--range", "7-3"), ("no cid",), (cid, "-o", "/nowhere/x")):
        assert run_client(*at, "-o", "x", *wrong).status == 2
    assert not list(tmp_path.glob("x*")), "no file, and nothing left of one of which nothing was fetched"


def test_bytes_go_to_stdout(servers: Servers, run_client: Run, movie: Path) -> None:
    node = servers.start("--content-port", "0")
    cid = sold(run_client, node, movie, 0)
    whole = movie.read_bytes()
    for words, wanted in (
        (("cat", cid), whole),
        (("get", cid, "-o", "-"), whole),
        (("cat", cid, "--range", "7-300000"), whole[7:300001]),
        (("cat", f"ipfs://{cid}", "--range", "-9"), whole[-9:]),
    ):
        command = [*executable("fastmarket-client"), "-p", node.port, *words]
        done = subprocess.run(command, capture_output=True, env=environment(), check=False)
        assert (done.returncode, done.stdout == wanted) == (0, True)


def test_bytes_that_stdout_does_not_take_are_a_fault(servers: Servers, run_client: Run, movie: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    node = servers.start("--content-port", "0")
    cid = sold(run_client, node, movie, 0)
    command = [*executable("fastmarket-client"), "-p", node.port, "cat", cid]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment(), check=False)
    assert (done.returncode, done.stderr.count(b"\n")) == (5, 1)
    assert b"cannot write to stdout" in done.stderr


def test_what_was_put_out_is_not_put_out_again_when_the_connection_is_lost(
    servers: Servers, run_client: Run, movie: Path, tmp_path: Path
) -> None:
    """The question before, which a terminal brings, takes the connection that is then an old one."""
    node = servers.start("--content-port", "0")
    cid = sold(run_client, node, movie, 3)
    whole = movie.read_bytes()
    env = environment(FASTMARKET_CLIENT_DATA_DIR=str(tmp_path / "user"))
    for span, wanted in ((), whole), (("--range", "9-"), whole[9:]), (("--range", f"-{SIZE - 3}"), whole[3:]):
        with Cutting(int(node.port), after_bytes=SIZE // 3) as proxy:
            words = [*executable("fastmarket-client"), "-p", str(proxy.port), "get", cid, "-o", "-", *span]
            with Terminal(["sh", "-c", f"{shlex.join(words)} > out"], env, tmp_path) as terminal:
                terminal.wait_for("Fetch it?")
                terminal.press("y\r")
                assert terminal.wait() == 0
        assert proxy.cuts >= 1
        assert (tmp_path / "out").read_bytes() == wanted


def test_a_range_goes_to_a_file(servers: Servers, run_client: Run, movie: Path, tmp_path: Path) -> None:
    node = servers.start("--content-port", "0")
    cid = sold(run_client, node, movie, 0)
    assert run_client("-p", node.port, "get", cid, "-o", "part", "--range", "5-").status == 0
    assert (tmp_path / "part").read_bytes() == movie.read_bytes()[5:]
    assert sorted(path.name for path in tmp_path.glob("part*")) == ["part"]


def test_a_file_in_a_directory_is_fetched_by_its_path(
    servers: Servers, run_client: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "shop" / "inner"
    folder.mkdir(parents=True)
    (folder / "a name.bin").write_bytes(b"x" * 300_000)
    node = servers.start("--content-port", "0")
    cid = sold(run_client, node, tmp_path / "shop", 0)
    at = ("-p", node.port, "get")
    assert run_client(*at, f"{cid}/inner/a name.bin").status == 0
    assert (tmp_path / "a name.bin").read_bytes() == b"x" * 300_000
    done = run_client(*at, cid)
    assert (done.status, "directory" in done.err) == (1, True)


def test_somebody_is_asked_before_money_is_spent(
    servers: Servers, run_client: Run, movie: Path, tmp_path: Path
) -> None:
    node = servers.start("--content-port", "0")
    cid = sold(run_client, node, movie, 3)
    command = [*executable("fastmarket-client"), "-p", node.port, "get", cid, "-o", "got"]
    env = environment(FASTMARKET_CLIENT_DATA_DIR=str(tmp_path / "user"))
    with Terminal(command, env, tmp_path) as terminal:
        terminal.wait_for("Fetch it?")
        terminal.press("n\r")
        terminal.wait_for("declined")
        assert terminal.wait() == 4
    assert not list(tmp_path.glob("got*"))
    with Terminal(command, env, tmp_path, columns=200) as terminal:
        terminal.wait_for("$16 at most")
        terminal.wait_for("Fetch it?")
        terminal.press("y\r")
        terminal.wait_for("at 3")  # in the table of holders
        assert terminal.wait() == 0
    assert (tmp_path / "got").read_bytes() == movie.read_bytes()


def test_nobody_pays_twice_for_a_file_that_is_there(
    run_client: Run, servers: Servers, movie: Path, tmp_path: Path
) -> None:
    node = servers.start("--content-port", "0")
    cid = sold(run_client, node, movie, 3)
    done = run_client("-p", node.port, "get", cid, "-o", str(movie))
    assert (done.status, "is there already" in done.err) == (0, True)
    done = run_client("-p", node.port, "get", cid, "-o", str(movie), "--json")
    assert (done.json["fetched"], done.json["cost"], done.json["bytes"]) == (0, 0, SIZE)
    (tmp_path / "other").write_bytes(b"another file")
    assert run_client("-p", node.port, "get", cid, "-o", "other").status == 0
    assert (tmp_path / "other").read_bytes() == movie.read_bytes()


def test_somebody_is_asked_before_a_file_is_replaced(
    servers: Servers, run_client: Run, movie: Path, tmp_path: Path
) -> None:
    node = servers.start("--content-port", "0")
    cid = sold(run_client, node, movie, 0)
    (tmp_path / "thesis").write_bytes(b"years of work")
    command = [*executable("fastmarket-client"), "-p", node.port, "get", cid, "-o", "thesis"]
    env = environment(FASTMARKET_CLIENT_DATA_DIR=str(tmp_path / "user"))
    with Terminal(command, env, tmp_path) as terminal:
        terminal.wait_for("Replace it?")
        terminal.press("n\r")
        terminal.wait_for("left as it was")
        assert terminal.wait() == 4
    assert (tmp_path / "thesis").read_bytes() == b"years of work"


def test_nobody_is_asked_about_what_costs_more_than_given(
    servers: Servers, run_client: Run, movie: Path, tmp_path: Path
) -> None:
    node = servers.start("--content-port", "0")
    cid = sold(run_client, node, movie, 3)
    command = [*executable("fastmarket-client"), "-p", node.port, "get", cid, "-o", "got", "--max-cost", "15"]
    env = environment(FASTMARKET_CLIENT_DATA_DIR=str(tmp_path / "user"))
    with Terminal(command, env, tmp_path) as terminal:
        terminal.wait_for("costs at least 16")
        assert terminal.wait() == 4


@pytest.mark.parametrize("victim", ["client", "node"])
def test_a_fetch_goes_on_after_a_kill(servers: Servers, run_client: Run, tmp_path: Path, victim: str) -> None:
    """Killed once so much is written; what was written is not fetched again, but for what was under way."""
    path = tmp_path / "large.bin"
    path.write_bytes(random.Random(2).randbytes(LARGE))
    seller = servers.start("--content-port", "0")
    cid = sold(run_client, seller, path, 1)
    home = ("--data-dir", str(tmp_path / "buyer"))
    buyer = servers.start(*home, join=seller)
    part, got = tmp_path / "got.part", tmp_path / "got"

    def written(file: Path) -> int:
        return file.stat().st_blocks * 512 if file.exists() else 0

    def sent() -> int:
        (good,) = run_client("-p", seller.port, "goods", "--json").json["goods"]
        return int(good["sent_bytes"])

    client = subprocess.Popen(
        [*executable("fastmarket-client"), "-p", buyer.port, "get", cid, "-o", str(got)],
        env=environment(FASTMARKET_CLIENT_DATA_DIR=str(tmp_path / "user")),
        stderr=subprocess.DEVNULL,
    )
    try:
        while client.poll() is None and written(part) < LARGE // 8:
            with suppress(subprocess.TimeoutExpired):
                client.wait(0.002)
        if client.poll() is None:  # the machine is not so fast that it is all over
            if victim == "client":
                client.send_signal(signal.SIGKILL)
            else:
                buyer.kill()
        client.wait()
    finally:
        client.kill()
        client.wait()
    if victim == "node":
        buyer = servers.start(*home, join=seller)
    done = run_client("-p", buyer.port, "get", cid, "-o", str(got), "--json")
    assert got.read_bytes() == path.read_bytes()
    assert done.json["bytes"] == LARGE
    assert sent() <= LARGE + UNDER_WAY


def test_the_repl_fetches(servers: Servers, run_client: Run, movie: Path, tmp_path: Path) -> None:
    node = servers.start("--content-port", "0")
    cid = sold(run_client, node, movie, 3)
    done = run_client("-p", node.port, stdin=f"get {cid}\nget {NOBODY_HAS}\n")
    assert done.status == 0
    assert (tmp_path / cid).read_bytes() == movie.read_bytes()
    assert "no holder" in done.err
