"""Rows about the DHT. The kind that dials is the one that asks; it is told one node of the other kind."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64decode
from collections.abc import Awaitable, Callable

from fastmarket._xor import distance
from fastmarket.formats.cid import new_cidv0
from fastmarket.formats.identity import PeerId
from fastmarket.native.sha256 import sha256
from lib.cell import Cell, check, knows, text64, until
from lib.process import Peer

NEIGHBOURS = 4
LARGE_VALUE = 8 * 1024  # a reply with it and closer peers is near the 16 KiB that rust reads
Test = Callable[[Cell], Awaitable[None]]


def key_of(peer: Peer | str) -> bytes:
    """Where a peer stands in the key space."""
    return PeerId.from_text(peer if isinstance(peer, str) else peer.peer_id).key


def in_order(peers: list[str], target: bytes) -> list[str]:
    """Closest first."""
    return sorted(peers, key=lambda peer: distance(key_of(peer), target))


async def listed(one: Peer, other: Peer) -> None:
    """Until `other` is in the routing table of `one`."""

    async def question() -> bool:
        return other.peer_id in (await one.call("routing_table"))["peers"]

    await until(question, f"{other.name} is in the routing table of {one.name}")


async def join(newcomer: Peer, *known: Peer) -> None:
    """Newcomer and known are in each other's tables, a client in none."""
    await newcomer.call("bootstrap", addrs=[peer.addr for peer in known], timeout_s=30)
    for peer in known:
        await listed(newcomer, peer)


async def member(
    cell: Cell, kind: str, *known: Peer, prefix: str = "/fastmarket", mode: str = "server"
) -> Peer:
    """A node that has joined; known nodes have it in their tables if it is a server."""
    peer = await cell.crew.start(kind, "--kad-prefix", prefix, "--mode", mode)
    if known:
        await join(peer, *known)
        if mode == "server":
            for other in known:
                await listed(other, peer)
    return peer


def find_node(prefix: str = "/fastmarket") -> Test:
    """The row with that protocol prefix."""

    async def row(cell: Cell) -> None:
        hub = await member(cell, cell.listening, prefix=prefix)
        kinds = [cell.listening, cell.dialing] * (NEIGHBOURS // 2)
        others = [await member(cell, kind, hub, prefix=prefix) for kind in kinds]
        asking = await member(cell, cell.dialing, hub, prefix=prefix)
        everyone = [hub.peer_id, *(peer.peer_id for peer in others)]
        for number in range(3):
            key = b"interop key %d" % number
            found = (await asking.call("find_node", key=text64(key)))["peers"]
            found = [peer for peer in found if peer != asking.peer_id]
            right = in_order(everyone, sha256(key))
            check(found == right, f"{asking.name} found {found}, right is {right}")
        target = others[0]
        found = (await asking.call("find_node", peer=target.peer_id))["peers"]
        check(target.peer_id in found, f"{asking.name} did not find {target.name} by its id")

    return row


async def another_prefix(cell: Cell) -> None:
    """Nodes of two networks connect, and stay out of each other's tables."""
    ours = await cell.crew.start(cell.dialing, "--kad-prefix", "/fastmarket")
    theirs = await cell.crew.start(cell.listening, "--kad-prefix", "/ipfs")
    await ours.call("connect", addr=theirs.addr)
    await asyncio.gather(knows(ours, theirs), knows(theirs, ours))
    for one, other in ((ours, theirs), (theirs, ours)):
        await one.call("identify", peer=other.peer_id)  # ... is over, so it would be there now
        check(
            other.peer_id not in (await one.call("routing_table"))["peers"],
            f"{one.name} took {other.name} into its table",
        )


def values(key_of_value: Callable[[], tuple[bytes, list[bytes]]], prefix: str = "/fastmarket") -> Test:
    """The row: the dialing kind puts at a node of the listening kind; another of the former gets it there."""

    async def row(cell: Cell) -> None:
        storing = await member(cell, cell.listening, prefix=prefix)
        putting = await member(cell, cell.dialing, storing, prefix=prefix, mode="client")
        key, versions = key_of_value()
        for value in versions:
            await putting.call("put_value", key=text64(key), value=text64(value), quorum=1)
        await putting.kill()  # so that only the storing node has it
        getting = await member(cell, cell.dialing, storing, prefix=prefix, mode="client")
        got = b64decode((await getting.call("get_value", key=text64(key)))["value"])
        check(got == versions[-1], f"{getting.name} got {len(got)} bytes, not the value put")

    return row


def plain_value() -> tuple[bytes, list[bytes]]:
    """In the namespace that every peer here accepts."""
    return b"/fm/interop", [b"a value"]


def large_value() -> tuple[bytes, list[bytes]]:
    """As large as goes with every implementation."""
    return b"/fm/large", [hashlib.shake_128(b"large").digest(LARGE_VALUE)]


async def no_value(cell: Cell) -> None:
    """The answer comes in time and is no value."""
    storing = await member(cell, cell.listening)
    getting = await member(cell, cell.dialing, storing, mode="client")
    try:
        answer = await getting.call("get_value", key=text64(b"/fm/nothing"))
    except Exception as error:  # noqa: BLE001 - told apart below
        check("no answer" not in str(error), str(error))
    else:
        check(False, f"{getting.name} found {answer}")


def providers(prefix: str = "/fastmarket") -> Test:
    """The row: the dialing kind announces at a node of the listening kind, another of the former asks it."""

    async def row(cell: Cell) -> None:
        storing = await member(cell, cell.listening, prefix=prefix)
        cid = str(new_cidv0(b"interop content"))
        holding = [await member(cell, cell.dialing, storing, prefix=prefix) for _ in range(2)]
        for peer in holding:
            await peer.call("provide", cid=cid)
        asking = await member(cell, cell.dialing, storing, prefix=prefix, mode="client")
        wanted = {peer.peer_id: peer for peer in holding}

        async def found() -> dict[str, list[str]]:
            answer = await asking.call("find_providers", cid=cid, count=20)
            all_of_them = {entry["peer_id"]: entry["addrs"] for entry in answer["providers"]}
            return all_of_them if wanted.keys() <= all_of_them.keys() else {}

        # ADD_PROVIDER has no reply: the asker may be faster than the announcement
        answers = await until(found, f"{asking.name} finds both providers")
        for peer_id, peer in wanted.items():
            addrs = {addr.removesuffix(f"/p2p/{peer_id}") for addr in answers[peer_id]}
            addr = peer.addr.removesuffix(f"/p2p/{peer_id}")
            check(addr in addrs, f"{peer.name} is found at {addrs}, not at {addr}")

    return row


async def client_mode(cell: Cell) -> None:
    """It has asked, and is still not handed out."""
    server = await member(cell, cell.listening)
    client = await member(cell, cell.dialing, server, mode="client")
    await server.call("identify", peer=client.peer_id)
    check(client.peer_id not in (await server.call("routing_table"))["peers"], "a client is in the table")
