"""Looks at a file that is being fetched, from outside."""

from __future__ import annotations

import time
from pathlib import Path

from bench.get.commands import Command

LOOK_S = 0.002
DEADLINE_S = 120.0
_SECTOR_BYTES = 512  # of st_blocks


def there(output: Path) -> int:
    """Bytes that are written of it."""
    try:
        return output.with_name(output.name + ".part").stat().st_blocks * _SECTOR_BYTES
    except FileNotFoundError:
        return 0


def until_there(output: Path, wanted: float, command: Command) -> bool:
    """Until so many bytes are written; False if the command ends before."""
    deadline = time.monotonic() + DEADLINE_S
    while there(output) < wanted:
        if command.is_over:
            return False
        assert time.monotonic() < deadline, f"{there(output)} bytes after {DEADLINE_S:g} s"
        time.sleep(LOOK_S)
    return True
