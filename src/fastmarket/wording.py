"""Phrases that logs, errors and the command line have in common."""

from __future__ import annotations

import errno


def counted(number: int, noun: str) -> str:
    """`1 holder`, `2 holders`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def suppressed_note(count: int) -> str:
    """The end of a throttled log line: how many similar ones were suppressed before it; empty for 0."""
    return f" ({counted(count, 'similar message')} suppressed)" if count else ""


def why_unbound(error: OSError) -> str:
    """Why the system refused to bind a port, to follow its number."""
    return "is in use" if error.errno == errno.EADDRINUSE else f"refused ({error.strerror or error})"
