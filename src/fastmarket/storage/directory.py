"""The data directory, used by one node at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastmarket.errors import CallerFault

LOCK_FILE = "lock"
KEY_FILE = "identity.pem"
MAX_HOLDER_BYTES = 64


@contextmanager
def data_directory(path: Path) -> Iterator[None]:
    """Creates the directory, 0700, and holds its lock, which the system releases when the process ends.

    Raises CallerFault ("data-dir") if it cannot be written or another process holds the lock, naming it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        number = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CallerFault("data-dir", f"cannot write to {path}: {error.strerror}") from None
    with open(number, "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = lock.read(MAX_HOLDER_BYTES).strip()
            who = f"process {holder}" if holder.isdecimal() else "another process"
            raise CallerFault("data-dir", f"{path} is in use by another node ({who})") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield
