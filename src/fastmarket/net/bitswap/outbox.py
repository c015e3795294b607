"""Our messages to one peer: over one stream of ours, which is kept for a while after the last one.

A task runs while there is something to send. Our own wants go before blocks that the peer wants.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from fastmarket.config.bitswap import BitswapConfig
from fastmarket.errors import DialFailed, FastmarketError, StreamFailed
from fastmarket.exchange.bitswap.message import PROTOCOLS, WireForm
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.net.host import Host
from fastmarket.net.link import Link
from fastmarket.net.streams import Stream


@dataclass(frozen=True, slots=True)
class Letter:
    """One message: `encode` makes its parts once it is known what the peer understands, `on_sent` is called
    when the connection has taken them. `may_dial`: else only a connection that there is will do."""

    encode: Callable[[WireForm], Sequence[bytes]]
    on_sent: Callable[[], None]
    may_dial: bool = False


FindPeer = Callable[[PeerId], Awaitable[PeerInfo | None]]
"""Looks for the addresses of a peer in the network."""


class Outbox:
    """`on_lost(kind, detail)` is called when something cannot be sent; what waits behind it is then
    dropped."""

    def __init__(
        self,
        host: Host,
        config: BitswapConfig,
        peer: PeerInfo,
        on_lost: Callable[[FailureKind, str], None],
        find_peer: FindPeer | None = None,
    ) -> None:
        self.peer = peer
        """Where to dial it; without addresses it is looked for if it cannot be reached."""
        self._host = host
        self._find_peer = find_peer
        self._config = config
        self._on_lost = on_lost
        self._wants: deque[Letter] = deque()
        self._answers: deque[Letter] = deque()
        self._stream: Stream | None = None
        self._task: asyncio.Task[None] | None = None
        self._resting: asyncio.TimerHandle | None = None

    def want(self, letter: Letter) -> None:
        """Sends wants of ours."""
        self._wants.append(letter)
        self._start()

    def answer(self, letter: Letter) -> None:
        """Sends what the peer wants."""
        self._answers.append(letter)
        self._start()

    def drop(self) -> None:
        """Sends nothing of what waits, and ends the stream; `on_lost` is not called."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        self._forget()

    async def close(self) -> None:
        """The same, and returns when nothing runs any more."""
        task = self._task
        self.drop()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

    # -- sending

    def _start(self) -> None:
        if self._task is None:
            if self._resting is not None:
                self._resting.cancel()
                self._resting = None
            self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        lost: tuple[FailureKind, str] | None = None
        try:
            while letters := self._wants or self._answers:
                letter = letters.popleft()
                await self._send(letter)
                letter.on_sent()
            self._rest()
        except DialFailed as fault:
            lost = FailureKind.GONE if fault.gone else FailureKind.UNREACHABLE, str(fault)
        except TimeoutError:
            lost = FailureKind.TIMEOUT, "it does not take what is sent"
        except FastmarketError as fault:
            lost = self._kind_of_failure(), str(fault)
        except Exception as error:  # noqa: BLE001 - it costs what was to be sent to this peer
            self._host.faults.tell("sending over Bitswap", error, self.peer.peer_id)
            lost = FailureKind.RESET, "a fault of this node"
        finally:
            if self._task is asyncio.current_task():
                self._task = None
        if lost is not None:
            self._forget()
            self._on_lost(*lost)

    def _kind_of_failure(self) -> FailureKind:
        if self._host.link_to(self.peer.peer_id) is None:
            return FailureKind.CLOSED
        return FailureKind.REFUSED if self._stream is None else FailureKind.RESET

    async def _send(self, letter: Letter) -> None:
        """A kept stream may have been ended by the other side before what is sent: then by a new one."""
        reused = self._stream is not None
        try:
            await self._write(letter)
        except StreamFailed:
            if not reused:
                raise
            self._end_stream()
            await self._write(letter)

    async def _write(self, letter: Letter) -> None:
        stream = self._stream or await self._open(letter)
        parts = letter.encode(PROTOCOLS[stream.protocol])
        config = self._config
        async with asyncio.timeout(config.send_grace_s + sum(map(len, parts)) / config.min_send_bytes_per_s):
            for part in parts:
                await stream.write(part)

    async def _open(self, letter: Letter) -> Stream:
        link = self._host.link_to(self.peer.peer_id)
        if link is None:
            if not letter.may_dial:
                raise StreamFailed("the connection has ended")
            link = await self._connect()
        async with asyncio.timeout(self._config.send_grace_s):
            self._stream = await self._host.streams.open(link, tuple(PROTOCOLS))
        return self._stream

    async def _connect(self) -> Link:
        try:
            return await self._host.connect(self.peer, given=False)
        except DialFailed:
            find = None if self.peer.addrs else self._find_peer
            found = None if find is None else await find(self.peer.peer_id)
            if found is None:
                raise
            self.peer = found
            return await self._host.connect(found, given=False)

    # -- the end of a stream

    def _rest(self) -> None:
        if self._stream is not None:
            loop = asyncio.get_running_loop()
            self._resting = loop.call_later(self._config.stream_idle_s, self._close_stream)

    def _close_stream(self) -> None:
        """Half-closes it; if the peer does not do the same, it is reset."""
        stream, self._stream, self._resting = self._stream, None, None
        if stream is not None:
            with suppress(StreamFailed):  # it ended before
                stream.close_write()
                asyncio.get_running_loop().call_later(self._config.stream_close_s, stream.reset)

    def _end_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.reset()

    def _forget(self) -> None:
        self._wants.clear()
        self._answers.clear()
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        self._end_stream()
