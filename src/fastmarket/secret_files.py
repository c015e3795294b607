"""Files that hold secrets: tokens, keys, passphrases. One rule for all of them: who else may read one.

Its owner alone, or those a platform hands it to: the service that systemd made it a credential for; a group
of this process, where root owns it (Kubernetes with `fsGroup`; /etc of a system). Whatever is wider is
refused, unless the operator says that modes up to `widest` are accepted; then it is warned of.
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
PIPE_S = 2.0  # of a command that writes one; nothing else goes on meanwhile
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
log = logging.getLogger(__name__)


def read_secret(name: str, field: str, widest: str = OWNER_ALONE) -> bytes:
    """What is in it. Raises CallerFault(`field`): it cannot be read, or is open to others.

    `widest`: the mode up to which a file is accepted, in octal digits.
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
    """To open a pipe waits for somebody who writes to it; the node cannot do that."""
    return os.open(name, flags | os.O_NONBLOCK)


def _from_pipe(descriptor: int, within_s: float) -> bytes:
    """What a shell hands over: `--tokens <(command)`. Raises OSError."""
    content, end = b"", time.monotonic() + within_s
    while len(content) <= MAX_SECRET_BYTES:
        if not select.select([descriptor], [], [], max(end - time.monotonic(), 0.0))[0]:
            raise TimeoutError(errno.ETIMEDOUT, f"a pipe that was not written to its end within {within_s} s")
        part = os.read(descriptor, 1 << 16)
        if not part:
            break
        content += part
    return content


def check_mode(
    status: os.stat_result, name: str, field: str, widest: str = OWNER_ALONE, *, ours: bool = False
) -> None:
    """Raises CallerFault(`field`) for a file of that status that is open to others.

    `ours`: we made it, so that it is handed over by nobody.
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
            f"{name} may be read by others (mode {mode & 0o777:o}); chmod 600 {name}, or where a platform "
            f"makes it so, accept it with --secrets-mode 0{mode & 0o777:o}",
        )
    log.warning("%s may be read by others (mode %o); accepted, as --secrets-mode says", name, mode & 0o777)


def _excused(status: os.stat_result, path: Path) -> int:
    """Bits that open it to nobody else. An ACL, as systemd sets it, shows as the group's."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials is not None and path.absolute().parent == Path(credentials):
        return stat.S_IRWXG
    if status.st_uid == 0 and status.st_gid in (os.getegid(), *os.getgroups()):
        return stat.S_IRGRP
    return 0
