"""`--store`: the location of a fleet's engine, and how to show it without its password."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from fastmarket.errors import CallerFault
from fastmarket.formats.dns_name import ascii_name

DEFAULT_PORT = 6379
SCHEMES = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}  # whether TLS


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """The location of the engine. `shown` is the URL without its password."""

    hosts: tuple[tuple[str, int], ...]
    tls: bool
    username: str | None
    password: str | None = field(repr=False)
    ca_file: str | None

    @classmethod
    def parse(cls, text: str) -> StoreUrl:
        """`redis://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]]...[?ca_file=PATH]`; rediss: with TLS. Raises
        CallerFault, which never contains the password."""
        scheme, _, rest = text.partition("://")
        if scheme not in SCHEMES:
            raise CallerFault("store", f"expects {'|'.join(SCHEMES)}://HOST:PORT,...")
        try:
            parts = urlsplit(f"//{rest}")
        except ValueError:  # its text may hold the password
            raise CallerFault("store", "expects an IPv6 address within [ and ]") from None
        userinfo, _, hosts = parts.netloc.rpartition("@")
        username, _, password = userinfo.partition(":")
        query = dict(parse_qsl(parts.query))
        if parts.path.strip("/") or set(query) - {"ca_file"}:
            raise CallerFault("store", "expects nothing after the hosts except ?ca_file=PATH")
        return cls(
            tuple(_host(host) for host in hosts.split(",")),
            SCHEMES[scheme],
            unquote(username) or None,
            unquote(password) or None,
            query.get("ca_file"),
        )

    @property
    def shown(self) -> str:
        """For logs and people."""
        scheme = "rediss" if self.tls else "redis"
        who = f"{self.username or ''}:***@" if self.password else ""
        return f"{scheme}://{who}{','.join(_shown(host, port) for host, port in self.hosts)}"


def _host(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port or DEFAULT_PORT
        host = ascii_name(host) if host and not host.isascii() else host
    except ValueError:
        host = None
    if not host:
        raise CallerFault("store", f"{text!r} is not HOST:PORT")
    return host, port


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
