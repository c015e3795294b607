"""The REPL without a terminal and without a node: it says what is wrong, and lives."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastmarket.cli.commands import WORDS
from fastmarket.cli.context import Context
from fastmarket.cli.link import MarketLink
from fastmarket.cli.profile import Profile
from fastmarket.cli.render import Screen
from fastmarket.cli.repl import ACTIONS, Repl


@pytest.fixture
def repl(tmp_path: Path) -> Iterator[Repl]:
    with socket.socket() as taken:  # bound, but nobody listens: every call is refused
        taken.bind(("127.0.0.1", 0))
        profile = Profile(port=taken.getsockname()[1], username="me", data_dir=tmp_path)
        with MarketLink(profile.target) as link:
            yield Repl(Context(link, profile, Screen(people=False)))


def test_every_word_has_an_action() -> None:
    assert {word.name for word in WORDS} == set(ACTIONS) | {"quit"}


def test_quit_in_any_case_ends_it(repl: Repl) -> None:
    assert not repl.one("QUIT")
    lines = iter(["help", "quit", "help"])
    repl.run(lambda: next(lines))
    assert next(lines) == "help"


@pytest.mark.parametrize("end", [EOFError, KeyboardInterrupt])
def test_the_end_of_input_and_ctrl_c_end_it(repl: Repl, end: type[BaseException]) -> None:
    def read() -> str:
        raise end

    repl.run(read)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", "Error parsing command: Command nonsense not found (enter: help)"),
        (
            "fastmarket-client peers",
            "Error parsing command: Command fastmarket-client not found (here without",
        ),
        ("sell film.mkv", "--price: missing; selling needs a price per MB; enter: set price VALUE"),
        ("check", "Error parsing command: Missing or invalid arg for command check"),
        ("check QmX", "Failed to find holders: cannot reach a fastmarket-server at 127.0.0.1:"),
        (
            "register QmX",
            "Failed to register file: --price: missing; registering needs a price per MB; "
            "enter: set price VALUE",
        ),
        ("register /no/such/file", "Failed to register file: "),
        ("closest QmX", "Failed to find the closest peers: cannot reach"),
        ("peers", "Failed to list peers: cannot reach"),
        ("id", "Failed to query the node: cannot reach"),
        ("cid /no/such", "/no/such: no such file"),
        ("set colour red", "colour: cannot be set; one of username, price"),
        ("set price cheap", "price: expects a whole number"),
    ],
)
def test_what_is_wrong_is_said_and_it_lives(
    repl: Repl, line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert repl.one(line)
    out, err = capsys.readouterr()
    assert err.splitlines()[-1].startswith(said)
    assert out == ""


@pytest.mark.parametrize("line", ["", "   ", "\t"])
def test_an_empty_line_is_answered_with_the_next_prompt(
    repl: Repl, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert repl.one(line)
    assert capsys.readouterr() == ("", "")


def test_set_changes_what_is_told(repl: Repl, capsys: pytest.CaptureFixture[str]) -> None:
    repl.one("set price 7")
    repl.one("SET client-port 99")
    assert (repl.desk.profile.price, repl.desk.profile.client_port) == (7, 99)
    assert capsys.readouterr().out == "price is 7\nclient-port is 99\n"


def test_cid_needs_no_node(repl: Repl, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "my file"
    path.write_text("hello world\n")
    repl.one(f"cid '{path}'")
    assert capsys.readouterr().out == "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o\n"
