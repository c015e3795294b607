"""Rows about connections: handshake, identities, identify, keep-alive, and how they end."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Awaitable, Callable
from functools import partial

from fastmarket.formats.identity import KeyType, PublicKey
from lib.cell import Cell, check, connect, forgets, refused, until
from lib.process import Peer, Unsupported

PINGS = 1000
IDLE_S = 45.0  # go's and js's yamux ping after 30 s of silence and wait 10 s for the answer
FROZEN_S = 60.0  # ours pings after 30 s of silence and waits 10 s; they may have had the last word later
OUR_IDLE_TIMEOUT_S = 1.0
MUX_PINGS = 20
STANDARD_PROTOCOLS = (
    "/ipfs/id/1.0.0",
    "/ipfs/ping/1.0.0",
    "/fastmarket/kad/1.0.0",
    "/fastmarket/interop/echo/1.0.0",
)


async def works(dialer: Peer, listener: Peer) -> None:
    """Both ways over the connection that is there."""
    for one, other in ((dialer, listener), (listener, dialer)):
        await one.call("ping", peer=other.peer_id, count=1)


async def early_muxer(cell: Cell) -> None:
    """Connects; the handshake agrees on the muxer with those who can, and only with them."""
    dialer, listener = await cell.connected()
    await works(dialer, listener)
    ours, theirs = cell.sides(dialer, listener)
    link = await ours.call("link", peer=theirs.peer_id)
    check(
        link["early_muxer"] == ("early-muxer" in cell.their_can),
        f"the handshake agreed on a muxer: {link['early_muxer']}",
    )


async def multistream_muxer(cell: Cell) -> None:
    """Connects while ours, theirs or neither of the two offers a muxer in the handshake."""
    off = ("--early-muxer", "off")
    for our_args, their_args in ((off, ()), ((), off), (off, off)):
        dialer, listener = await cell.connected(our_args, their_args)
        await works(dialer, listener)
        ours, theirs = cell.sides(dialer, listener)
        check(not (await ours.call("link", peer=theirs.peer_id))["early_muxer"], "the muxer was agreed early")


def of_key(key_type: KeyType) -> Callable[[Cell], Awaitable[None]]:
    """The row of identities of that type, on both sides where theirs can be of it."""

    async def row(cell: Cell) -> None:
        name = key_type.name.lower()
        args = ("--key-type", name)
        dialer, listener = await cell.connected(args, args if name in cell.their_can else ())
        await works(dialer, listener)
        for one, other in ((dialer, listener), (listener, dialer)):
            if other.kind != cell.theirs or name in cell.their_can:
                key = await key_of(one, other)
                check(key.key_type is key_type, f"{other.name} has a key of type {key.key_type.name}")

    return row


async def key_of(one: Peer, other: Peer) -> PublicKey:
    """What identify told `one` about the key of `other`, and it fits the peer id."""
    key = PublicKey.decode(b64decode((await one.call("identify", peer=other.peer_id))["public_key"]))
    check(str(key.peer_id) == other.peer_id, f"{one.name} was told a key of {key.peer_id}")
    return key


async def wrong_peer(cell: Cell) -> None:
    """Dials an address with another peer id, then with the right one."""
    dialer, listener = await cell.pair(theirs=("--seed", "1"))
    stranger = await cell.crew.start(cell.listening, "--seed", "2")
    await stranger.kill()
    wrong = listener.addr.replace(listener.peer_id, stranger.peer_id)
    check(wrong != listener.addr, "the stranger has the same peer id")
    await refused(dialer, "connect", addr=wrong)
    check(not (await dialer.call("connections"))["peers"], "the dialer keeps the connection")
    await forgets(listener, dialer)
    await connect(dialer, listener)  # the right one is still served


async def identify(cell: Cell) -> None:
    """What each is told of the other; observed addresses against those of our socket."""
    dialer, listener = await cell.connected()
    ours, theirs = cell.sides(dialer, listener)
    link = await ours.call("link", peer=theirs.peer_id)
    observed = {ours: link["local_addr"], theirs: link["remote_addr"]}
    for one, other in ((ours, theirs), (theirs, ours)):
        seen = await one.call("identify", peer=other.peer_id)
        await key_of(one, other)
        check(seen["agent_version"], f"{other.name} has no agent version")
        check(seen["protocol_version"], f"{other.name} has no protocol version")
        missing = [protocol for protocol in STANDARD_PROTOCOLS if protocol not in seen["protocols"]]
        check(not missing, f"{one.name} does not see {missing} of {other.name}")
        listen = {addr.removesuffix(f"/p2p/{other.peer_id}") for addr in other.listen}
        told = {addr.removesuffix(f"/p2p/{other.peer_id}") for addr in seen["listen_addrs"]}
        check(listen <= told, f"{one.name} sees {other.name} at {told}, it listens at {listen}")
        check(
            (seen["observed_addr"] or "").removesuffix(f"/p2p/{one.peer_id}") == observed[one],
            f"{other.name} sees {one.name} at {seen['observed_addr']}, it is at {observed[one]}",
        )
        # None: the library does not say.
        check(seen["signed_peer_record"] is not False, f"no valid signed peer record of {other.name}")


async def push(cell: Cell) -> None:
    """Each learns of a protocol that the other has added since they met."""
    dialer, listener = await cell.connected()
    for number, (one, other) in enumerate(((dialer, listener), (listener, dialer))):
        protocol = f"/fastmarket/interop/new/{number}"
        await other.call("identify", peer=one.peer_id)  # the first word is over before the second
        await one.call("push", protocol=protocol)
        await until(
            partial(_lists, other, one, protocol), f"{other.name} learns of a new protocol of {one.name}"
        )


async def _lists(one: Peer, other: Peer, protocol: str) -> bool:
    """Whether `one` knows that `other` speaks it, without asking anew."""
    try:
        known = await one.call("known_protocols", peer=other.peer_id)
    except Unsupported:  # its identify asks nobody
        known = await one.call("identify", peer=other.peer_id)
    return protocol in known["protocols"]


async def ping(cell: Cell) -> None:
    """Over one stream where the library does so."""
    dialer, listener = await cell.connected()
    for one, other in ((dialer, listener), (listener, dialer)):
        answer = await one.call("ping", peer=other.peer_id, count=PINGS, timeout_s=60)
        check(answer["count"] == PINGS, f"{answer['count']} pings were answered")


async def keep_alive(cell: Cell) -> None:
    """Ours; theirs are answered in `silence`."""
    dialer, listener = await cell.connected()
    ours, theirs = cell.sides(dialer, listener)
    await ours.call("mux_ping", peer=theirs.peer_id, count=MUX_PINGS)
    await works(dialer, listener)


async def silence(cell: Cell) -> None:
    """Neither side closes a connection on which nothing but keep-alive goes to and fro."""
    dialer, listener = await cell.connected()
    await asyncio.sleep(IDLE_S)  # what is tested is time passing, and both libraries' own timers
    for one, other in ((dialer, listener), (listener, dialer)):
        check(other.peer_id in (await one.call("connections"))["peers"], f"{one.name} has no connection")
    await works(dialer, listener)


async def frozen(cell: Cell) -> None:
    """Theirs is stopped while its kernel keeps the connection: ours asks by a ping and gives up."""
    dialer, listener = await cell.connected()
    ours, theirs = cell.sides(dialer, listener)
    await works(dialer, listener)
    theirs.freeze()
    await forgets(ours, theirs, FROZEN_S)


async def go_away(cell: Cell) -> None:
    """The other side notices at once."""
    # clients, so that neither dials the other again by itself, as js does for its DHT
    client = ("--mode", "client")
    dialer, listener = await cell.connected(client, client)
    for one, other in ((dialer, listener), (listener, dialer)):
        await one.call("disconnect", peer=other.peer_id)
        await asyncio.gather(forgets(other, one), forgets(one, other))
        await connect(dialer, listener)
        await works(dialer, listener)


async def idle_close(cell: Cell) -> None:
    """Nothing is under way, so ours says good-bye."""
    # clients, so that neither keeps a stream of the DHT open
    client = ("--mode", "client")
    dialer, listener = await cell.pair((*client, "--idle-timeout", str(OUR_IDLE_TIMEOUT_S)), client)
    ours, theirs = cell.sides(dialer, listener)
    await connect(dialer, listener)
    await asyncio.gather(forgets(theirs, ours), forgets(ours, theirs))
    await connect(dialer, listener)
    await works(dialer, listener)


async def killed(cell: Cell) -> None:
    """The same identity at the same port after a crash."""
    dialer = await cell.crew.start(cell.dialing)
    first = await cell.crew.start(cell.listening, "--seed", "7")
    await connect(dialer, first)
    await works(dialer, first)
    await first.kill()
    await forgets(dialer, first)
    await refused(dialer, "connect", addr=first.addr)
    again = await cell.crew.start(
        cell.listening, "--seed", "7", listen=first.addr.removesuffix(f"/p2p/{first.peer_id}")
    )
    check(again.peer_id == first.peer_id, "the seed gave another identity")
    await connect(dialer, again)
    await works(dialer, again)


async def end_of_input(cell: Cell) -> None:
    """Theirs stops by itself, and ours notices."""
    dialer, listener = await cell.connected()
    for one, other in ((dialer, listener), (listener, dialer)):
        if one.kind == cell.theirs:
            check(await one.end() == 0, f"{one.name} did not exit with 0")
            await forgets(other, one)
