"""`fastmarket-client`: one-shot commands for scripts, and a REPL for people."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from fastmarket._version import __version__
from fastmarket.cli import actions, content, entry
from fastmarket.cli.account_commands import ACCOUNT_COMMANDS
from fastmarket.cli.cid_options import chosen, cid_options
from fastmarket.cli.client_options import Command, given, json_option, profile_options, with_desk
from fastmarket.cli.completion import FileOrText, completion_command
from fastmarket.cli.context import Context
from fastmarket.errors import FastmarketError

if TYPE_CHECKING:
    pass

PROG = "fastmarket-client"

EXAMPLES = """\b
Examples:
  fastmarket-client                            open a REPL for the node on this machine
  fastmarket-client register movie.mkv --price 3
  fastmarket-client register music --recursive --price 3
  fastmarket-client unregister movie.mkv       withdraw the offer
  fastmarket-client unregister music -r        withdraw all offers from that directory
  fastmarket-client sell movie.mkv --price 3   offer it, and serve its bytes
  fastmarket-client get QmPK1s3pNYLi9ERiq3BDxKa4XosgWwFRQUydHUtz4YgpqB -o movie.mkv --max-price 3
  fastmarket-client check movie.mkv            takes a file, a CID or a SHA-256
  fastmarket-client check QmPK1s3pNYLi9ERiq3BDxKa4XosgWwFRQUydHUtz4YgpqB --json
  fastmarket-client cid movie.mkv              print the CID that `ipfs add` gives

\b
Options may be given before or after the command, or as environment variables:
--client-ip is FASTMARKET_CLIENT_CLIENT_IP.

\b
Exit status: 0 success, 1 operation failed, 2 bad usage; get has others, too.
"""

_content = click.argument("content", metavar="FILE|CID|HASH", type=FileOrText())


@click.group(
    PROG,
    invoke_without_command=True,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@profile_options
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def client(context: click.Context, /, **options: Any) -> None:
    """Offer files to the market and find their holders through a running fastmarket-server.

    Without a command, start a REPL.
    """
    context.obj = given(options)
    if context.invoked_subcommand is None:
        from fastmarket.cli.repl import converse

        with_desk(context, options, converse)


@client.command()
@_content
@profile_options
@json_option
@click.option("-r", "--recursive", is_flag=True, help="Offer every file under a directory.")
@click.option("--again", is_flag=True, help="With --recursive, register unchanged files again, too.")
@click.option("--keep", is_flag=True, help="Do not withdraw offers of changed or deleted files.")
@click.pass_context
def register(context: click.Context, /, content: str, **options: Any) -> None:
    """Offer content to the network; requires --price.

    With --recursive, an interrupted run continues where it stopped: a list in the data directory records what
    is registered, and a file is skipped if it has not changed and the node still offers it. Offers for
    earlier contents of changed files, and for deleted files, are withdrawn. Files and directories that cannot
    be read are reported, the others are registered, and the exit status is 1.
    """
    again, keep = options["again"], options["keep"]
    if options["recursive"]:
        from fastmarket.cli import tree

        with_desk(context, options, lambda desk: tree.register(desk, content, again=again, keep=keep))
    else:
        with_desk(context, options, lambda desk: actions.register(desk, content, keep=keep))


@client.command()
@_content
@profile_options
@json_option
@click.option("-r", "--recursive", is_flag=True, help="Withdraw everything registered from a directory.")
@click.pass_context
def unregister(context: click.Context, /, content: str, **options: Any) -> None:
    """Withdraw your offer of content everywhere.

    For a registered file, this withdraws the offer of the contents it had then, whatever it contains now.
    With --recursive, it withdraws everything registered from a directory, including deleted files; content
    that a file elsewhere still has stays offered.
    """
    if options["recursive"]:
        from fastmarket.cli import tree, withdrawing

        root = tree.root_of(content)
        with_desk(context, options, lambda desk: withdrawing.unregister(desk, root))
    else:
        with_desk(context, options, lambda desk: actions.unregister(desk, content))


@client.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=FileOrText())
@profile_options
@json_option
@click.option("--each-file", is_flag=True, help="Sell the files below a directory one by one.")
@click.option("--watch", is_flag=True, help="Follow changes below the paths while they are sold.")
@click.option("--profile", default="", metavar="NAME", help="Profile of the CIDs.  [default: unixfs-v0-2015]")
@click.option("--chunker", default="", metavar="size-N", help="Bytes of a chunk.")
@click.option("--max-links", type=click.IntRange(2), help="Links of a node.")
@click.option("--raw-leaves/--no-raw-leaves", default=None, help="Whether leaves are raw blocks.")
@click.option("--cid-version", type=click.IntRange(0, 1), help="Version of the CIDs.")
@click.pass_context
def sell(context: click.Context, /, paths: tuple[str, ...], **options: Any) -> None:
    """Sell files or directories of the node's machine; requires --price.

    The node serves the bytes out of the files, on its content port, and registers an offer for each content.
    The CID is printed to stdout. A directory is one content, unless --each-file is given. An interrupted
    import continues when the command is given again.
    """
    from fastmarket.cli import selling

    names = ("each_file", "watch", "profile", "chunker", "max_links", "raw_leaves", "cid_version")
    chosen = selling.SaleOptions(**{name: options[name] for name in names})
    with_desk(context, options, lambda desk: selling.sell(desk, paths, chosen))


@client.command()
@click.argument("content", metavar="CID|PATH", type=FileOrText())
@profile_options
@json_option
@click.pass_context
def unsell(context: click.Context, /, content: str, **options: Any) -> None:
    """Stop selling a content, and withdraw its offer; the files stay as they are."""
    from fastmarket.cli import selling

    with_desk(context, options, lambda desk: selling.unsell(desk, content))


_address = click.argument("content", metavar="CID[/PATH]")


def _get_options(command: Command) -> Command:
    for option in reversed(
        (
            click.option(
                "--max-price", type=click.IntRange(0), metavar="N", help="Leave dearer holders out."
            ),
            click.option("--max-cost", type=click.IntRange(0), metavar="N", help="Spend no more in all."),
            click.option("--range", "span", default="", metavar="A-B", help="Bytes A to B; A- or -COUNT."),
        )
    ):
        command = option(command)
    return command


@client.command()
@_address
@profile_options
@json_option
@click.option(
    "-o", "--output", default="", metavar="PATH", type=FileOrText(), help="File or directory; - for stdout."
)
@_get_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask before money is spent or a file is replaced.")
@click.pass_context
def get(context: click.Context, /, content: str, **options: Any) -> None:
    """Fetch a file from its holders, the cheapest first, all bytes verified.

    What it costs is shown before, and on a terminal it is asked whether to go on. The file is at PATH when
    all of it is; until then it is PATH.part, from which the same command goes on. Without --output it is
    named like the file, or by its CID. A file that is there already and has all the bytes is
    not fetched again; another one is replaced, on a terminal after a question.

    \b
    Exit status: 0 the whole file is there, 1 failed, 2 bad usage, 3 no holder serves it (now),
    4 too expensive or declined, 5 the file cannot be written, 130 interrupted.
    """
    from fastmarket.cli import getting

    names = ("output", "max_price", "max_cost", "span", "yes")
    chosen = getting.GetOptions(**{name: options[name] for name in names})
    _fetching(context, options, lambda desk: getting.get(desk, content, chosen))


@client.command()
@_address
@profile_options
@_get_options
@click.pass_context
def cat(context: click.Context, /, content: str, **options: Any) -> None:
    """Fetch a file to stdout, at any price.

    Nobody is asked: --max-price and --max-cost bound what it costs. Exit status as for get.
    """
    from fastmarket.cli import getting

    chosen = getting.GetOptions("-", options["max_price"], options["max_cost"], options["span"])
    _fetching(context, options, lambda desk: getting.cat(desk, content, chosen))


def _fetching(context: click.Context, options: dict[str, Any], act: Callable[[Context], None]) -> None:
    """As `with_desk`, with the exit statuses of `get`."""
    from fastmarket.cli import getting

    try:
        with_desk(context, options, act)
    except FastmarketError as fault:
        context.exit(entry.complain(PROG, entry.told(fault), getting.status_of(fault)))


@client.command()
@profile_options
@json_option
@click.pass_context
def goods(context: click.Context, /, **options: Any) -> None:
    """List what the node sells."""
    from fastmarket.cli import selling

    with_desk(context, options, selling.goods)


@client.command()
@profile_options
@json_option
@click.pass_context
def offers(context: click.Context, /, **options: Any) -> None:
    """List the offers of the node."""
    with_desk(context, options, actions.offers)


@client.command()
@_content
@profile_options
@json_option
@click.option(
    "--live", is_flag=True, help="Ask each holder whether it is there, and show how fast it answers."
)
@click.pass_context
def check(context: click.Context, /, content: str, **options: Any) -> None:
    """List all holders of content, cheapest first."""
    live = options["live"]
    with_desk(context, options, lambda desk: actions.check(desk, content, live=live))


@client.command()
@_content
@profile_options
@json_option
@click.pass_context
def closest(context: click.Context, /, content: str, **options: Any) -> None:
    """List the nodes closest to content in the key space."""
    with_desk(context, options, lambda desk: actions.closest(desk, content))


@client.command()
@profile_options
@json_option
@click.pass_context
def peers(context: click.Context, /, **options: Any) -> None:
    """List the peers in the node's routing table."""
    with_desk(context, options, actions.peers)


@client.command("id")
@profile_options
@json_option
@click.pass_context
def show_id(context: click.Context, /, **options: Any) -> None:
    """Show the node's identity and yours."""
    with_desk(context, options, actions.identities)


@client.command()
@click.argument("file", metavar="FILE|DIR|CID", type=FileOrText())
@cid_options
@click.option("--hidden", is_flag=True, help="With entries of a directory whose names begin with a dot.")
def cid(file: str, hidden: bool, **options: Any) -> None:
    """Print the CID that `ipfs add -r` gives to a file or directory, or explain a CID; needs no node."""
    print(content.cid_line(file, chosen(**options), hidden=hidden))


for command in ACCOUNT_COMMANDS:
    client.add_command(command)
client.add_command(completion_command(PROG))


def main(argv: Sequence[str] | None = None) -> int:
    """The console script. Returns the exit status."""
    # Paths that are not UTF-8 must pass through, and printing must not fail on any text.
    streams = (
        (sys.stdin, "surrogateescape"),
        (sys.stdout, "backslashreplace"),
        (sys.stderr, "backslashreplace"),
    )
    for stream, errors in streams:
        if isinstance(stream, io.TextIOWrapper):  # None when it was closed before the start
            stream.reconfigure(errors=errors)
    # gRPC's core would log to stderr what we already report; GRPC_VERBOSITY=info shows its lines.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    return entry.run(client, PROG, argv)


if __name__ == "__main__":
    sys.exit(main())
