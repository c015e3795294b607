"""Generates docs/man/*.1 from the commands' help texts.

`python tools/make_manuals.py` writes them; tests/unit/cli/test_manuals.py fails when they are out of date.
`man -l docs/man/fastmarket-server.1` displays one.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from fastmarket.cli.client import client
from fastmarket.cli.server import server_command
from fastmarket.cli.settings import SETTINGS

PAGES = Path(__file__).parent.parent / "docs" / "man"
SEE_ALSO = {"fastmarket-server": "fastmarket-client", "fastmarket-client": "fastmarket-server"}


def manuals() -> dict[str, str]:
    """File name -> page."""
    return {f"{command.name}.1": "\n".join(_page(command)) + "\n" for command in (server_command(), client)}


def _page(command: click.Command) -> Iterator[str]:
    name = command.name or ""
    about = " ".join(inspect.cleandoc(command.help or "").split())
    yield '.\\" Written by tools/make_manuals.py out of the help of the command.'
    yield f'.TH {name.upper()} 1 "" fastmarket "User Commands"'
    yield ".SH NAME"
    yield _text(f"{name} - {about.partition('. ')[0].rstrip('.')}")
    yield ".SH SYNOPSIS"
    yield f".B {_text(name)}"
    yield "[OPTIONS] [COMMAND]"
    yield ".SH DESCRIPTION"
    yield _text(about)
    yield ".SH OPTIONS"
    yield from _options(command)
    if isinstance(command, click.Group):
        yield ".SH COMMANDS"
        yield from _commands(command, "", {option for p in command.params for option in p.opts})
    yield from _rest(command)
    if name == "fastmarket-server":
        yield ".SH ENVIRONMENT"
        for setting in SETTINGS:
            yield f".TP\n.B {_text(setting.variable)}\nas {_text(f'--{setting.name}')}"
    yield ".SH SEE ALSO"
    yield f".BR {_text(SEE_ALSO[name])} (1)"


def _options(command: click.Command, known: frozenset[str] | set[str] = frozenset()) -> Iterator[str]:
    # As every command of the programs has them; click keeps what the first context asked for.
    context = click.Context(command, help_option_names=["-h", "--help"])
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and not _is_argument(parameter) and not set(parameter.opts) & known:
            yield f".TP\n.B {_text(record[0])}\n{_text(record[1])}"


def _commands(group: click.Group, before: str, known: set[str]) -> Iterator[str]:
    for name, command in sorted(group.commands.items()):
        words = f"{before}{name}"
        if isinstance(command, click.Group):
            yield from _commands(command, f"{words} ", known)
            continue
        arguments = " ".join(
            p.make_metavar(click.Context(command)) for p in command.params if _is_argument(p)
        )
        yield f".SS {_text(f'{words} {arguments}'.strip())}"
        yield from _paragraphs(command.help or "")
        yield from _options(command, known | {"--help", "-h"})


def _is_argument(parameter: click.Parameter) -> bool:
    return isinstance(parameter, click.Argument)


def _rest(command: click.Command) -> Iterator[str]:
    """The epilog: its first part is the examples."""
    parts = [part for part in (command.epilog or "").replace("\b\n", "\0").split("\0") if part.strip()]
    for place, part in enumerate(parts):
        if part.startswith("Examples:"):
            yield ".SH EXAMPLES"
            part = part.partition("\n")[2]
        elif place == 1:
            yield ".SH NOTES"
        if part.lstrip().startswith("Exit status:"):
            yield ".SH EXIT STATUS"
        yield f".nf\n{_text(part.rstrip())}\n.fi\n.PP"


def _paragraphs(text: str) -> Iterator[str]:
    for part in inspect.cleandoc(text).split("\n\n"):
        if part.startswith("\b\n"):
            yield f".nf\n{_text(part[2:])}\n.fi"
        else:
            yield _text(" ".join(part.split()))


def _text(text: str) -> str:
    """As roff reads it: a hyphen that is to be typed, no accidental requests."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in escaped.split("\n"))


if __name__ == "__main__":
    PAGES.mkdir(exist_ok=True)
    for file, page in manuals().items():
        (PAGES / file).write_text(page)
