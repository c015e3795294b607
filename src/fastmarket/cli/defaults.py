"""Which field of a `NodeConfig` each setting of the server sets, and whose default it has.

The default is stated in `fastmarket.config` alone. Help, the manual page and docs/parameters.md show it from
there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from fastmarket.config import NodeConfig

MODES = ("server", "client")
FIELDS = {
    "port": "market.port",
    "host": "market.host",
    "tls-cert": "access.tls_cert",
    "tls-key": "access.tls_key",
    "tls-client-ca": "access.tls_client_ca",
    "tokens": "access.tokens",
    "insecure": "access.insecure",
    "http-port": "web.port",
    "content-port": "content.port",
    "content-host": "content.host",
    "content-url": "content.url",
    "content-cert": "content.cert",
    "content-key": "content.key",
    "content-rate": "content.rate_bytes",
    "allow-path": "content.allow_paths",
    "payments": "payments.required",
    "currency": "payments.currency",
    "budget": "payments.budget_per_day",
    "credit": "payments.credit.stranger_bytes",
    "settlement": "payments.settlement",
    "metrics-port": "web.metrics_port",
    "metrics-host": "web.metrics_host",
    "trace-endpoint": "web.trace_endpoint",
    "http-host": "web.host",
    "http-name": "web.names",
    "http-keep-alive": "web.keep_alive_s",
    "listen": "host.listen",
    "announce": "host.announce",
    "bootstrap": "bootstrap",
    "mdns": "host.mdns",
    "port-map": "port_map.mode",
    "store": "fleet.store",
    "kad-prefix": "kad.prefix",
    "large-table": "kad.large_table",
    "disjoint-paths": "kad.disjoint_paths",
    "fresh": "offers.fresh_s",
    "memory-limit": "memory.limit_bytes",
    "mode": "server_mode",
    "secrets-mode": "access.secrets_mode",
}
FILES = frozenset(
    {"tls-cert", "tls-key", "tls-client-ca", "tokens", "content-cert", "content-key"}
)  # paths here, texts there
# Settings of the program, of which a node knows nothing.
OWN = {"log-level": "info", "log-format": "text"}
# What the program does unasked, and a node within another program does not.
UNASKED = {"mdns": "auto", "port-map": "auto"}
_DEFAULTS = NodeConfig()


def default_of(name: str) -> Any:
    """The value of a setting that is not given; None: there is none."""
    if name not in FIELDS or name in UNASKED:
        return {**OWN, **UNASKED}.get(name)
    value = attrgetter(FIELDS[name])(_DEFAULTS)
    if name == "mode":
        return MODES[not value]
    return (value or None) if name in FILES else value


def shown_default(name: str) -> str:
    """The same as help shows it, "" for nothing."""
    if name == "data-dir":
        return "default: the user's data directory"
    if name == "memory-limit":
        return "default: 512 MiB, or less in a container that has less"
    value = default_of(name)
    if value is None or value == "":
        return "off" if name in FIELDS and name not in FILES else ""
    if isinstance(value, bool) or value == ():
        return ""
    text = ", ".join(value) if isinstance(value, tuple) else value
    return f"default: {text:g}" if isinstance(text, float) else f"default: {text}"


def with_defaults(text: str) -> str:
    """`text` with the defaults in the place of GRPC_HOST, GRPC_PORT and LISTEN_PORT."""
    listen = str(_DEFAULTS.host.listen[0]).rpartition("/")[2]
    found = {
        "GRPC_HOST": _DEFAULTS.market.host,
        "GRPC_PORT": str(_DEFAULTS.market.port),
        "LISTEN_PORT": listen,
    }
    for name, value in found.items():
        text = text.replace(name, value)
    return text


def node_config(values: Mapping[str, Any]) -> NodeConfig:
    """The configuration of a node with these settings, by their names."""
    parts: dict[str, dict[str, Any]] = {}
    for name, place in FIELDS.items():
        value = values[name]
        if name == "mode":
            value = value == MODES[0]
        elif isinstance(value, Path) or name in FILES:
            value = "" if value is None else str(value)
        part, _, field = place.rpartition(".")
        parts.setdefault(part, {})[field] = value
    top = parts.pop("")
    for part in sorted(parts, key=_depth, reverse=True):  # what is within another one first
        outer, _, name = part.rpartition(".")
        changed = replace(attrgetter(part)(_DEFAULTS), **parts[part])
        (parts[outer] if outer else top)[name] = changed
    return replace(_DEFAULTS, **top)


def _depth(part: str) -> int:
    return part.count(".")
