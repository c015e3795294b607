"""`fastmarket-client` at a terminal: prompt, editing, history, completion, tables, Ctrl-C."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fastmarket.cli.processes import ServerProcess, environment, executable
from tests.e2e.conftest import Run
from tests.e2e.terminal import Terminal

PROMPT = ">>"  # the blank after it may come as a movement of the cursor
ENTER = "\r"
CTRL_C = "\x03"
CTRL_D = "\x04"
UP = "\x1b[A"
Open = Callable[..., Terminal]


@pytest.fixture
def open_terminal(tmp_path: Path) -> Iterator[Open]:
    """Starts `fastmarket-client` at a terminal."""
    with ExitStack() as stack:

        def open_it(*arguments: str) -> Terminal:
            env = environment(FASTMARKET_CLIENT_DATA_DIR=str(tmp_path / "user"))
            return stack.enter_context(
                Terminal([*executable("fastmarket-client"), *arguments], env, tmp_path)
            )

        yield open_it


def test_a_conversation(open_terminal: Open, node: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "hello.txt").write_text("hello world\n")
    terminal = open_terminal("-p", node.port, "-u", "alice", "-i", "alice", "--price", "5")
    terminal.wait_for("Market client connected!")
    terminal.wait_for(PROMPT)
    assert terminal.seen.count("connected") == 1, "one greeting"
    terminal.press("REGISTER hello.txt" + ENTER)
    terminal.wait_for("Successfully registered file!")
    terminal.wait_for(PROMPT)
    terminal.press("check hello.txt" + ENTER)
    terminal.wait_for("1 holder of QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o")
    terminal.wait_for("$/MB")
    row = terminal.wait_for("127.0.0.1:8081")
    assert " 5 " in row
    assert "alice" in row
    terminal.press("nonsense" + ENTER)
    terminal.wait_for("Command nonsense not found")
    terminal.wait_for(PROMPT)
    terminal.press("quit" + ENTER)
    assert terminal.wait() == 0


@pytest.mark.parametrize("keys", [CTRL_C, CTRL_D])
def test_ctrl_c_and_ctrl_d_leave(open_terminal: Open, keys: str) -> None:
    terminal = open_terminal("-p", "1")
    terminal.wait_for("cannot reach a fastmarket-server at 127.0.0.1:1")
    terminal.wait_for(PROMPT)
    terminal.press(keys)
    assert terminal.wait() == 0
    assert "Traceback" not in terminal.seen


def test_history_is_kept_for_its_owner(open_terminal: Open, tmp_path: Path) -> None:
    first = open_terminal("-p", "1")
    first.wait_for(PROMPT)
    first.press("set price 12345" + ENTER)
    first.wait_for("price is 12345")
    first.wait_for(PROMPT)
    first.press("quit" + ENTER)
    assert first.wait() == 0
    assert stat.S_IMODE((tmp_path / "user" / "history").stat().st_mode) == 0o600

    again = open_terminal("-p", "1")
    again.wait_for(PROMPT)
    again.press(UP + UP + ENTER)  # the last was quit
    again.wait_for("price is 12345")


def test_tab_completes_commands_and_paths(open_terminal: Open, tmp_path: Path) -> None:
    (tmp_path / "my movie.txt").write_text("hello world\n")
    terminal = open_terminal("-p", "1")
    terminal.wait_for(PROMPT)
    # What is completed is drawn as far as it is new.
    for keys, drawn in (("ci", "ci"), ("\t", "d"), (" my", "my"), ("\t", "movie.txt")):
        terminal.press(keys)
        terminal.wait_for(drawn)
    terminal.press(ENTER)
    terminal.wait_for("QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o")


def test_hashing_a_large_file_shows_progress_at_a_terminal_alone(
    open_terminal: Open, run_client: Run, tmp_path: Path
) -> None:
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(512 << 20)
    at_terminal = open_terminal("cid", "large.bin")
    at_terminal.wait_for("hashing large.bin")
    cid = at_terminal.wait_for("Qm")
    assert at_terminal.wait() == 0
    assert cid
    piped = run_client("cid", "large.bin")
    assert piped.err == ""
    assert piped.out.strip() in at_terminal.seen
