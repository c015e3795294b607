"""What a tree had and has no more: which of it went, and its offers taken back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from fastmarket.cli.context import Context
from fastmarket.cli.presence import Presence, presence
from fastmarket.cli.registered import Entry, RegisteredList
from fastmarket.cli.render import counted
from fastmarket.cli.tally import Tally, told
from fastmarket.cli.walking import path_text
from fastmarket.errors import CallerFault, NetworkFault, NotFound, QuorumFailed

if TYPE_CHECKING:
    from fastmarket.market.grpc_client import MarketClient

AT_ONCE = 32  # withdrawals under way: each is a lookup and an announcement of its own


def unregister(desk: Context, root: str) -> None:
    """Take back the offers of a tree as it was registered, of files that are gone, too."""
    tally = Tally()
    with told(desk, tally, lambda tally: f"{counted(tally.withdrawn, 'offer')} withdrawn"):
        desk.link.call(lambda client: _unregister_all(desk, client, root, tally))


async def _unregister_all(desk: Context, client: MarketClient, root: str, tally: Tally) -> None:
    """May be called again after it failed, or by a later run: what is to be withdrawn stands in the list."""
    user_id = desk.profile.user_id().encode()
    node = (await client.get_node()).peer_id
    tally.begin()
    with RegisteredList(desk.profile.kept_in(), node, user_id) as done:
        where = os.fsencode(root)
        done.drop([entry.path for entry in done.under(where)])
        if not done.old_under(where):
            raise NetworkFault(
                f"nothing under {path_text(root)} stands in the list of what was registered at this node "
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
    """Each old content of the tree that no path has any more."""
    where = os.fsencode(root)
    waiting = iter(done.old_under(where))

    async def some() -> None:
        for cid in waiting:
            try:
                if not done.needed(cid):
                    await client.withdraw(cid, user_id=user_id)
                    tally.withdrawn += 1
            except NotFound:
                pass  # it was withdrawn by itself, or lost
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
    """The paths whose file is there no more. One whose file system is away has not gone."""
    found = []
    for entry in entries:
        how = presence(entry.path, entry.device)
        if how is Presence.GONE:
            found.append(entry.path)
        elif how is Presence.UNMOUNTED:
            tally.file(
                os.fsdecode(entry.path),
                "is not there, nor is the file system it was on, so its offer stays; "
                "if it is gone for good: unregister --recursive",
            )
    return found
