"""Files with secrets: tokens, keys, passphrases. One rule for all of them: who may read the file.

Allowed are its owner, and readers a platform grants access: the service for which systemd made the
credential, and a group of this process if root owns the file (Kubernetes with `fsGroup`; a system's /etc).
Wider modes are refused unless the operator accepts modes up to `widest`; then a warning is logged.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import stat
import time
from pathlib import Path

from fastmarket.errors import CallerFault

OWNER_ALONE = "0600"
MAX_SECRET_BYTES = 1 << 20  # a thousand tokens or a chain of certificates take a tenth
PIPE_S = 2.0  # limit for a command that writes one; the node does nothing else meanwhile
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
log = logging.getLogger(__name__)


def read_secret(name: str, field: str, widest: str = OWNER_ALONE) -> bytes:
    """The file's content. Raises CallerFault(`field`) if it cannot be read, or others may read it.

    `widest`: the widest accepted mode, in octal digits.
    """
    try:
        with open(name, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            check_mode(status, name, field, widest)
            if stat.S_ISFIFO(status.st_mode):
                content = _from_pipe(file.fileno(), PIPE_S)
            else:
                content = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise CallerFault(field, f"cannot read {name}: {error.strerror}") from None
    if len(content) > MAX_SECRET_BYTES:
        raise CallerFault(field, f"{name} is longer than {MAX_SECRET_BYTES} bytes")
    return content


def _without_waiting(name: str, flags: int) -> int:
    """Opening a pipe would wait for its writer; the node cannot."""
    return os.open(name, flags | os.O_NONBLOCK)


def _from_pipe(descriptor: int, within_s: float) -> bytes:
    """Reads what a shell passes: `--tokens <(command)`. Raises OSError."""
    content, end = b"", time.monotonic() + within_s
    while len(content) <= MAX_SECRET_BYTES:
        if not select.select([descriptor], [], [], max(end - time.monotonic(), 0.0))[0]:
            raise TimeoutError(errno.ETIMEDOUT, f"the pipe's writer did not finish within {within_s} s")
        part = os.read(descriptor, 1 << 16)
        if not part:
            break
        content += part
    return content


def check_mode(
    status: os.stat_result, name: str, field: str, widest: str = OWNER_ALONE, *, ours: bool = False
) -> None:
    """Raises CallerFault(`field`) for a file that others may read.

    `ours`: we created the file, so no platform grants access to it.
    """
    open_to = stat.S_IMODE(status.st_mode) & _OTHERS
    if not ours:
        open_to &= ~_excused(status, Path(name))
    if not open_to:
        return
    mode = stat.S_IMODE(status.st_mode)
    if open_to & ~int(widest, 8):
        raise CallerFault(
            field,
            f"{name} may be read by others (mode {mode & 0o777:o}); chmod 600 {name}, or if a platform sets "
            f"that mode, accept it with --secrets-mode 0{mode & 0o777:o}",
        )
    log.warning("%s may be read by others (mode %o); accepted due to --secrets-mode", name, mode & 0o777)


def _excused(status: os.stat_result, path: Path) -> int:
    """Mode bits that grant access to no one else. An ACL, as set by systemd, shows as the group's bits."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials is not None and path.absolute().parent == Path(credentials):
        return stat.S_IRWXG
    if status.st_uid == 0 and status.st_gid in (os.getegid(), *os.getgroups()):
        return stat.S_IRGRP
    return 0
