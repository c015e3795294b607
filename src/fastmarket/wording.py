"""Phrases that logs, errors and the command line have in common."""

from __future__ import annotations

import errno
import os


def counted(number: int, noun: str) -> str:
    """`1 holder`, `2 holders`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def suppressed_note(count: int) -> str:
    """The end of a throttled log line: how many similar ones were suppressed before it; empty for 0."""
    return f" ({counted(count, 'similar message')} suppressed)" if count else ""


def why_unbound(error: OSError) -> str:
    """Why the system refused to bind a port, to follow its number. asyncio repeats the address in `strerror`;
    faults of a name's resolution have negative numbers."""
    if error.errno == errno.EADDRINUSE:
        return "is in use"
    number = error.errno or 0
    return f"refused ({(os.strerror(number) if number > 0 else error.strerror or str(error)).lower()})"
