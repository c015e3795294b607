"""The REPL's language: how lines are read and completed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.cli.commands import WORDS, CommandError, completions, help_text, parse


def test_the_command_word_in_any_case_and_arguments_as_they_are() -> None:
    line = parse("  ChEcK QmPK1s3pNYLi9ERiq3BDxKa4XosgWwFRQUydHUtz4YgpqB ")
    assert line is not None
    assert line.word.name == "check"
    assert line.arguments == ("QmPK1s3pNYLi9ERiq3BDxKa4XosgWwFRQUydHUtz4YgpqB",)


@pytest.mark.parametrize(
    ("text", "argument"),
    [
        ("register 'my movie.mkv'", "my movie.mkv"),
        ('register "my movie.mkv"', "my movie.mkv"),
        (r"register my\ movie.mkv", "my movie.mkv"),
        ("register ''x", "x"),
    ],
)
def test_quotes(text: str, argument: str) -> None:
    line = parse(text)
    assert line is not None
    assert line.arguments == (argument,)


@pytest.mark.parametrize("text", ["", "   ", "\t", "\r", " \n"])
def test_a_line_without_a_word_is_nothing(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Frobnicate x", "Error parsing command: Command Frobnicate not found"),
        ("register", "Missing or invalid arg for command register"),
        ("check ''", "Missing or invalid arg for command check"),
        ("check a b", "Missing or invalid arg for command check (usage: check <file>)"),
        ("quit now", "Missing or invalid arg for command quit"),
        ("register a --price 3", "command register (there are no options here; first enter: set price 3)"),
        ("register --price=3 a", "first enter: set price 3)"),
        ("register a --client-ip", "first enter: set client-ip VALUE)"),
        ("register a --username 'Ann B'", "first enter: set username 'Ann B')"),
        ("register a --recursive", "command register (usage: register <file>)"),
        ("check 'x", "Error parsing command: No closing quotation"),
    ],
)
def test_faults_are_worded_as_ever(text: str, said: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse(text)
    assert said in str(caught.value)
    assert str(caught.value).startswith("Error parsing command: ")


@given(st.text(max_size=200))
def test_any_text_is_a_line_or_a_fault(text: str) -> None:
    try:
        line = parse(text)
    except CommandError:
        return
    if line is None:
        assert not text.strip(" \t\r\n")
    else:
        assert len(line.arguments) == len(line.word.arguments)


@given(st.text(min_size=1, max_size=50))
def test_a_quoted_argument_comes_through_whole(argument: str) -> None:
    line = parse(f"check {shlex.quote(argument)}")
    assert line is not None
    assert line.arguments == (argument,)


def test_help_names_every_command() -> None:
    first, *rest = help_text().splitlines()
    assert first.startswith("Available commands: ")
    for word in WORDS:
        assert word.usage in first
        assert any(line.strip().startswith(word.usage) for line in rest)


def offered(before_cursor: str) -> list[str]:
    """The line as it would stand after each completion."""
    return [
        before_cursor[: len(before_cursor) - found.length] + found.text
        for found in completions(before_cursor)
    ]


def test_command_words_are_completed() -> None:
    assert offered("re") == ["register"]
    assert offered("C") == ["cat", "check", "cid", "closest"]
    assert offered("zz") == []
    assert len(offered("")) == len(WORDS)
    assert offered("set cl") == ["set client-ip", "set client-port"]
    assert offered("set price 5") == []
    assert offered("peers x") == []


def test_paths_are_completed_as_they_must_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my movie.mkv").touch()
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "it's.ogg").touch()
    (tmp_path / ".hidden").touch()
    monkeypatch.chdir(tmp_path)
    assert offered("check m") == ["check music/", r"check my\ movie.mkv"]
    assert offered(r"check my\ mo") == [r"check my\ movie.mkv"]
    assert offered("check 'my mo") == ["check 'my movie.mkv"]
    assert offered("register ") == ["register music/", r"register my\ movie.mkv"]
    assert offered("register .h") == ["register .hidden"]
    assert offered(f"cid {tmp_path}/mus") == [f"cid {tmp_path}/music/"]
    assert offered("check no/such/") == []
    for line in offered("check music/"):
        assert parse(line).arguments == ("music/it's.ogg",)


def test_home_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert offered("check ~/f") == ["check ~/file"]
