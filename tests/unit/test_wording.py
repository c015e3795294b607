"""Phrases in common: counts agree with their nouns, and a note that says nothing is left out."""

from __future__ import annotations

import ast
import errno
import os
import re
import socket
from pathlib import Path

from fastmarket.wording import counted, suppressed_note, why_unbound
from tests.sources import nodes_of

PACKAGE = Path(__file__).parents[2] / "src" / "fastmarket"
# A number followed by a plural: wrong for 1, and therefore to be written with `counted`.
NOUNS = "offers|peers|values|holders|nodes|files|lines|messages"
BARE_COUNT = re.compile(rf"%d (?:[a-z]+ )?(?:{NOUNS})\b")


def test_one_is_singular() -> None:
    assert [counted(number, "offer") for number in (0, 1, 2)] == ["0 offers", "1 offer", "2 offers"]


def test_nothing_suppressed_is_not_worth_a_note() -> None:
    assert suppressed_note(0) == ""
    assert suppressed_note(1) == " (1 similar message suppressed)"
    assert suppressed_note(12) == " (12 similar messages suppressed)"


def test_a_taken_port_is_in_use_and_other_refusals_have_the_systems_words() -> None:
    assert why_unbound(OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))) == "is in use"
    assert why_unbound(OSError(errno.EACCES, "while binding to (...)")) == "refused (permission denied)"
    assert why_unbound(socket.gaierror(socket.EAI_NONAME, "Name unknown")) == "refused (name unknown)"
    assert why_unbound(OSError("no reason")) == "refused (no reason)"


def test_no_log_line_puts_a_bare_number_before_a_plural() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in nodes_of(path):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found += [f"{path.name}: {line}" for line in BARE_COUNT.findall(node.value)]
    assert not found
