"""By which names the pages of this machine are asked for."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

from starlette.requests import Request

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:@]*))(?::[0-9]{0,5})?")


def asked_host(request: Request) -> str:
    """The name or address that the caller wrote, without brackets and port; one of HTTP/1.0, which need not
    write any, gets the address it came to. "": it is malformed.

    Starlette's `request.url` takes that address for what is malformed, too.
    """
    header = request.headers.get("host")
    if header is None:
        return str((request.scope.get("server") or ("",))[0])
    match = _HOST.fullmatch(header)
    return "" if match is None else match[1] or match[2]


def is_ours(host: str, listening: str, names: Collection[str] = ()) -> bool:
    """Whether a Host header may be ours: an IP address, localhost, what is listened on, or one of `names`.

    Any other name is somebody else's that leads here, so that his page may read ours (DNS rebinding).
    """
    host = host.lower().rstrip(".")
    if host in ("localhost", listening.lower()) or host in names:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


UNKNOWN_HOST = "unknown host; ask by IP address, as localhost, or by a name of --http-name\n"
"""The body of a 421 (Misdirected Request)."""
