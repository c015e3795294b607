"""What one cell of the table has at hand: two peers, one of them ours, and who of them dials."""

from __future__ import annotations

import asyncio
import itertools
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.kinds import KINDS, OURS
from lib.process import Peer, PeerFailed

POLL_S = 0.05
SETTLE_S = 20.0  # for what a library does in the background and tells nobody about
LOOPBACK = "/ip4/127.0.0.1/tcp/0"


class Wrong(Exception):
    """Something is not as it must be; the text says what."""


def check(true: object, what: str) -> None:
    """Raises Wrong unless it is so."""
    if not true:
        raise Wrong(what)


def text64(data: bytes) -> str:
    """As bytes travel in commands."""
    return b64encode(data).decode()


async def until(question: Callable[[], Awaitable[object]], what: str, within_s: float = SETTLE_S) -> Any:
    """The first true answer. Raises Wrong when it does not come."""
    end = time.monotonic() + within_s
    while not (answer := await question()):
        if time.monotonic() >= end:
            raise Wrong(f"not within {within_s:g} s: {what}")
        await asyncio.sleep(POLL_S)
    return answer


class Crew:
    """The processes of one test. Each is killed at its end, whatever became of it."""

    def __init__(self, logs: Path) -> None:
        self.peers: list[Peer] = []
        self._logs = logs
        self._numbers = itertools.count(1)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Crew:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def start(self, kind: str, *args: str, listen: str | None = LOOPBACK) -> Peer:
        """A peer of that kind. Raises PeerFailed."""
        name = f"{kind}{next(self._numbers)}"
        if listen is not None:
            args = ("--listen", listen, *args)
        self._logs.mkdir(parents=True, exist_ok=True)
        peer = await Peer.start(name, kind, KINDS[kind].program, args, self._logs / f"{name}.log")
        self._stack.push_async_callback(peer.kill)
        self.peers.append(peer)
        return peer


@dataclass(slots=True)
class Cell:
    """One test with `theirs` as the other implementation; `we_dial` says who opens the connection."""

    theirs: str
    we_dial: bool
    crew: Crew
    their_can: frozenset[str]

    @property
    def dialing(self) -> str:
        """The kind that dials."""
        return OURS if self.we_dial else self.theirs

    @property
    def listening(self) -> str:
        """The kind that is dialed."""
        return self.theirs if self.we_dial else OURS

    async def pair(self, ours: Sequence[str] = (), theirs: Sequence[str] = ()) -> tuple[Peer, Peer]:
        """(dialer, listener), not connected yet, with these arguments."""
        args = {OURS: ours, self.theirs: theirs}
        dialer, listener = await asyncio.gather(
            *(self.crew.start(kind, *args[kind]) for kind in (self.dialing, self.listening))
        )
        return dialer, listener

    async def connected(self, ours: Sequence[str] = (), theirs: Sequence[str] = ()) -> tuple[Peer, Peer]:
        """(dialer, listener), connected."""
        dialer, listener = await self.pair(ours, theirs)
        await connect(dialer, listener)
        return dialer, listener

    def sides(self, dialer: Peer, listener: Peer) -> tuple[Peer, Peer]:
        """The same two as (ours, theirs)."""
        return (dialer, listener) if self.we_dial else (listener, dialer)


async def connect(dialer: Peer, listener: Peer) -> None:
    """Until both know of the connection."""
    answer = await dialer.call("connect", addr=listener.addr)
    check(answer["peer_id"] == listener.peer_id, f"connected to {answer['peer_id']}, not {listener.peer_id}")
    await knows(dialer, listener)
    await knows(listener, dialer)


async def knows(one: Peer, other: Peer) -> None:
    """Until `one` lists a connection to `other`."""

    async def question() -> bool:
        return other.peer_id in (await one.call("connections"))["peers"]

    await until(question, f"{one.name} is connected to {other.name}")


async def forgets(one: Peer, other: Peer, within_s: float = SETTLE_S) -> None:
    """Until `one` lists no connection to `other`."""

    async def question() -> bool:
        return other.peer_id not in (await one.call("connections"))["peers"]

    await until(question, f"{one.name} notices that the connection to {other.name} is over", within_s)


async def refused(peer: Peer, op: str, /, **arguments: Any) -> str:
    """The error of a command that must fail."""
    try:
        await peer.call(op, **arguments)
    except PeerFailed as error:
        return str(error)
    raise Wrong(f"{peer.name}: {op} succeeded, though it must not")
