"""The commands of the REPL: the table, the parser and completion. No terminal, no network."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """One command: its argument names, all required but the last one if `optional`, and its help."""

    name: str
    arguments: tuple[str, ...]
    help: str
    takes_file: bool = False
    optional: bool = False

    @property
    def usage(self) -> str:
        """For example `register <file>`, `statement [<month>]`."""
        words = [f"<{argument}>" for argument in self.arguments]
        if self.optional:
            words[-1] = f"[{words[-1]}]"
        return " ".join((self.name, *words))

    def takes(self, count: int) -> bool:
        """Whether so many arguments may be given."""
        return len(self.arguments) - self.optional <= count <= len(self.arguments)


WORDS: tuple[Word, ...] = (
    Word("help", (), "show this help"),
    Word("register", ("file",), "offer a file, CID or hash to the network", takes_file=True),
    Word("unregister", ("file",), "withdraw your offer of a file, CID or hash", takes_file=True),
    Word("sell", ("file",), "offer a file or directory, and serve its bytes", takes_file=True),
    Word("unsell", ("file",), "stop selling a file, directory or CID", takes_file=True),
    Word("goods", (), "list what this node sells"),
    Word("get", ("cid",), "fetch a file from its holders, as CID or CID/PATH"),
    Word("cat", ("cid",), "fetch a file and print it"),
    Word("earnings", (), "what buyers signed for, by month"),
    Word("spending", (), "what this node signed for, by month"),
    Word("statement", ("month",), "receipts of a month by peer, as 2026-11 or all", optional=True),
    Word("owed", (), "list who owes what, and who did not pay"),
    Word("forgive", ("peer",), "write off what a buyer owes"),
    Word("block", ("peer",), "sell nothing more to a peer for money"),
    Word("unblock", ("peer",), "sell to a peer again"),
    Word("offers", (), "list the offers of this node"),
    Word("check", ("file",), "list the holders of a file, CID or hash, cheapest first", takes_file=True),
    Word("cid", ("file",), "print the CID of a file or directory, or explain a CID", takes_file=True),
    Word("peers", (), "list the peers this node knows"),
    Word("closest", ("file",), "list the nodes closest to a file, CID or hash", takes_file=True),
    Word("id", (), "show this node's identity and yours"),
    Word("set", ("name", "value"), "change username, price, id, client-ip or client-port"),
    Word("quit", (), "leave (as do Ctrl-D and Ctrl-C)"),
)

BY_NAME = {word.name: word for word in WORDS}
ALIASES = {"exit": "quit"}  # as shells have it
SETTABLE = ("username", "price", "id", "client-ip", "client-port")


class CommandError(Exception):
    """The line is not a valid command; the text says why, in the wording of the first system."""


@dataclass(frozen=True, slots=True)
class Line:
    """A parsed line: the command takes so many `arguments`."""

    word: Word
    arguments: tuple[str, ...]


def parse(text: str) -> Line | None:
    """Parses a line: the command in any case, arguments quoted and escaped as in a shell.

    Returns None for a blank line.
    """
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise CommandError(f"Error parsing command: {error}") from None
    if not parts:
        return None
    word = BY_NAME.get(ALIASES.get(parts[0].lower(), parts[0].lower()))
    if word is None:
        hint = "here without fastmarket-client" if parts[0] == "fastmarket-client" else "enter: help"
        raise CommandError(f"Error parsing command: Command {parts[0]} not found ({hint})")
    arguments = tuple(parts[1:])
    if not word.takes(len(arguments)) or not all(arguments):
        hint = _option_hint(arguments) or f"usage: {word.usage}"
        raise CommandError(f"Error parsing command: Missing or invalid arg for command {word.name} ({hint})")
    return Line(word, arguments)


def _option_hint(arguments: tuple[str, ...]) -> str:
    """How to give here what is an option on the command line; empty if there is none among `arguments`."""
    for index, argument in enumerate(arguments):
        name, _, value = argument.removeprefix("--").partition("=")
        if argument.startswith("--") and name in SETTABLE:
            value = value or next(iter(arguments[index + 1 :]), "") or "VALUE"
            return f"there are no options here; first enter: set {name} {shlex.quote(value)}"
    return ""


def help_text() -> str:
    """All commands in one line, then each with its help."""
    width = max(len(word.usage) for word in WORDS)
    lines = [f"  {word.usage:<{width}}  {word.help}" for word in WORDS]
    return "\n".join(["Available commands: " + ", ".join(word.usage for word in WORDS), *lines])


@dataclass(frozen=True, slots=True)
class Completion:
    """`text` may replace the last `length` characters before the cursor; `shown` is for the menu."""

    text: str
    length: int
    shown: str


def completions(before_cursor: str) -> Iterator[Completion]:
    """Completions at the end of `before_cursor`: commands, then paths or names of settings."""
    head, blank, rest = before_cursor.lstrip().partition(" ")
    if not blank:
        for word in WORDS:
            if word.name.startswith(head.lower()):
                yield Completion(word.name, len(head), word.name)
        return
    known = BY_NAME.get(head.lower())
    if known is not None and known.takes_file:
        yield from _paths(rest.lstrip())
    elif known is not None and known.name == "set" and " " not in rest:
        for name in SETTABLE:
            if name.startswith(rest):
                yield Completion(name, len(rest), name)


def _paths(typed: str) -> Iterator[Completion]:
    """Files and directories that complete `typed`, which may begin with a quote or contain backslashes."""
    quote = typed[:1] if typed[:1] in ("'", '"') else ""
    plain = typed[1:] if quote else _unescape(typed)
    directory, _, stem = plain.rpartition("/")
    base = os.path.expanduser(directory + "/") if directory or plain.startswith("/") else "."
    try:
        with os.scandir(base) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except (OSError, ValueError):  # a NUL in the path
        return
    for entry in entries:
        if not entry.name.startswith(stem) or (entry.name.startswith(".") and not stem.startswith(".")):
            continue
        name = entry.name + ("/" if _is_directory(entry) else "")
        whole = f"{directory}/{name}" if "/" in plain else name
        yield Completion(quote + whole if quote else _escape(whole), len(typed), name)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to a place we may not read
        return False


def _unescape(text: str) -> str:
    try:
        return "".join(shlex.split(text)) if text else ""
    except ValueError:  # a backslash or an open quote at the very end
        return text.rstrip("\\")


def _escape(text: str) -> str:
    return "".join(c if c.isalnum() or c in "/._-~+@%,:=" else f"\\{c}" for c in text)
