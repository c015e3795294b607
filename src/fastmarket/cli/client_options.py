"""What every command of `fastmarket-client` takes: the options of a profile, and how it is run with them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from fastmarket.cli import profile
from fastmarket.cli.completion import FileOrText
from fastmarket.cli.context import Context
from fastmarket.cli.link import MarketLink
from fastmarket.cli.render import Screen

if TYPE_CHECKING:
    from fastmarket.market.client_values import ClientTls

# Long name, short name, metavar, help. Values are texts here; profile.py reads them.
OPTIONS = (
    ("port", "p", "PORT", f"gRPC port of the node.  [default: {profile.Profile().port}]"),
    ("host", "", "ADDRESS", "Address of the node.  [default: 127.0.0.1]"),
    ("username", "u", "NAME", "Your name in offers.  [default: your login name]"),
    ("price", "", "N", "Price per MB; required to register and to sell."),
    ("id", "i", "ID", "Your id in offers.  [default: the peer id of your key]"),
    ("client-ip", "", "ADDRESS", "Address at which buyers reach you.  [default: 127.0.0.1]"),
    ("client-port", "", "PORT", "Port at which buyers reach you.  [default: 8081]"),
    ("data-dir", "", "DIR", "Directory of your key and the history.  [default: the user's data directory]"),
    ("tls-ca", "", "FILE", "Use TLS and trust certificates signed by this CA (PEM)."),
    ("tls-cert", "", "FILE", "Client certificate, if the node requires one (PEM)."),
    ("tls-key", "", "FILE", "Private key of --tls-cert (PEM)."),
    ("token-file", "", "FILE", "File of mode 0600 with your token for the node."),
    (
        "secrets-mode",
        "",
        "MODE",
        "Widest file mode accepted for secrets; wider than 0600 warns.  [default: 0600]",
    ),
)

Command = Callable[..., Any]


def profile_options(command: Command) -> Command:
    """Adds OPTIONS to a command."""
    for name, short, metavar, text in reversed(OPTIONS):
        words = [*([f"-{short}"] if short else []), f"--{name}", f"given_{name}".replace("-", "_")]
        kind = FileOrText() if metavar in ("FILE", "DIR") else None
        command = click.option(*words, metavar=metavar, type=kind, help=text)(command)
    return command


def given(options: dict[str, Any]) -> dict[str, str]:
    """Those of OPTIONS that are given, by name."""
    return {
        name.removeprefix("given_").replace("_", "-"): value
        for name, value in options.items()
        if name.startswith("given_") and value is not None
    }


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def with_desk(context: click.Context, options: dict[str, Any], act: Callable[[Context], None]) -> None:
    """Run `act` with the options given before and after the command; the latter win."""
    told = profile.resolve({**context.obj, **given(options)}, os.environ)
    with MarketLink(told.target, _tls(told), told.token()) as link:
        act(Context(link, told, Screen(), bool(options.get("as_json"))))


def _tls(told: profile.Profile) -> ClientTls | None:
    if told.tls_ca is None and told.tls_cert is None and told.tls_key is None:
        return None
    from fastmarket.market.client_values import ClientTls

    told.check_key()
    return ClientTls(told.tls_ca, told.tls_cert, told.tls_key)
