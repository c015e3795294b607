"""The words of the REPL: one table, how a line is read, and how it is completed. No terminal, no network."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """One command: its argument names (all of them wanted), and what it does."""

    name: str
    arguments: tuple[str, ...]
    help: str
    takes_file: bool = False

    @property
    def usage(self) -> str:
        """`register <file>`."""
        return " ".join((self.name, *(f"<{argument}>" for argument in self.arguments)))


WORDS: tuple[Word, ...] = (
    Word("help", (), "show this"),
    Word("register", ("file",), "offer a file, CID or hash to the network", takes_file=True),
    Word("unregister", ("file",), "take your offer of a file, CID or hash back", takes_file=True),
    Word("offers", (), "what this node offers"),
    Word("check", ("file",), "who offers a file, CID or hash, cheapest first", takes_file=True),
    Word(
        "cid", ("file",), "the name of a file, here and on IPFS; what a CID says of itself", takes_file=True
    ),
    Word("peers", (), "the nodes this node knows"),
    Word("closest", ("file",), "the nodes closest to a file, CID or hash", takes_file=True),
    Word("id", (), "who this node is, and who you are"),
    Word("set", ("name", "value"), "change username, price, id, client-ip or client-port"),
    Word("quit", (), "leave (so do Ctrl-D and Ctrl-C)"),
)

BY_NAME = {word.name: word for word in WORDS}
SETTABLE = ("username", "price", "id", "client-ip", "client-port")


class CommandError(Exception):
    """The line is no command; the text says why, as the first system worded it."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line understood: `arguments` has as many items as the word names."""

    word: Word
    arguments: tuple[str, ...]


def parse(text: str) -> Line | None:
    """The command word in any case, arguments as they are; quotes and backslashes as in a shell.

    None: there is no word in it.
    """
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise CommandError(f"Error parsing command: {error}") from None
    if not parts:
        return None
    word = BY_NAME.get(parts[0].lower())
    if word is None:
        raise CommandError(f"Error parsing command: Command {parts[0]} not found")
    arguments = tuple(parts[1:])
    if len(arguments) != len(word.arguments) or not all(arguments):
        raise CommandError(
            f"Error parsing command: Missing or invalid arg for command {word.name} (usage: {word.usage})"
        )
    return Line(word, arguments)


def help_text() -> str:
    """All commands in one line, then each with its meaning."""
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
    """What may stand at the end of `before_cursor`: command words, then paths or names to set."""
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
    """Files and directories that continue `typed`, which may begin with a quote or hold backslashes."""
    quote = typed[:1] if typed[:1] in ("'", '"') else ""
    plain = typed[1:] if quote else _unescape(typed)
    directory, _, stem = plain.rpartition("/")
    base = os.path.expanduser(directory + "/") if directory or plain.startswith("/") else "."
    try:
        with os.scandir(base) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except (OSError, ValueError):  # a NUL in it
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
    except OSError:  # a link that leads where we may not look
        return False


def _unescape(text: str) -> str:
    try:
        return "".join(shlex.split(text)) if text else ""
    except ValueError:  # a backslash or an open quote at the very end
        return text.rstrip("\\")


def _escape(text: str) -> str:
    return "".join(c if c.isalnum() or c in "/._-~+@%,:=" else f"\\{c}" for c in text)
