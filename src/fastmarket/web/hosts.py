"""By which names the pages of this machine are asked for."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection


def is_ours(host: str, listening: str, names: Collection[str] = ()) -> bool:
    """Whether a Host header may be ours: an IP address, localhost, what is listened on, or one of `names`.

    Any other name is somebody else's that leads here, so that his page may read ours (DNS rebinding).
    """
    host = host.lower().rstrip(".")
    if host in ("localhost", listening.lower()) or host in names:
        return True
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


UNKNOWN_HOST = "unknown host; ask by IP address, as localhost, or by a name of --http-name\n"
"""The body of a 421 (Misdirected Request)."""
