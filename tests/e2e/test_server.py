"""`fastmarket-server` as operators meet it: ready, signals, restarts, wrong command lines."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fastmarket._version import __version__
from fastmarket.cli.processes import ServerProcess, environment, executable
from tests.e2e.conftest import LOOPBACK, Run, Servers

STOP_WITHIN_S = 5.0
PEER = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo"


def test_ready_says_where_the_node_is_and_is_all_of_stdout(servers: Servers) -> None:
    server = servers.start()
    ready = server.ready
    assert ready["peer_id"].startswith("12D3KooW")
    assert ready["version"] == __version__
    assert ready["pid"] == server.process.pid
    assert ready["data_dir"] is None
    (address,) = ready["listen"]
    assert address.startswith("/ip4/127.0.0.1/tcp/")
    assert address.endswith(f"/p2p/{ready['peer_id']}")
    host, _, port = ready["grpc"].rpartition(":")
    assert host == "127.0.0.1"
    socket.create_connection((host, int(port)), timeout=5).close()
    socket.create_connection(("127.0.0.1", int(address.split("/")[4])), timeout=5).close()
    assert server.terminate() == 0
    assert server.rest_of_output() == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_time_though_it_is_in_use(servers: Servers, number: signal.Signals) -> None:
    first = servers.start()
    servers.start(join=first)
    with socket.create_connection(("127.0.0.1", int(first.port)), timeout=5):  # a client that hangs
        started = time.monotonic()
        first.process.send_signal(number)
        assert first.wait() == 0
    assert time.monotonic() - started < STOP_WITHIN_S


def test_a_signal_ends_it_while_it_still_joins(servers: Servers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word
        seed = f"/ip4/127.0.0.1/tcp/{silent.getsockname()[1]}/p2p/{PEER}"
        server = servers.launch(*LOOPBACK, "--ephemeral", "-b", seed)
        silent.settimeout(20)
        dialed, _ = silent.accept()
        with dialed:
            started = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert server.wait() == 0
        assert time.monotonic() - started < STOP_WITHIN_S


def test_its_identity_lives_in_the_data_directory(servers: Servers, tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = servers.start("--data-dir", str(home))
    assert first.ready["data_dir"] == str(home)
    assert first.terminate() == 0
    again = servers.start("--data-dir", str(home))
    assert again.ready["peer_id"] == first.ready["peer_id"]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()}
    assert modes["identity.pem"] == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    one, two = servers.start(), servers.start()
    assert one.ready["peer_id"] != two.ready["peer_id"]


def test_by_default_it_lives_in_the_users_data_directory(servers: Servers, tmp_path: Path) -> None:
    server = servers.launch(*LOOPBACK, env={"XDG_DATA_HOME": str(tmp_path / "xdg")})
    assert server.wait_ready()["data_dir"] == str(tmp_path / "xdg" / "fastmarket" / "node")


def test_others_are_told_what_the_operator_announces(servers: Servers, run_client: Run) -> None:
    ours = servers.start(
        "--announce", "/dns4/node.example.org/tcp/4001", "--announce", "/ip4/127.0.0.1/tcp/9"
    )
    told = ["/dns4/node.example.org/tcp/4001", "/ip4/127.0.0.1/tcp/9"]
    assert ours.ready["announce"] == [f"{addr}/p2p/{ours.ready['peer_id']}" for addr in told]
    assert ours.ready["listen"] == [ours.address]
    other = servers.start(join=ours)
    (peer,) = run_client("-p", other.port, "peers", "--json").json["peers"]
    proven = ours.address.partition("/p2p")[0]  # the other's own dial led there
    assert {addr.partition("/p2p")[0] for addr in peer["addrs"]} == {*told, proven}
    wrong = servers.launch("--announce", f"/ip4/1.2.3.4/tcp/1/p2p/{PEER}", "--ephemeral", "-p", "0")
    assert wrong.wait() == 2
    assert "--announce" in wrong.log()
    assert "the id of another peer" in wrong.log()


def test_settings_from_file_and_environment(servers: Servers, tmp_path: Path) -> None:
    toml = tmp_path / "node.toml"
    toml.write_text('port = 0\nlisten = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0"]\nephemeral = true\n')
    server = servers.launch(env={"FASTMARKET_CONFIG": str(toml), "FASTMARKET_LOG_FORMAT": "json"})
    assert len(server.wait_ready()["listen"]) == 2
    assert server.terminate() == 0
    lines = [json.loads(line) for line in server.log().splitlines()]
    assert lines
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)


def test_nodes_join_by_bootstrap(servers: Servers, run_client: Run) -> None:
    first = servers.start()
    assert first.ready["bootstrapped"] in (True, None)
    second = servers.start(join=first)
    assert second.ready["bootstrapped"] is True
    peers = run_client("-p", second.port, "peers", "--json").json["peers"]
    assert [peer["peer_id"] for peer in peers] == [first.ready["peer_id"]]
    assert first.address in peers[0]["addrs"] or first.address.split("/p2p")[0] in peers[0]["addrs"]


def test_a_dead_bootstrap_peer_is_warned_of_and_tried_again(
    servers: Servers, run_client: Run, tmp_path: Path
) -> None:
    seed = servers.start("--data-dir", str(tmp_path / "seed"))
    port = seed.address.split("/")[4]
    assert seed.terminate() == 0
    server = servers.launch(*LOOPBACK, "--ephemeral", "-b", seed.address)
    assert server.wait_ready()["bootstrapped"] is False
    assert "WARNING" in server.log()
    assert seed.ready["peer_id"] in server.log()
    assert run_client("-p", server.port, "check", "anything", "--json").json["holders"] == []
    why = f"{seed.address}: connection refused: nothing listens on that port"
    assert why in server.log()
    (trouble,) = run_client("-p", server.port, "id", "--json").json["troubles"]
    assert why in trouble
    assert why in run_client("-p", server.port, "id").out
    assert why in run_client("-p", server.port, "peers").err

    servers.start("-l", f"/ip4/127.0.0.1/tcp/{port}", "--data-dir", str(tmp_path / "seed"))
    eventually(30, lambda: run_client("-p", server.port, "peers", "--json").json["peers"] != [])


def eventually(deadline_s: float, true: Callable[[], bool]) -> None:
    """Ask again until it is so; each time of asking is a process of its own, so this does not spin."""
    end = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < end, f"not so within {deadline_s} s"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "65536"], "--port: "),
        (["-p", "http"], "--port: "),
        (["--listen", "nonsense"], "--listen: 'nonsense'"),
        (["-b", "/ip4/127.0.0.1/tcp/1"], "--bootstrap: "),
        (["--data-dir", "/tmp", "--ephemeral"], "--data-dir: cannot be combined with --ephemeral"),
        (["--log-level", "loud"], "--log-level: "),
        (["--frobnicate"], "--frobnicate"),
        (["--port"], "--port"),
        (["word"], "word"),
        (["config"], "missing command"),
        (["--config", "/no/such.toml"], "--config: cannot read /no/such.toml"),
        (["--ephemeral", "--host", "not an address", "-l", "/ip4/127.0.0.1/tcp/0"], "--host: "),
        (["--ephemeral", "-p", "0", "-l", "/ip4/203.0.113.1/tcp/0"], "--listen: "),
        (["--passphrase-file", "/no/such"], "--passphrase-file: "),
    ],
)
def test_bad_usage_is_one_line_and_status_2(run_server: Run, arguments: list[str], said: str) -> None:
    done = run_server(*arguments)
    assert done.status == 2, done
    assert done.complaint.startswith("fastmarket-server: ")
    assert said in done.complaint


def test_an_unknown_key_of_the_file_is_named(run_server: Run, tmp_path: Path) -> None:
    toml = tmp_path / "node.toml"
    toml.write_text("prot = 1")
    done = run_server("--config", str(toml))
    assert done.status == 2
    assert done.complaint == f"fastmarket-server: {toml}: prot: unknown setting; did you mean port?"


@pytest.fixture(scope="module")
def kept(shared_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> ServerProcess:
    return shared_servers.start("--data-dir", str(tmp_path_factory.mktemp("kept")))


def test_what_is_in_use_is_named(run_server: Run, kept: ServerProcess) -> None:
    listen = kept.address.split("/p2p")[0]
    taken = {
        "--port": run_server("--ephemeral", "-p", kept.port, "-l", "/ip4/127.0.0.1/tcp/0"),
        "--listen": run_server("--ephemeral", "-p", "0", "-l", listen),
        "--http-port": run_server(*LOOPBACK, "--ephemeral", "--http-port", kept.port),
        "--metrics-port": run_server(*LOOPBACK, "--ephemeral", "--metrics-port", kept.port),
        "--data-dir": run_server(*LOOPBACK, "--data-dir", kept.ready["data_dir"]),
    }
    for option, done in taken.items():
        assert done.status == 2, done
        assert done.complaint.startswith(f"fastmarket-server: {option}: ")
        assert "in use" in done.complaint
        assert "Errno" not in done.complaint


def test_a_data_directory_that_cannot_be(run_server: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run_server(*LOOPBACK, "--data-dir", str(tmp_path / "file" / "below"))
    assert done.status == 2
    assert done.complaint.startswith("fastmarket-server: --data-dir: cannot write to ")


def test_a_key_that_others_may_read_is_refused(servers: Servers, run_server: Run, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert servers.start("--data-dir", str(home)).terminate() == 0
    (home / "identity.pem").chmod(0o644)
    done = run_server(*LOOPBACK, "--data-dir", str(home))
    assert done.status == 2
    assert "identity.pem" in done.complaint


def test_a_passphrase_protects_the_key(servers: Servers, run_server: Run, tmp_path: Path) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("correct horse\n")
    wrong.write_text("battery staple\n")
    for path in (right, wrong):
        path.chmod(0o600)
    home = ("--data-dir", str(tmp_path / "home"))
    first = servers.start(*home, "--passphrase-file", str(right))
    assert first.terminate() == 0
    again = servers.start(*home, "--passphrase-file", str(right))
    assert again.ready["peer_id"] == first.ready["peer_id"]
    assert again.terminate() == 0
    for arguments in (home, (*home, "--passphrase-file", str(wrong))):
        done = run_server(*LOOPBACK, *arguments)
        assert done.status == 2, done
        assert "passphrase" in done.complaint


def test_help_teaches_and_version_tells(run_server: Run) -> None:
    for word in ("-h", "--help"):
        done = run_server(word)
        assert (done.status, done.err) == (0, "")
        for part in ("Examples:", "--bootstrap", "FASTMARKET_LOG_LEVEL", "ready {"):
            assert part in done.out
    assert run_server("--version").out == f"fastmarket-server {__version__}\n"


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_it_at_once(servers: Servers, first: signal.Signals) -> None:
    server = servers.start()
    second = signal.SIGINT if first is signal.SIGTERM else signal.SIGTERM
    server.process.send_signal(first)
    server.process.send_signal(second)
    assert server.wait() in (128 + first, 128 + second)


def test_it_stops_in_order_though_it_was_started_without_streams(servers: Servers, run_client: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [*executable("fastmarket-server"), "-p", port, "-l", "/ip4/127.0.0.1/tcp/0", "--ephemeral"]
    shell = ["/bin/sh", "-c", f"exec {' '.join(command)} <&- >&- 2>&-"]
    with subprocess.Popen(shell, env=environment()) as process:
        try:
            eventually(30, lambda: run_client("-p", port, "id", "--json").status == 0)
            process.terminate()
            assert process.wait(STOP_WITHIN_S) == 0
        finally:
            process.kill()


def test_it_serves_though_nobody_reads_its_stdout(servers: Servers, run_client: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    server = servers.launch("-p", port, "-l", "/ip4/127.0.0.1/tcp/0", "--ephemeral")
    assert server.process.stdout is not None
    server.process.stdout.close()
    eventually(30, lambda: run_client("-p", port, "id", "--json").status == 0)
    os.kill(server.process.pid, signal.SIGTERM)
    assert server.wait() == 0
