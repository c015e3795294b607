"""Rows about streams: windows, back-pressure, half-close, reset."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator

from lib.cell import Cell, check, refused, text64
from lib.process import Peer

ECHO = "/fastmarket/interop/echo/1.0.0"
MIB = 1 << 20
MANY = 100
PIECE = 64 * 1024
SLOW_BYTES = 4 * MIB  # sixteen windows
TRANSFER_S = 120.0


def ways(dialer: Peer, listener: Peer) -> Iterator[tuple[Peer, Peer]]:
    """Streams opened by the dialer of the connection, then by its listener."""
    yield dialer, listener
    yield listener, dialer


async def sixteen(cell: Cell) -> None:
    """Both directions are full at once: windows have to move."""
    dialer, listener = await cell.connected()
    for one, other in ways(dialer, listener):
        answer = await one.call("echo", peer=other.peer_id, size=16 * MIB, streams=1, timeout_s=TRANSFER_S)
        check(answer == answer | {"bytes": 16 * MIB, "sha256_ok": True}, f"{one.name}: {answer}")


async def hundred(cell: Cell) -> None:
    """They share one connection and none is mixed up."""
    dialer, listener = await cell.connected()
    for one, other in ways(dialer, listener):
        answer = await one.call("echo", peer=other.peer_id, size=PIECE, streams=MANY, timeout_s=TRANSFER_S)
        check(answer == answer | {"bytes": MANY * PIECE, "sha256_ok": True}, f"{one.name}: {answer}")


async def slow_reader(cell: Cell) -> None:
    """The opener reads nothing at first: back-pressure goes all the way round."""
    dialer, listener = await cell.connected()
    for one, other in ways(dialer, listener):
        answer = await one.call("echo_slow", peer=other.peer_id, size=SLOW_BYTES, timeout_s=TRANSFER_S)
        check(answer == answer | {"bytes": SLOW_BYTES, "sha256_ok": True}, f"{one.name}: {answer}")


async def half_close(cell: Cell) -> None:
    """What is written before the end comes back after it."""
    dialer, listener = await cell.connected()
    for one, other in ways(dialer, listener):
        for data in (b"", b"x", bytes(range(256)) * 2000):
            answer = await one.call(
                "raw", peer=other.peer_id, protocol=ECHO, data=text64(data), half_close=True
            )
            check(b64decode(answer["data"]) == data, f"{one.name}: {len(data)} bytes did not come back")


async def reset(cell: Cell) -> None:
    """The connection stays usable."""
    dialer, listener = await cell.connected()
    for one, other in ways(dialer, listener):
        for _ in range(10):
            await one.call("reset", peer=other.peer_id)
        await one.call("ping", peer=other.peer_id, count=1)


async def unknown_protocol(cell: Cell) -> None:
    """The connection stays usable."""
    dialer, listener = await cell.connected()
    for one, other in ways(dialer, listener):
        await refused(
            one, "raw", peer=other.peer_id, protocol="/nobody/speaks/this", data="", half_close=True
        )
        await one.call("ping", peer=other.peer_id, count=1)
