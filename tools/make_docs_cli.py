"""The reference of commands and settings, out of the programs' help: pages for tools/make_docs.py."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from fastmarket.cli.client import client
from fastmarket.cli.server import server_command
from fastmarket.cli.settings import SETTINGS

DEFAULT = re.compile(r"\s*\[(?:default: )?([^]]*)\]$")


def cli_pages() -> dict[str, str]:
    """Path below reference/ -> page."""
    pages = {f"cli-{name}.md": "\n".join(_page(command)) for name, command in commands().items()}
    return pages | {"settings.md": "\n".join(_settings())}


def commands() -> dict[str, click.Command]:
    """The programs, by the end of their names."""
    return {"server": server_command(), "client": client}


def _page(command: click.Command) -> Iterator[str]:
    yield f"# {command.name}\n"
    yield from _paragraphs(command.help or "")
    yield f"```text\n{command.name} [OPTIONS] [COMMAND]\n```\n"
    yield "## Options\n"
    yield from _options(command, frozenset())
    if isinstance(command, click.Group):
        yield "## Commands\n"
        yield from _commands(command, "", frozenset(o for p in command.params for o in p.opts))
    for part in (command.epilog or "").replace("\b\n", "\0").split("\0"):
        title, _, body = part.strip("\n").partition("\n")
        if title.strip() == "Examples:":
            yield f"## Examples\n\n```text\n{inspect.cleandoc(body)}\n```\n"
        elif part.strip():
            yield f"```text\n{inspect.cleandoc(part)}\n```\n"


def _commands(group: click.Group, before: str, known: frozenset[str]) -> Iterator[str]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _commands(command, f"{before}{name} ", known)
            continue
        context = click.Context(command)
        arguments = [p.make_metavar(context) for p in command.params if isinstance(p, click.Argument)]
        yield f"### {before}{name}\n"
        yield f"```text\n{' '.join([before + name, *arguments])}\n```\n"
        yield from _paragraphs(command.help or "")
        yield from _options(command, known | {"--help", "-h"})


def _options(command: click.Command, known: frozenset[str]) -> Iterator[str]:
    context = click.Context(command, help_option_names=["-h", "--help"])
    rows = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if (
            record is not None
            and not isinstance(parameter, click.Argument)
            and not set(parameter.opts) & known
        ):
            text, default = _split(record[1])
            rows.append(f"| {_code(record[0])} | {default} | {text} |")
    if rows:
        yield "| option | default | meaning |\n| --- | --- | --- |"
        yield "\n".join(rows) + "\n"


def _settings() -> Iterator[str]:
    yield "# Settings of the server\n"
    yield (
        "Each setting may be an option, a variable of the environment, or a key of the TOML file that "
        "`--config` (or `FASTMARKET_CONFIG`) names. An option overrides the environment, which overrides the "
        "file. Several values are repeated options, a comma-separated variable, or a TOML array.\n"
    )
    yield (
        "`fastmarket-server config show` prints the settings in force and where each comes from; "
        "`config check` tells whether a node would start with them.\n"
    )
    yield "| option | variable | TOML key | default |\n| --- | --- | --- | --- |"
    for setting in SETTINGS:
        value = "= true" if setting.flag else "= [...]" if setting.repeated else "= ..."
        default = _split(setting.help)[1] or ("off" if setting.flag else "none")
        yield f"| `--{setting.name}` | `{setting.variable}` | `{setting.name} {value}` | {default} |"
    yield ""


def _split(text: str) -> tuple[str, str]:
    """What an option means, and its default."""
    found = DEFAULT.search(text)
    if found is None:
        return _cell(text), ""
    return _cell(text[: found.start()]), f"`{found[1]}`" if found[1] != "off" else "off"


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _cell(text: str) -> str:
    return re.sub(r"(`[^`]*`)|<", lambda found: found[1] or "&lt;", text.strip()).replace("|", "\\|")


def _paragraphs(text: str) -> Iterator[str]:
    for part in inspect.cleandoc(text).split("\n\n"):
        if part.startswith("\b\n"):
            yield f"```text\n{part[2:]}\n```\n"
        else:
            yield f"{' '.join(part.split())}\n"
