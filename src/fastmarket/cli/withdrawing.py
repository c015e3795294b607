"""Finds what has gone from a registered tree, and withdraws its offers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from fastmarket.cli.context import Context
from fastmarket.cli.presence import Presence, presence
from fastmarket.cli.registered import Entry, RegisteredList
from fastmarket.cli.tally import Tally, told
from fastmarket.cli.walking import path_text
from fastmarket.errors import CallerFault, NetworkFault, NotFound, QuorumFailed
from fastmarket.wording import counted

if TYPE_CHECKING:
    from fastmarket.market.grpc_client import MarketClient

AT_ONCE = 32  # concurrent withdrawals: each does its own lookup and announcement


def unregister(desk: Context, root: str) -> None:
    """Withdraw all offers registered from a tree, including those of deleted files."""
    tally = Tally()
    with told(desk, tally, lambda tally: f"{counted(tally.withdrawn, 'offer')} withdrawn"):
        desk.link.call(lambda client: _unregister_all(desk, client, root, tally))


async def _unregister_all(desk: Context, client: MarketClient, root: str, tally: Tally) -> None:
    """May be called again after a failure, or by a later run: the list has what is to be withdrawn."""
    user_id = desk.profile.user_id().encode()
    node = (await client.get_node()).peer_id
    tally.begin()
    with RegisteredList(desk.profile.kept_in(), node, user_id) as done:
        where = os.fsencode(root)
        done.drop([entry.path for entry in done.under(where)])
        if not done.old_under(where):
            raise NetworkFault(
                f"nothing under {path_text(root)} is on the list of what was registered at this node "
                "in your name"
            )
        await withdraw_old(client, done, root, user_id, tally, lambda: None)


async def withdraw_old(
    client: MarketClient,
    done: RegisteredList,
    root: str,
    user_id: bytes,
    tally: Tally,
    report: Callable[[], None],
) -> None:
    """Withdraws each old content of the tree that no path has any more."""
    where = os.fsencode(root)
    waiting = iter(done.old_under(where))

    async def some() -> None:
        for cid in waiting:
            try:
                if not done.needed(cid):
                    await client.withdraw(cid, user_id=user_id)
                    tally.withdrawn += 1
            except NotFound:
                pass  # it was withdrawn separately, or lost
            except (QuorumFailed, CallerFault) as fault:
                tally.offer(cid, str(fault))
                continue
            done.settle(where, cid)
            report()

    workers = [asyncio.ensure_future(some()) for _ in range(AT_ONCE)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()


def gone(entries: Iterable[Entry], tally: Tally) -> list[bytes]:
    """The paths whose file no longer exists. A file whose file system is not mounted does not count."""
    found = []
    for entry in entries:
        how = presence(entry.path, entry.device)
        if how is Presence.GONE:
            found.append(entry.path)
        elif how is Presence.UNMOUNTED:
            tally.file(
                os.fsdecode(entry.path),
                "is missing, and so is its file system, so its offer stays; "
                "if it is gone for good, run unregister --recursive",
            )
    return found
