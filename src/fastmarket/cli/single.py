"""The list of what was registered, for one file or content by itself.

The offer is with the node before the list is written: a list that cannot be is told of, and no failure.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from fastmarket.cli.content import Content, path_of
from fastmarket.cli.offered import Terms
from fastmarket.cli.registered import (
    BY_NAME,
    FILE,
    Entry,
    RegisteredList,
    content_name,
    path_key,
    state_text,
)
from fastmarket.errors import FastmarketError, NotFound

if TYPE_CHECKING:
    from fastmarket.cli.context import Context
    from fastmarket.market.grpc_client import MarketClient

T = TypeVar("T")


def list_registered(desk: Context, content: Content, *, keep: bool) -> int:
    """Keeps that it is offered, and withdraws what its file held before; how many offers that were."""
    name = content_name(content.text)
    path = BY_NAME + name.encode() if content.path is None else path_key(content.path)
    state = "" if content.state is None else state_text(content.state, content.seen_ns)
    entry = Entry(path, state, Terms.of(desk.profile).text, name)

    async def replaced(client: MarketClient, done: RegisteredList, user_id: bytes) -> int:
        done.add([entry])
        withdrawn = 0
        for cid in () if keep else done.old_under(path):
            if not done.needed(cid):
                try:
                    await client.withdraw(cid, user_id=user_id)
                    withdrawn += 1
                except NotFound:
                    pass
            done.settle(path, cid)
        return withdrawn

    return _with_list(desk, replaced, 0)


def as_registered(desk: Context, argument: str) -> Content | None:
    """What the file of that name held when it was registered, though it may have changed or gone since."""
    try:
        path = path_of(argument)
        key = path_key(path)
    except ValueError:  # no path: a NUL in it
        return None

    async def registered(client: MarketClient, done: RegisteredList, user_id: bytes) -> Content | None:
        found = done.entry(key)
        return None if found is None else Content(found.cid, path)

    return _with_list(desk, registered, None) if _is_listed(desk) else None


def list_withdrawn(desk: Context, content: Content) -> None:
    """Keeps that it is offered no more: whatever file has it, the next run registers it again."""

    async def forget(client: MarketClient, done: RegisteredList, user_id: bytes) -> None:
        done.forget(content_name(content.text))

    if _is_listed(desk):
        _with_list(desk, forget, None)


def _is_listed(desk: Context) -> bool:
    """Whether there is a list yet; it is not made to be looked into."""
    directory = desk.profile.data_dir
    return directory is not None and os.path.exists(directory / FILE)


def _with_list(
    desk: Context, act: Callable[[MarketClient, RegisteredList, bytes], Awaitable[T]], otherwise: T
) -> T:
    directory = desk.profile.data_dir
    if directory is None:
        return otherwise
    user_id = desk.profile.user_id().encode()

    async def run(client: MarketClient) -> T:
        node = (await client.get_node()).peer_id
        with RegisteredList(directory, node, user_id) as done:
            return await act(client, done, user_id)

    try:
        return desk.link.call(run)
    except FastmarketError as fault:
        desk.screen.trouble(f"note: {fault}")
        return otherwise
