"""A network of all kinds at once: what any kind leaves there is found from any other, also when some die."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from fastmarket.formats.cid import new_cidv0
from lib.cell import Crew, check, text64, until
from lib.kinds import OURS
from lib.matrix import Outcome, Verdict, attempt
from lib.process import Peer
from lib.rows_kad import join

MIXED = (OURS, "go", "rust", "js")
OF_EACH = 3
KILLED = 3
CALL_S = 45.0  # a library that meets the dead waits for its own time limits first
BUILD_S = 240.0  # starting all nodes, joining, and putting
ASK_S = 90.0
ASKED_AT_ONCE = 4

ROWS = {
    "join": "join, put, provide",
    **{f"value-{kind}": f"value of {kind} found" for kind in MIXED},
    **{f"content-{kind}": f"content of {kind} found" for kind in MIXED},
    **{f"value-{kind}-after": f"value of {kind}, {KILLED} killed" for kind in MIXED},
    **{f"content-{kind}-after": f"content of {kind}, {KILLED} killed" for kind in MIXED},
}


def value_of(kind: str) -> tuple[bytes, bytes]:
    """What that kind puts."""
    return b"/fm/of-" + kind.encode(), b"put by " + kind.encode()


def content_of(kind: str) -> str:
    """What that kind provides."""
    return str(new_cidv0(b"content of " + kind.encode()))


class Network:
    """Nodes by kind; the first of each kind puts and provides, the others ask."""

    def __init__(self, crew: Crew, kinds: Sequence[str]) -> None:
        self.nodes: dict[str, list[Peer]] = {kind: [] for kind in kinds}
        self.providers: dict[str, str] = {}
        self._crew = crew

    async def grow(self) -> None:
        """All join by one node, then hear of each other."""
        started = await asyncio.gather(
            *(self._crew.start(kind) for _ in range(OF_EACH) for kind in self.nodes)
        )
        for peer in started:
            self.nodes[peer.kind].append(peer)
        for peer in started[1:]:
            await join(peer, started[0])
        for peer in started:  # a lookup of itself, now that everybody is there
            await peer.call("find_node", peer=peer.peer_id, timeout_s=CALL_S)

    async def sow(self) -> None:
        """One value and one content of each kind."""
        for kind, peers in self.nodes.items():
            key, value = value_of(kind)
            await peers[0].call(
                "put_value", key=text64(key), value=text64(value), quorum=KILLED + 1, timeout_s=CALL_S
            )
            await peers[0].call("provide", cid=content_of(kind), timeout_s=CALL_S)
            self.providers[kind] = peers[0].peer_id

    async def kill_some(self) -> None:
        """The very nodes that put and provided, of as many kinds as there are."""
        for number in range(KILLED):
            kinds = list(self.nodes)
            victim = self.nodes[kinds[number % len(kinds)]].pop(0)
            await victim.kill()

    async def client(self, kind: str) -> Peer:
        """A node that serves nobody, so that nothing was left with it, and knows one node of another kind."""
        peer = await self._crew.start(kind, "--mode", "client")
        door = next(peers[-1] for other, peers in self.nodes.items() if other != kind)
        await peer.call("bootstrap", addrs=[door.addr], timeout_s=CALL_S)
        return peer

    async def finds_value(self, peer: Peer, kind: str) -> None:
        key, value = value_of(kind)
        answer = await peer.call("get_value", key=text64(key), timeout_s=CALL_S)
        check(b64decode(answer["value"]) == value, f"{peer.name} got another value")

    async def finds_content(self, peer: Peer, kind: str) -> None:
        async def found() -> bool:
            answer = await peer.call("find_providers", cid=content_of(kind), count=20, timeout_s=CALL_S)
            return self.providers[kind] in [entry["peer_id"] for entry in answer["providers"]]

        # ADD_PROVIDER has no reply: the asker may be faster than the announcement
        await until(found, f"{peer.name} finds the provider")


async def run_mixed(kinds: Sequence[str], logs: Path, done: Callable[[Outcome], None]) -> list[Outcome]:
    """Every kind asks for what every kind left, before and after some nodes are killed."""
    async with Crew(logs / "mixed") as crew:
        network = Network(crew, kinds)

        async def begin(_: Crew) -> None:
            await network.grow()
            await network.sow()

        joined = await attempt("join", "all", BUILD_S, logs / "mixed", begin)
        done(joined)
        if joined.verdict is not Verdict.OK:
            return [joined]
        before = await _ask_all(network, "", 1, logs, done)
        await network.kill_some()
        after = await _ask_all(network, "-after", -1, logs, done)
        return [joined, *before, *after]


async def _ask_all(
    network: Network, suffix: str, which: int, logs: Path, done: Callable[[Outcome], None]
) -> list[Outcome]:
    """Of every kind the node number `which` and a new client ask for everything."""
    places = asyncio.Semaphore(ASKED_AT_ONCE)
    clients = await asyncio.gather(*(network.client(kind) for kind in network.nodes))
    asking = {
        **{f"by {kind}": peers[which] for kind, peers in network.nodes.items()},
        **{f"by a client of {peer.kind}": peer for peer in clients},
    }

    async def one(row: str, column: str, question: Callable[[], Awaitable[None]]) -> Outcome:
        async with places:
            outcome = await attempt(row, column, ASK_S, logs / "mixed", lambda _: question())
        done(outcome)
        return outcome

    outcomes = await asyncio.gather(
        *(
            one(f"{what}-{kind}{suffix}", column, partial(finds, peer, kind))
            for what, finds in (("value", network.finds_value), ("content", network.finds_content))
            for kind in network.nodes
            for column, peer in asking.items()
        )
    )
    for peer in clients:
        await peer.kill()
    return outcomes
