"""`fastmarket-client` in scripts, against real nodes."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fastmarket._version import __version__
from fastmarket.cli.processes import ServerProcess, environment, executable
from tests.e2e.conftest import Run, Servers

HELLO = "hello world\n"
HELLO_V0 = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"  # echo "hello world" | ipfs add -q
HELLO_V1 = "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4"  # ... --cid-version 1


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    path = tmp_path / "hello world.txt"
    path.write_text(HELLO)
    return path


@pytest.mark.parametrize(
    ("options", "cid"),
    [
        ([], HELLO_V0),
        (["--cid-version", "0"], HELLO_V0),
        (["--cid-version", "1"], HELLO_V1),
        (["--cid-version", "1", "--raw-leaves"], HELLO_V1),
    ],
)
def test_cid_alone_on_a_line(run_client: Run, hello: Path, options: list[str], cid: str) -> None:
    done = run_client("cid", str(hello), *options)
    assert (done.status, done.out, done.err) == (0, f"{cid}\n", "")


def test_cid_without_raw_leaves_is_another(run_client: Run, hello: Path) -> None:
    done = run_client("cid", str(hello), "--cid-version", "1", "--no-raw-leaves")
    assert done.out.startswith("bafybei")


def test_cid_does_not_wait_for_grpc(hello: Path) -> None:
    program = (
        "import sys; from fastmarket.cli.client import main; status = main(['cid', sys.argv[1]]); "
        "print(status, sorted({'grpc', 'rich', 'prompt_toolkit', 'uvloop'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(hello)], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == f"{HELLO_V0}\n0 []\n"


def test_a_file_is_found_by_every_name_of_it(run_client: Run, node: ServerProcess, hello: Path) -> None:
    at = ("-p", node.port)
    told = (
        "-u",
        "alice",
        "--price",
        "5",
        "--id",
        "alice-id",
        "--client-ip",
        "192.0.2.7",
        "--client-port",
        "9",
    )
    done = run_client(*at, *told, "register", str(hello))
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("Successfully registered file!\n")
    assert HELLO_V0 in done.out
    expected = {
        "id": "alice-id",
        "name": "alice",
        "ip": "192.0.2.7",
        "port": 9,
        "price": 5,
        "provider": node.ready["peer_id"],
        "size": len(HELLO),
        "file_name": "hello world.txt",
        "ways": [],
        "url": None,
        "liveness": None,
        "probe_ms": None,
    }
    for name in (str(hello), HELLO_V0):
        answer = run_client(*at, "check", name, "--json").json
        assert answer["content"] == HELLO_V0
        (holder,) = answer["holders"]
        assert holder.pop("not_after") > 1_700_000_000
        assert holder.pop("cid") == HELLO_V0
        assert holder == expected
    assert run_client(*at, "check", HELLO_V0.lower(), "--json").json["holders"] == []
    lines = run_client(*at, "check", HELLO_V0).out
    assert lines == "Peer ID: alice-id, Username: alice, Consumer IP Addr: 192.0.2.7:9, Price Per MB: $5\n"


def test_hex_and_cid_of_one_digest_are_one_content(run_client: Run, node: ServerProcess) -> None:
    digest = hashlib.sha256(b"some block").hexdigest()
    at = ("-p", node.port, "--price", "1")
    assert run_client(*at, "register", digest.upper()).status == 0
    assert len(run_client(*at, "check", digest, "--json").json["holders"]) == 1


def test_a_copied_cid_is_kept_as_it_was_given(run_client: Run, node: ServerProcess) -> None:
    raw = "bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am"  # hello, a small file
    at = ("-p", node.port, "--price", "1", "--username", "copier")
    done = run_client(*at, "register", f"https://ipfs.io/ipfs/{raw}?filename=a.txt", "--json").json
    assert (done["cid"], done["named_by"]) == (raw, "CID")
    for form in (f"ipfs://{raw}", f"/ipfs/{raw}", f" {raw}/"):
        found = run_client(*at, "check", form, "--json").json
        assert (found["cid"], found["named_by"]) == (raw, "CID")
        assert [holder["cid"] for holder in found["holders"]] == [raw]
    listed = run_client(*at, "offers", "--json").json["offers"]
    assert raw in [offer["content"] for offer in listed]
    done = run_client(*at, "unregister", hashlib.sha256(b"hello\n").hexdigest(), "--json").json
    assert (done["cid"], done["named_by"]) == (raw, "SHA256")
    refused = run_client(*at, "register", f"/ipfs/{raw}/a.txt")
    assert (refused.status != 0, "path after the CID" in refused.err) == (True, True)
    assert run_client(*at, "check", "some name", "--json").json["named_by"] == "TEXT_HASH"


def test_any_text_is_a_name_and_its_case_counts(run_client: Run, node: ServerProcess) -> None:
    at = ("-p", node.port, "--price", "1")
    done = run_client(*at, "register", "My-Movie")
    assert done.status == 0
    assert "no file, CID or SHA-256" in done.err  # in case it was meant to be a file
    assert len(run_client(*at, "check", "My-Movie", "--json").json["holders"]) == 1
    assert run_client(*at, "check", "my-movie", "--json").json["holders"] == []


def test_unknown_content_is_an_answer(run_client: Run, node: ServerProcess) -> None:
    done = run_client("-p", node.port, "check", "ab" * 32)
    assert (done.status, done.out, done.err) == (0, f"No holders of {'ab' * 32} found\n", "")
    assert run_client("-p", node.port, "check", "ab" * 32, "--json").json["holders"] == []


def test_registering_again_changes_the_price(run_client: Run, node: ServerProcess) -> None:
    content = hashlib.sha256(b"sold twice").hexdigest()
    for price in ("9", "4"):
        assert run_client("-p", node.port, "--price", price, "register", content).status == 0
    holders = run_client("-p", node.port, "check", content, "--json").json["holders"]
    assert [holder["price"] for holder in holders] == [4]


def test_an_offer_is_listed_and_taken_back(servers: Servers, run_client: Run, hello: Path) -> None:
    first = servers.start()
    second = servers.start(join=first)
    me = ("-p", first.port, "-u", "alice", "-i", "a")
    assert run_client(*me, "offers").out == "No offers\n"
    assert run_client(*me, "--price", "5", "register", str(hello)).status == 0
    (listed,) = run_client(*me, "offers", "--json").json["offers"]
    assert (listed["content"], listed["price"], listed["file_name"]) == (HELLO_V0, 5, hello.name)
    assert HELLO_V0 in run_client(*me, "offers").out
    done = run_client(*me, "unregister", str(hello))
    assert done.out.startswith("Successfully unregistered file!\n")
    assert f"{HELLO_V0} is no longer offered; this node and 1 other know" in done.out
    for server in (first, second):
        assert run_client("-p", server.port, "check", HELLO_V0, "--json").json["holders"] == []
    again = run_client("-p", second.port, "-i", "a", "unregister", HELLO_V0)
    assert again.status == 1
    assert f"the node has no offer of {HELLO_V0} in your name" in again.err


def test_three_nodes_see_every_offer_cheapest_first(servers: Servers, run_client: Run, hello: Path) -> None:
    first = servers.start()
    second = servers.start(join=first)
    third = servers.start(join=first)
    for server, name, price in ((first, "alice", 5), (second, "bob", 3), (third, "carol", 4)):
        done = run_client(
            *("-p", server.port, "-u", name, "-i", name, "--price", str(price)),
            "register",
            str(hello),
            "--json",
        )
        assert done.json["acknowledged"] >= done.json["wanted"] >= 1
    for server in (first, second, third):
        holders = run_client("-p", server.port, "check", HELLO_V0, "--json").json["holders"]
        assert [(holder["name"], holder["price"]) for holder in holders] == [
            ("bob", 3),
            ("carol", 4),
            ("alice", 5),
        ]
    first.process.send_signal(signal.SIGKILL)
    first.wait()
    answer = run_client("-p", third.port, "check", HELLO_V0, "--json").json
    assert len(answer["holders"]) == 3
    assert answer["ms"] < 1000

    peers = run_client("-p", third.port, "closest", HELLO_V0, "--json").json["peers"]
    assert second.ready["peer_id"] in [peer["peer_id"] for peer in peers]


def test_who_is_who(run_client: Run, node: ServerProcess) -> None:
    answer = run_client("-p", node.port, "id", "--json").json
    assert answer["peer_id"] == node.ready["peer_id"]
    assert answer["listen"] == node.ready["listen"]
    assert answer["agent_version"] == f"fastmarket/{__version__}"
    assert answer["user_id"].startswith("12D3KooW")
    assert run_client("-p", node.port, "id", "--json").json["user_id"] == answer["user_id"]
    for_people = run_client("-p", node.port, "id").out
    assert node.ready["peer_id"] in for_people
    assert answer["user_id"] in for_people


def test_the_users_id_goes_out_by_default(run_client: Run, node: ServerProcess) -> None:
    content = hashlib.sha256(b"mine").hexdigest()
    assert run_client("-p", node.port, "--price", "1", "register", content).status == 0
    (holder,) = run_client("-p", node.port, "check", content, "--json").json["holders"]
    assert holder["id"] == run_client("-p", node.port, "id", "--json").json["user_id"]


def test_options_after_the_command_and_from_the_environment(run_client: Run, node: ServerProcess) -> None:
    content = hashlib.sha256(b"placed").hexdigest()
    env = {
        "FASTMARKET_CLIENT_PORT": node.port,
        "FASTMARKET_CLIENT_PRICE": "8",
        "FASTMARKET_CLIENT_USERNAME": "env",
    }
    assert run_client("-u", "before", "register", content, "-u", "after", env=env).status == 0
    (holder,) = run_client("check", content, "--json", env=env).json["holders"]
    assert (holder["name"], holder["price"]) == ("after", 8)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["register", "x"], "--price: missing"),
        (["--price", "-1", "register", "x"], "--price: expects a whole number"),
        (["--price", "1", "--client-port", "416320", "register", "x"], "--client-port: expects"),
        (["--price", "1", "--client-ip", "no host", "register", "x"], "ip"),
        (["-p", "0", "check", "x"], "--port: expects"),
        (["check"], "FILE|CID|HASH: missing"),
        (["check", ""], "FILE|CID|HASH: is empty"),
        (["check", "x" * 1025], "content"),
        (["check", "/no/such/file"], "/no/such/file: no such file"),
        (["check", "."], "is a directory"),
        (["cid", "no-such-file"], "no-such-file: no such file"),
        (["cid", "x", "--cid-version", "2"], "--cid-version"),
        (["frobnicate"], "frobnicate"),
        (["--frobnicate"], "--frobnicate"),
        (["check", "a", "b"], "b"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(
    run_client: Run, node: ServerProcess, arguments: list[str], said: str
) -> None:
    done = run_client(*(["-p", node.port] if "-p" not in arguments else []), *arguments)
    assert done.status == 2, done
    complaint = done.err.splitlines()[-1]
    assert complaint.startswith("fastmarket-client: ")
    assert said in complaint
    assert "Traceback" not in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    "arguments", [["check", "ab" * 32], ["peers"], ["id"], ["--price", "1", "register", "ab" * 32]]
)
def test_nobody_there_is_one_line_and_status_1(run_client: Run, arguments: list[str]) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        done = run_client("-p", str(port), *arguments)
    assert done.status == 1
    assert done.complaint == (
        f"fastmarket-client: cannot reach a fastmarket-server at 127.0.0.1:{port}; is it running?"
    )


def test_help_teaches_and_version_tells(run_client: Run) -> None:
    for word in ("-h", "--help"):
        done = run_client(word)
        assert (done.status, done.err) == (0, "")
        for part in ("Examples:", "register", "check", "cid", "--client-ip", "FASTMARKET_CLIENT_"):
            assert part in done.out
    assert run_client("--version").out == f"fastmarket-client {__version__}\n"


def test_a_reader_that_leaves_early_is_no_traceback(node: ServerProcess) -> None:
    command = " ".join([*executable("fastmarket-client"), "-p", node.port, "id", "| true"])
    done = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, timeout=30, env=environment(), check=False
    )
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_repl_through_a_pipe(run_client: Run, node: ServerProcess, hello: Path) -> None:
    script = f"""help
SET price 6
set username Piper
Register '{hello}'
chEck {HELLO_V0}
frobnicate

check
peers
quit
check never-reached
"""
    done = run_client("-p", node.port, "-i", "pipe", stdin=script)
    assert done.status == 0
    assert done.out.startswith("Available commands: ")
    assert "Successfully registered file!\n" in done.out
    assert "Peer ID: pipe, Username: Piper, Consumer IP Addr: 127.0.0.1:8081, Price Per MB: $6\n" in done.out
    assert "No peers\n" in done.out
    assert done.err.splitlines() == [
        "Error parsing command: Command frobnicate not found (enter: help)",
        "Error parsing command: Missing or invalid arg for command check (usage: check <file>)",
    ]
    assert "never-reached" not in done.out


@pytest.mark.parametrize("script", ["help\nquit\n", "help\nquit", "help\n", "help"])
def test_repl_needs_no_node_to_help(run_client: Run, script: str) -> None:
    done = run_client("-p", "1", stdin=script)
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("Available commands: ")


def test_repl_outlives_the_server(servers: Servers, tmp_path: Path) -> None:
    content = "cd" * 32
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    server = servers.start("-p", port)
    command = [*executable("fastmarket-client"), "-p", port, "--price", "1"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(FASTMARKET_CLIENT_DATA_DIR=str(tmp_path / "user")),
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None

        def say(line: str) -> str:
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdin.write(line + "\n")
            client.stdin.flush()
            return client.stdout.readline()

        try:
            assert say(f"check {content}") == f"No holders of {content} found\n"
            server.process.send_signal(signal.SIGKILL)
            server.wait()
            gone = "Failed to find holders: cannot reach a fastmarket-server at "
            gone += f"127.0.0.1:{port}; is it running?\n"
            assert say(f"check {content}") == gone
            assert say(f"check {content}") == gone
            servers.start("-p", port)
            assert say(f"register {content}") == "Successfully registered file!\n"
            client.stdout.readline()
            assert "Price Per MB: $1" in say(f"check {content}")
            client.stdin.close()
            assert client.wait(20) == 0
        finally:
            client.kill()


def test_json_stays_one_object_a_line(run_client: Run, node: ServerProcess) -> None:
    for arguments in (["peers"], ["closest", "ab" * 32], ["check", "ab" * 32], ["id"]):
        done = run_client("-p", node.port, *arguments, "--json")
        assert done.out.count("\n") == 1
        assert isinstance(json.loads(done.out), dict)
