"""Checks the Host header of requests to this machine's pages."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

from starlette.requests import Request

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:@]*))(?::[0-9]{0,5})?")


def asked_host(request: Request) -> str:
    """The host the client asked for, without brackets and port, or "" if malformed. HTTP/1.0 requires no Host
    header; the address the request arrived at is used instead.

    Starlette's `request.url` falls back to that address for malformed headers, too.
    """
    header = request.headers.get("host")
    if header is None:
        return str((request.scope.get("server") or ("",))[0])
    match = _HOST.fullmatch(header)
    return "" if match is None else match[1] or match[2]


def is_ours(host: str, listening: str, names: Collection[str] = ()) -> bool:
    """Whether a Host header may be ours: an IP address, localhost, the listening host, or one of `names`.

    Any other name may be a stranger's that resolves to us, so that its page could read ours (DNS rebinding).
    """
    host = host.lower().rstrip(".")
    if host in ("localhost", listening.lower()) or host in names:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


UNKNOWN_HOST = "unknown host; use an IP address, localhost, or a name given as --http-name\n"
"""The body of a 421 (Misdirected Request)."""
