"""The REPL of `fastmarket-client`: reads and runs commands until `quit`, end of input or Ctrl-C."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fastmarket.cli import accounting, actions, getting, profile, selling
from fastmarket.cli.commands import SETTABLE, CommandError, Line, completions, help_text, parse
from fastmarket.cli.context import Context
from fastmarket.cli.entry import one_line
from fastmarket.errors import CallerFault, FastmarketError

if TYPE_CHECKING:
    from prompt_toolkit.completion import Completer

PROMPT = ">> "
HISTORY = "history"
FAILURES = {
    "register": "Failed to register file",
    "check": "Failed to find holders",
    "peers": "Failed to list peers",
    "closest": "Failed to find the closest peers",
    "id": "Failed to query the node",
}

ReadLine = Callable[[], str]


class Repl:
    """One session. `set` replaces `desk`; everything else is in the table of commands."""

    def __init__(self, desk: Context) -> None:
        """Commands write to `desk.screen`."""
        self.desk = desk

    def run(self, read_line: ReadLine) -> None:
        """Runs until `quit`, or until `read_line` raises EOFError or KeyboardInterrupt."""
        while True:
            try:
                text = read_line()
            except (EOFError, KeyboardInterrupt):
                return
            if not self.one(text):
                return

    def one(self, text: str) -> bool:
        """Run one line; False after `quit`. A failure prints one line and never ends the session."""
        try:
            line = parse(text)
            if line is None:
                return True
        except CommandError as error:
            self.desk.screen.trouble(str(error))
            return True
        if line.word.name == "quit":
            return False
        try:
            ACTIONS[line.word.name](self, *line.arguments)
        except KeyboardInterrupt:
            self.desk.screen.trouble("cancelled")
        except FastmarketError as fault:
            said = FAILURES.get(line.word.name)
            told = f"{said}: {fault}" if said else str(fault)
            self.desk.screen.trouble(one_line(told + _remedy(fault)))
        return True

    def show_help(self) -> None:
        """Print the table of commands."""
        self.desk.screen.line(help_text())

    def change(self, name: str, value: str) -> None:
        """Change one field of the profile."""
        if name not in SETTABLE:
            raise CallerFault(name, "cannot be set; one of " + ", ".join(SETTABLE))
        self.desk = replace(self.desk, profile=profile.change(self.desk.profile, name, value))
        self.desk.screen.line(f"{name} is {one_line(value)}")


def _remedy(fault: FastmarketError) -> str:
    """How to give here what an option of the command line gives."""
    field = fault.field if isinstance(fault, CallerFault) else ""
    name = field.removeprefix("--")
    return f"; enter: set {name} VALUE" if name != field and name in SETTABLE else ""


ACTIONS: dict[str, Callable[..., None]] = {
    "help": Repl.show_help,
    "set": Repl.change,
    "register": lambda repl, argument: actions.register(repl.desk, argument),
    "unregister": lambda repl, argument: actions.unregister(repl.desk, argument),
    "sell": lambda repl, argument: selling.sell(repl.desk, [argument]),
    "unsell": lambda repl, argument: selling.unsell(repl.desk, argument),
    "goods": lambda repl: selling.goods(repl.desk),
    "get": lambda repl, argument: getting.get(repl.desk, argument),
    "cat": lambda repl, argument: getting.cat(repl.desk, argument),
    "earnings": lambda repl: accounting.earnings(repl.desk),
    "spending": lambda repl: accounting.spending(repl.desk),
    "statement": lambda repl, *month: accounting.statement(repl.desk, *month),
    "owed": lambda repl: accounting.owed(repl.desk),
    "forgive": lambda repl, peer: accounting.forgive(repl.desk, peer),
    "block": lambda repl, peer: accounting.block(repl.desk, peer),
    "unblock": lambda repl, peer: accounting.block(repl.desk, peer, blocked=False),
    "offers": lambda repl: actions.offers(repl.desk),
    "check": lambda repl, argument: actions.check(repl.desk, argument),
    "cid": lambda repl, argument: actions.cid(repl.desk, argument),
    "closest": lambda repl, argument: actions.closest(repl.desk, argument),
    "peers": lambda repl: actions.peers(repl.desk),
    "id": lambda repl: actions.identities(repl.desk),
}


def converse(desk: Context) -> None:
    """Run a session on stdin: with line editing on a terminal, with plain lines in a pipe."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        Repl(desk).run(_lines(sys.stdin))
        return
    actions.greet(desk)
    desk.screen.line("Type help for commands.")
    Repl(desk).run(_edited_lines(desk.profile.data_dir))


def _lines(stream: Iterable[str]) -> ReadLine:
    lines = iter(stream)

    def read() -> str:
        for line in lines:
            return line.rstrip("\r\n")
        raise EOFError

    return read


def _edited_lines(directory: Path | None) -> ReadLine:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory

    path = _history_file(directory)
    history: History = FileHistory(str(path)) if path is not None else InMemoryHistory()
    session: PromptSession[str] = PromptSession(
        history=history, completer=_completer(), complete_while_typing=False, enable_history_search=True
    )
    return lambda: session.prompt(PROMPT)


def _history_file(directory: Path | None) -> Path | None:
    """The history file, readable by its owner only (it names files and prices); None if it cannot be made."""
    if directory is None:
        return None
    path = directory / HISTORY
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        path.chmod(0o600)
    except OSError:
        return None
    return path


def _completer() -> Completer:
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document

    class WordCompleter(Completer):
        """Adapts the table's completions to prompt_toolkit."""

        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
            for found in completions(document.text_before_cursor):
                yield Completion(found.text, -found.length, display=found.shown)

    return WordCompleter()


__all__ = ["PROMPT", "Line", "Repl", "converse"]
