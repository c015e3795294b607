"""The commands of `fastmarket-client` about payments."""

from __future__ import annotations

from typing import Any

import click

from fastmarket.cli.client_options import json_option, profile_options, with_desk

_peer = click.argument("peer", metavar="PEER_ID")


@click.command()
@profile_options
@json_option
@click.pass_context
def earnings(context: click.Context, /, **options: Any) -> None:
    """Show what buyers signed for, by month, and what is unpaid or lost."""
    from fastmarket.cli import accounting

    with_desk(context, options, accounting.earnings)


@click.command()
@profile_options
@json_option
@click.pass_context
def spending(context: click.Context, /, **options: Any) -> None:
    """Show what the node signed for, by month, and today's budget."""
    from fastmarket.cli import accounting

    with_desk(context, options, accounting.spending)


@click.command()
@click.argument("month", default="")
@profile_options
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values with a line of names.")
@click.pass_context
def statement(context: click.Context, /, month: str, as_csv: bool, **options: Any) -> None:
    """Show the receipts of a month by peer.

    MONTH is YYYY-MM, "all", or "earlier" for what is older than three years; without it, this month of UTC.
    """
    from fastmarket.cli import accounting

    with_desk(context, options, lambda desk: accounting.statement(desk, month, as_csv=as_csv))


@click.command()
@profile_options
@json_option
@click.option("--unpaid", is_flag=True, help="Only peers with something that no receipt is for.")
@click.pass_context
def owed(context: click.Context, /, unpaid: bool, **options: Any) -> None:
    """List who owes what, and who did not pay, the largest debts first.

    A receipt says what is owed for good; unpaid is what came since the last one; lost is what was not paid
    for in time.
    """
    from fastmarket.cli import accounting

    with_desk(context, options, lambda desk: accounting.owed(desk, unpaid=unpaid))


@click.command()
@_peer
@profile_options
@json_option
@click.pass_context
def forgive(context: click.Context, /, peer: str, **options: Any) -> None:
    """Write off what a buyer owes without a receipt; it gets credit again."""
    from fastmarket.cli import accounting

    with_desk(context, options, lambda desk: accounting.forgive(desk, peer))


@click.command()
@_peer
@profile_options
@json_option
@click.pass_context
def block(context: click.Context, /, peer: str, **options: Any) -> None:
    """Sell nothing more to a peer for money."""
    from fastmarket.cli import accounting

    with_desk(context, options, lambda desk: accounting.block(desk, peer))


@click.command()
@_peer
@profile_options
@json_option
@click.pass_context
def unblock(context: click.Context, /, peer: str, **options: Any) -> None:
    """Sell to a peer again."""
    from fastmarket.cli import accounting

    with_desk(context, options, lambda desk: accounting.block(desk, peer, blocked=False))


ACCOUNT_COMMANDS = (earnings, spending, statement, owed, forgive, block, unblock)
