"""The table of settings of `fastmarket-server`: what each is called, reads and means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastmarket.cli.defaults import MODES, shown_default
from fastmarket.cli.parsing import (
    one_of,
    parse_announce,
    parse_bootstrap,
    parse_budget,
    parse_bytes,
    parse_credit,
    parse_currency,
    parse_directories,
    parse_flag,
    parse_fresh,
    parse_host,
    parse_http_url,
    parse_keep_alive,
    parse_listen,
    parse_mode,
    parse_names,
    parse_path,
    parse_paths,
    parse_port,
    parse_prefix,
    parse_store,
    parse_switch,
    parse_text,
)

ENVIRONMENT_PREFIX = "FASTMARKET_"
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")


@dataclass(frozen=True, slots=True)
class Setting:
    """One row: `parse` turns an option's text, a variable's text or a TOML value into the value."""

    name: str
    parse: Callable[[object], object]
    metavar: str
    help: str
    short: str = ""
    repeated: bool = False
    flag: bool = False

    @property
    def described(self) -> str:
        """The help text with the default."""
        shown = shown_default(self.name)
        return f"{self.help}  [{shown}]" if shown else self.help

    @property
    def variable(self) -> str:
        """The environment variable's name."""
        return ENVIRONMENT_PREFIX + self.name.replace("-", "_").upper()

    @property
    def field(self) -> str:
        """The name in Python's spelling."""
        return self.name.replace("-", "_")


SETTINGS: tuple[Setting, ...] = (
    Setting("port", parse_port, "PORT", "gRPC port; 0 takes any free one.", short="p"),
    Setting(
        "host",
        parse_host,
        "ADDRESS",
        "gRPC address; beyond loopback see --tls-cert.",
    ),
    Setting("tls-cert", parse_path, "FILE", "PEM certificate for gRPC; TLS is required beyond loopback."),
    Setting("tls-key", parse_path, "FILE", "PEM private key of --tls-cert, mode 0600."),
    Setting(
        "tls-client-ca", parse_path, "FILE", "Require client certificates signed by one of these CAs (mTLS)."
    ),
    Setting(
        "tokens", parse_path, "FILE", "Require a token; lines of `read TOKEN` or `write TOKEN`, mode 0600."
    ),
    Setting(
        "insecure",
        parse_flag,
        "",
        "Serve gRPC in plain text beyond loopback, readable by anyone on the path.",
        flag=True,
    ),
    Setting("http-port", parse_port, "PORT", "Serve a status page and Delegated Routing V1 over HTTP."),
    Setting("content-port", parse_port, "PORT", "Serve what is sold over HTTP; 0 takes any free port."),
    Setting("content-host", parse_host, "ADDRESS", "Address for --content-port."),
    Setting(
        "content-url", parse_http_url, "URL", "Where buyers reach --content-port, if not at its address."
    ),
    Setting("content-cert", parse_path, "FILE", "PEM certificate for HTTPS with HTTP/2 on --content-port."),
    Setting("content-key", parse_path, "FILE", "PEM private key of --content-cert, mode 0600."),
    Setting("content-rate", parse_bytes, "BYTES", "Most to send per second, as 500kB or 10MB; 0: no limit."),
    Setting(
        "allow-path",
        parse_directories,
        "DIR",
        "Let callers sell only what is below DIR; may be repeated.",
        repeated=True,
    ),
    Setting(
        "payments",
        parse_flag,
        "",
        "Sell what has a price for signed receipts only, and sign them for what others sell so.",
        flag=True,
    ),
    Setting(
        "currency", parse_currency, "LABEL", "What prices are counted in: nodes pay those with the same."
    ),
    Setting("budget", parse_budget, "N", "Most to spend on a day of UTC, in whole units of the currency."),
    Setting("credit", parse_credit, "BYTES", "Served to a buyer that has paid nothing yet, before it pays."),
    Setting("settlement", parse_text, "NAME[=FILE]", "Plug-in that settles receipts; FILE has its settings."),
    Setting("metrics-port", parse_port, "PORT", "Serve /metrics, /healthz, /readyz; 0 takes any free one."),
    Setting("metrics-host", parse_host, "ADDRESS", "Address for --metrics-port."),
    Setting(
        "trace-endpoint",
        parse_http_url,
        "URL",
        "Export OpenTelemetry spans of calls to this OTLP/HTTP collector.",
    ),
    Setting("http-host", parse_host, "ADDRESS", "Address for --http-port."),
    Setting(
        "http-name",
        parse_names,
        "NAME",
        "Host name accepted in requests for the page and /metrics, besides addresses; may be repeated.",
        repeated=True,
    ),
    Setting(
        "http-keep-alive",
        parse_keep_alive,
        "SECONDS",
        "Idle timeout of HTTP connections; set it longer than a load balancer's.",
    ),
    Setting(
        "listen",
        parse_listen,
        "MULTIADDR",
        "Address to listen on for other nodes; may be repeated.",
        short="l",
        repeated=True,
    ),
    Setting(
        "announce",
        parse_announce,
        "MULTIADDR",
        "Announce this address instead of the listened-on and observed ones; may be repeated.",
        repeated=True,
    ),
    Setting(
        "bootstrap",
        parse_bootstrap,
        "MULTIADDR",
        "Node through which to join the network, ending in /p2p/PEER_ID; may be repeated.",
        short="b",
        repeated=True,
    ),
    Setting(
        "mdns",
        parse_switch,
        "auto|on|off",
        "Find nodes of the local network by multicast DNS; auto: in private networks, with the extra mdns.",
    ),
    Setting(
        "port-map",
        one_of("auto", "off"),
        "auto|off",
        "Have the router forward --listen and an open --content-port, by PCP, NAT-PMP or UPnP.",
    ),
    Setting(
        "data-dir",
        parse_path,
        "DIR",
        "Directory of the node's key, offers and peers.",
    ),
    Setting("ephemeral", parse_flag, "", "Store nothing on disk; use a new identity each time.", flag=True),
    Setting(
        "store",
        parse_store,
        "URL",
        "Share offers with other servers: redis://HOST:PORT,... of a Redis or Valkey Cluster.",
    ),
    Setting(
        "kad-prefix",
        parse_prefix,
        "PREFIX",
        "Protocol prefix of the network to join.",
    ),
    Setting(
        "large-table",
        parse_flag,
        "",
        "Keep every live peer in the routing table for one-hop lookups: 1 KiB each, and 30 KB/s of probes.",
        flag=True,
    ),
    Setting(
        "disjoint-paths",
        parse_paths,
        "N",
        "Disjoint paths per lookup; 8 if many peers are malicious, at twice the requests.",
    ),
    Setting(
        "fresh",
        parse_fresh,
        "SECONDS",
        "Serve search results up to SECONDS old from cache; remote changes may appear that much later.",
    ),
    Setting(
        "memory-limit",
        parse_bytes,
        "BYTES",
        "Memory of the process, as 512MB or 2GB; near it strangers are refused, then callers.",
    ),
    Setting(
        "mode",
        one_of(*MODES),
        "server|client",
        "A client queries the network but stores nothing for it.",
    ),
    Setting(
        "passphrase-file", parse_path, "FILE", "File whose first line is the passphrase of the node's key."
    ),
    Setting(
        "secrets-mode",
        parse_mode,
        "MODE",
        "Widest file mode accepted for secrets (Docker's: 0444); wider than 0600 warns.",
    ),
    Setting("log-level", one_of(*LOG_LEVELS), "|".join(LOG_LEVELS), "Least severe level to log."),
    Setting("log-format", one_of(*LOG_FORMATS), "|".join(LOG_FORMATS), "Format of log lines."),
)
