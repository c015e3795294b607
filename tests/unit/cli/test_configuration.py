"""config show and config check: what they tell, what they hide, what they find."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fastmarket.cli.configuration import faults, show
from fastmarket.cli.settings import SETTINGS, ServerSettings, resolve

COMMAND = [sys.executable, "-m", "fastmarket", "server"]


def settle(tmp_path: Path, **options: object) -> ServerSettings:
    given = {name.replace("_", "-"): value for name, value in options.items()}
    return resolve(given, {}, tmp_path / "home")


def test_what_is_shown_can_be_read_again(tmp_path: Path) -> None:
    settings = settle(
        tmp_path,
        port="7",
        listen=("/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0"),
        tokens='a "b"',
        insecure=True,
        fresh="0.25",
    )
    text = show(settings)
    file = tmp_path / "shown.toml"
    file.write_text(text)
    again = resolve({"config": str(file)}, {}, tmp_path / "elsewhere")
    for setting in SETTINGS:
        if setting.name not in ("ephemeral", "tokens"):
            assert getattr(again, setting.field) == getattr(settings, setting.field), setting.name
    shown = tomllib.loads(text)
    assert shown["tokens"] == 'a "b"'
    assert (shown["port"], shown["fresh"]) == (7, 0.25), "numbers are no strings"


def test_where_each_value_was_told_and_no_password(tmp_path: Path) -> None:
    text = show(settle(tmp_path, port="7", store="redis://user:geheim@one,two"))
    assert "geheim" not in text
    lines = {line.partition(" = ")[0]: line for line in text.splitlines()}
    assert lines["port"].endswith("# --port")
    assert lines["host"].endswith("# default")
    assert 'redis://user:***@one,two"' in lines["store"]


def test_a_node_that_would_start(tmp_path: Path) -> None:
    assert faults(settle(tmp_path)) == []
    assert not (tmp_path / "home").exists(), "nothing is made"


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("write 0123456789abcdef\n")
    (tmp_path / "tokens").chmod(0o644)
    (tmp_path / "file").touch()
    found = faults(
        settle(
            tmp_path,
            host="0.0.0.0",
            tokens=str(tmp_path / "tokens"),
            store="redis://one/0",
            data_dir=str(tmp_path / "file"),
        )
    )
    assert [fault.partition(":")[0] for fault in found] == ["--store", "--host", "--tokens", "--data-dir"]


def test_a_key_that_others_may_read(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "identity.pem").write_text("nothing")
    (home / "identity.pem").chmod(0o644)
    (found,) = faults(settle(tmp_path))
    assert "identity.pem" in found


@pytest.mark.parametrize("mode", [None, 0o644])
def test_a_passphrase_that_cannot_be_read_for_a_key_that_is_not_made_yet(
    tmp_path: Path, mode: int | None
) -> None:
    if mode is not None:
        (tmp_path / "phrase").write_text("a phrase\n")
        (tmp_path / "phrase").chmod(mode)
    (found,) = faults(settle(tmp_path, passphrase_file=str(tmp_path / "phrase")))
    assert found.startswith("--passphrase-file: ")


def test_an_extra_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastmarket.cli.configuration.find_spec", lambda name: None)
    (found,) = faults(settle(tmp_path, http_port="0"))
    assert found == "--http-port: needs uvicorn: pip install 'fastmarket[http]'"


def test_secrets_of_systemd_may_show_group_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("write 0123456789abcdef\n")
    tokens.chmod(0o460)
    (found,) = faults(settle(tmp_path, tokens=str(tokens)))
    assert "may be read by others" in found
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert faults(settle(tmp_path, tokens=str(tokens))) == []
    tokens.chmod(0o444)
    assert faults(settle(tmp_path, tokens=str(tokens))) != []


def test_a_memory_limit_below_what_a_node_takes_is_told_as_the_start_tells_it(tmp_path: Path) -> None:
    (found,) = faults(settle(tmp_path, **{"memory-limit": "1"}))
    assert "1 bytes; a node needs" in found
    assert faults(settle(tmp_path, **{"memory-limit": "135MB"})) == []


def test_options_stand_before_and_after_the_command() -> None:
    for words in (
        ["-p", "77", "config", "show"],
        ["config", "show", "-p", "77"],
        ["-p", "1", "config", "show", "-p", "77"],
    ):
        done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=True)
        assert "port = 77" in done.stdout


def test_the_exit_status_says_it() -> None:
    done = subprocess.run([*COMMAND, "--host", "0.0.0.0", "config", "check"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("fastmarket-server: --host: 0.0.0.0 is not loopback")


@pytest.mark.parametrize("program", ["server", "client"])
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(program: str, shell: str) -> None:
    command = [sys.executable, "-m", "fastmarket", program, "completion", shell]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"_FASTMARKET_{program.upper()}_COMPLETE" in done.stdout


def test_bash_is_told_the_words() -> None:
    words = {"COMP_WORDS": "fastmarket-server config ", "COMP_CWORD": "2"}
    code = "import sys; from fastmarket.cli.server import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"_FASTMARKET_SERVER_COMPLETE": "bash_complete", **words},
        capture_output=True,
        text=True,
    )
    assert {line.partition(",")[2] for line in done.stdout.split()} == {"check", "show"}


@pytest.mark.parametrize("words", ["unregister ho", "register --tls-ca ho", "cid ho"])
def test_bash_is_told_where_files_are_meant(words: str) -> None:
    code = "import sys; from fastmarket.cli.client import main; sys.exit(main())"
    line = f"fastmarket-client {words}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            "_FASTMARKET_CLIENT_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split()) - 1),
        },
        capture_output=True,
        text=True,
    )
    assert done.stdout == "file,ho\n"
