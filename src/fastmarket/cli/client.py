"""`fastmarket-client`: one command for a script, or a REPL for a person."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from fastmarket._version import __version__
from fastmarket.cli import actions, content, entry, profile
from fastmarket.cli.completion import FileOrText, completion_command
from fastmarket.cli.context import Context
from fastmarket.cli.link import MarketLink
from fastmarket.cli.render import Screen

if TYPE_CHECKING:
    from fastmarket.market.client_values import ClientTls

PROG = "fastmarket-client"

EXAMPLES = """\b
Examples:
  fastmarket-client                            talk with the node on this machine
  fastmarket-client register movie.mkv --price 3
  fastmarket-client register music --recursive --price 3
  fastmarket-client unregister movie.mkv       nobody is shown the offer any more
  fastmarket-client unregister music -r        nor any of that directory
  fastmarket-client check movie.mkv            a file, a CID or a SHA-256
  fastmarket-client check QmPK1s3pNYLi9ERiq3BDxKa4XosgWwFRQUydHUtz4YgpqB --json
  fastmarket-client cid movie.mkv              as `ipfs add` names it

\b
Options may stand before or after the command, or in the environment:
--client-ip is FASTMARKET_CLIENT_CLIENT_IP.

\b
Exit status: 0 done, 1 the operation failed, 2 bad usage.
"""

# Long name, short name, metavar, help. Values are texts here; profile.py reads them.
OPTIONS = (
    ("port", "p", "PORT", "gRPC port of the node.  [default: 8080]"),
    ("host", "", "ADDRESS", "Where the node runs.  [default: 127.0.0.1]"),
    ("username", "u", "NAME", "Your name in offers.  [default: the login name]"),
    ("price", "", "N", "What you ask per MB; registering needs it."),
    ("id", "i", "ID", "Your id in offers.  [default: the peer id of your own key]"),
    ("client-ip", "", "ADDRESS", "Where buyers reach you.  [default: 127.0.0.1]"),
    ("client-port", "", "PORT", "And on which port.  [default: 8081]"),
    ("data-dir", "", "DIR", "Your key and the history.  [default: the user's data directory]"),
    ("tls-ca", "", "FILE", "Speak TLS; who signed the node's certificate (PEM)."),
    ("tls-cert", "", "FILE", "Your certificate, for a node that asks for one (PEM)."),
    ("tls-key", "", "FILE", "And its key."),
    ("token-file", "", "FILE", "Your token for the node, in a file of mode 600."),
    ("secrets-mode", "", "MODE", "Accept files of secrets as wide as that, with a warning.  [default: 0600]"),
)

Command = Callable[..., Any]


def _profile_options(command: Command) -> Command:
    for name, short, metavar, text in reversed(OPTIONS):
        words = [*([f"-{short}"] if short else []), f"--{name}", f"given_{name}".replace("-", "_")]
        kind = FileOrText() if metavar in ("FILE", "DIR") else None
        command = click.option(*words, metavar=metavar, type=kind, help=text)(command)
    return command


def _given(options: dict[str, Any]) -> dict[str, str]:
    return {
        name.removeprefix("given_").replace("_", "-"): value
        for name, value in options.items()
        if name.startswith("given_") and value is not None
    }


_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_content = click.argument("content", metavar="FILE|CID|HASH", type=FileOrText())


@click.group(
    PROG,
    invoke_without_command=True,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@_profile_options
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def client(context: click.Context, /, **options: Any) -> None:
    """Offer files to the market and find who offers them, through a running fastmarket-server.

    Without a command: a REPL.
    """
    context.obj = _given(options)
    if context.invoked_subcommand is None:
        from fastmarket.cli.repl import converse

        _with_desk(context, options, converse)


def _with_desk(context: click.Context, options: dict[str, Any], act: Callable[[Context], None]) -> None:
    """Run `act` with the profile that both places of options give together; the later place wins."""
    told = profile.resolve({**context.obj, **_given(options)}, os.environ)
    with MarketLink(told.target, _tls(told), told.token()) as link:
        act(Context(link, told, Screen(), bool(options.get("as_json"))))


def _tls(told: profile.Profile) -> ClientTls | None:
    if told.tls_ca is None and told.tls_cert is None and told.tls_key is None:
        return None
    from fastmarket.market.client_values import ClientTls

    told.check_key()
    return ClientTls(told.tls_ca, told.tls_cert, told.tls_key)


@client.command()
@_content
@_profile_options
@_json
@click.option("-r", "--recursive", is_flag=True, help="Offer every file under a directory.")
@click.option("--again", is_flag=True, help="With --recursive: those that were registered before, too.")
@click.option("--keep", is_flag=True, help="Withdraw nothing, whatever changed or went.")
@click.pass_context
def register(context: click.Context, /, content: str, **options: Any) -> None:
    """Offer a content to the network; needs --price.

    With --recursive a run that was interrupted goes on where it was: what is registered stands in a list in
    the data directory, and is left out as long as the file has not changed and the node offers it. What a
    file held before, and what files that went held, is withdrawn. Parts that cannot be read are named, the
    rest is registered, and the exit status is 1.
    """
    again, keep = options["again"], options["keep"]
    if options["recursive"]:
        from fastmarket.cli import tree

        _with_desk(context, options, lambda desk: tree.register(desk, content, again=again, keep=keep))
    else:
        _with_desk(context, options, lambda desk: actions.register(desk, content, keep=keep))


@client.command()
@_content
@_profile_options
@_json
@click.option("-r", "--recursive", is_flag=True, help="Of a directory, as it was registered.")
@click.pass_context
def unregister(context: click.Context, /, content: str, **options: Any) -> None:
    """Take your offer of a content back, everywhere.

    Of a file that was registered it is the offer of what it held then, whatever it holds now. With
    --recursive all that was registered from a directory, of files that are gone, too; what a file elsewhere
    still holds stays offered.
    """
    if options["recursive"]:
        from fastmarket.cli import tree, withdrawing

        root = tree.root_of(content)
        _with_desk(context, options, lambda desk: withdrawing.unregister(desk, root))
    else:
        _with_desk(context, options, lambda desk: actions.unregister(desk, content))


@client.command()
@_profile_options
@_json
@click.pass_context
def offers(context: click.Context, /, **options: Any) -> None:
    """List what the node offers."""
    _with_desk(context, options, actions.offers)


@client.command()
@_content
@_profile_options
@_json
@click.pass_context
def check(context: click.Context, /, content: str, **options: Any) -> None:
    """List everyone who offers a content, cheapest first."""
    _with_desk(context, options, lambda desk: actions.check(desk, content))


@client.command()
@_content
@_profile_options
@_json
@click.pass_context
def closest(context: click.Context, /, content: str, **options: Any) -> None:
    """List the nodes of the network closest to a content."""
    _with_desk(context, options, lambda desk: actions.closest(desk, content))


@client.command()
@_profile_options
@_json
@click.pass_context
def peers(context: click.Context, /, **options: Any) -> None:
    """List the nodes that the node knows."""
    _with_desk(context, options, actions.peers)


@client.command("id")
@_profile_options
@_json
@click.pass_context
def show_id(context: click.Context, /, **options: Any) -> None:
    """Show who the node is, and who you are."""
    _with_desk(context, options, actions.identities)


@client.command()
@click.argument("file", metavar="FILE|CID", type=FileOrText())
@click.option("--cid-version", type=click.Choice(["0", "1"]), default="0", help="[default: 0]")
@click.option("--raw-leaves/--no-raw-leaves", default=None, help="[default: only with --cid-version 1]")
def cid(file: str, cid_version: str, raw_leaves: bool | None) -> None:
    """Print the CID of a file as `ipfs add` names it, or what a CID says of itself; needs no node."""
    print(content.cid_line(file, cid_version=int(cid_version), raw_leaves=raw_leaves))


client.add_command(completion_command(PROG))


def main(argv: Sequence[str] | None = None) -> int:
    """The console script. Returns the exit status."""
    # A path that is no UTF-8 must come through, and nothing that is printed may fail to be.
    streams = (
        (sys.stdin, "surrogateescape"),
        (sys.stdout, "backslashreplace"),
        (sys.stderr, "backslashreplace"),
    )
    for stream, errors in streams:
        if isinstance(stream, io.TextIOWrapper):  # None when it was closed before the start
            stream.reconfigure(errors=errors)
    # gRPC's core tells in its own lines what we tell in ours; GRPC_VERBOSITY=info shows them.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    return entry.run(client, PROG, argv)


if __name__ == "__main__":
    sys.exit(main())
