"""A user id without a home: no HOME, no entry in passwd, as container platforms choose one."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastmarket.cli import places
from fastmarket.cli.profile import Profile, resolve
from fastmarket.cli.server import main as server
from fastmarket.cli.settings import resolve as resolve_settings
from fastmarket.errors import CallerFault
from tests.e2e.conftest import LOOPBACK, Done

DEADLINE_S = 30.0
HELLO = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"  # echo "hello world" | ipfs add -q
UID = next(uid for uid in range(54321, 60000) if uid not in {entry.pw_uid for entry in pwd.getpwall()})
# The interpreter may lie where only root may read; it writes as that user all the same.
AS_NOBODY = [
    "setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups",
    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
    "env", "-i", "PATH=/usr/bin:/bin", f"PYTHONPATH={os.pathsep.join(filter(None, sys.path))}",
]  # fmt: skip
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="only root may become another user; needs setpriv",
)


def command(*words: str) -> list[str]:
    return [*AS_NOBODY, sys.executable, "-m", "fastmarket", *words]


def run(*words: str, stdin: str = "") -> Done:
    done = subprocess.run(
        command(*words), input=stdin, capture_output=True, text=True, timeout=DEADLINE_S, cwd="/", check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


@contextmanager
def serving(*words: str) -> Iterator[dict[str, object]]:
    process = subprocess.Popen(
        command("server", *LOOPBACK, *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready "), process.communicate(timeout=DEADLINE_S)[1]
        yield json.loads(line.removeprefix("ready "))
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0


@pytest.fixture
def place() -> Iterator[Path]:
    """Where that user may write; pytest's own directories let nobody else through."""
    with tempfile.TemporaryDirectory() as directory:
        os.chown(directory, UID, UID)
        yield Path(directory)


@needs_root
def test_the_server_says_what_to_give_it() -> None:
    for words in ((), ("config", "check")):
        done = run("server", *LOOPBACK, *words)
        assert done.status == 2
        assert done.complaint.startswith("fastmarket-server: --data-dir: missing; there is no home directory")
        assert "--ephemeral" in done.complaint
    done = run("server", "--ephemeral", "--tokens", "~/tokens", *LOOPBACK)
    assert (done.status, "no such home directory" in done.complaint) == (2, True)


@needs_root
def test_node_and_client(place: Path) -> None:
    (place / "file").write_text("hello world\n")
    with serving("--data-dir", str(place / "node")) as ready:
        at = ("-p", str(ready["grpc"]).rpartition(":")[2])
        with_home = (*at, "--data-dir", str(place / "client"))
        # What keeps nothing needs no place.
        file = place / "file"
        words = (
            "offers",
            "peers",
            f"check {HELLO}",
            f"cid {file}",
            f"register {file}",
            f"unregister {file}",
            "quit",
        )
        done = run("client", *at, "--id", "me", "--price", "1", stdin="\n".join(words))
        assert (done.status, done.err) == (0, "")
        assert done.out.count("Successfully") == 2
        for words in (("id",), ("register", "-r", "/usr/share", "--price", "1")):
            assert run("client", *at, *words).complaint.startswith(
                "fastmarket-client: --data-dir: missing; there is"
            )
        with serving("--ephemeral"):
            pass
        told = run("client", *with_home, "id", "--json").json
        assert (told["peer_id"], told["username"]) == (ready["peer_id"], "anonymous")
        assert run("client", *with_home, "register", "-r", str(place), "--price", "1").status == 0


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same within this process."""

    def nobody(_: object) -> pwd.struct_passwd:
        raise KeyError("uid not found")

    for name in ("HOME", "XDG_DATA_HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr(pwd, "getpwnam", nobody)


@pytest.mark.usefixtures("homeless")
def test_there_is_no_place_without_a_home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert places.user_data_directory() is None
    profile = resolve({}, {})
    assert (profile.data_dir, profile.username) == (None, "anonymous")
    assert resolve({"id": "me"}, {}).user_id() == "me"
    for wants_a_place in (profile.kept_in, profile.user_id):
        with pytest.raises(CallerFault, match=r"--data-dir: missing; there is no home"):
            wants_a_place()
    assert resolve({"data-dir": str(tmp_path)}, {}).kept_in() == tmp_path
    for name in ("data-dir", "tls-ca", "tls-cert", "tls-key", "token-file"):
        with pytest.raises(CallerFault, match=f"--{name}: '~/x': there is no such home"):
            resolve({name: "~/x"}, {})
    for name in ("data-dir", "tls-cert", "tls-key", "tls-client-ca", "tokens", "passphrase-file", "config"):
        with pytest.raises(CallerFault, match=f"--{name}: '~/x': there is no such home"):
            resolve_settings({name: "~/x"}, {}, None)
    assert resolve_settings({"ephemeral": True}, {}, None).data_dir is None
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        assert server(["config", "check"]) == 2
    finally:  # this process stays what signals meant to it
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert "--ephemeral" in capsys.readouterr().err
    assert Profile().data_dir is None
