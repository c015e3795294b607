"""A network of all kinds at once: what any kind puts or provides is found from any other, also when some die."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from lib.cell import Crew, check, text64, until
from lib.kinds import OURS
from lib.matrix import Outcome, Verdict, attempt
from lib.process import Peer
from lib.rows_kad import join

from fastmarket.formats.cid import new_cidv0

MIXED = (OURS, "go", "rust", "js")
OF_EACH = 3
KILLED = 3
CALL_S = 45.0  # a library that meets the dead waits for its own time limits first
BUILD_S = 240.0  # starting all nodes, joining, and putting
ASK_S = 90.0
ASKED_AT_ONCE = 4
CLIENT = "found by a client of ours"

ROWS = {
    "join": "all nodes join, and each kind puts a value and provides a content",
    **{f"value-{kind}": f"value put by {kind}" for kind in MIXED},
    **{f"content-{kind}": f"content provided by {kind}" for kind in MIXED},
    **{f"value-{kind}-after": f"value put by {kind}, {KILLED} nodes killed" for kind in MIXED},
    **{f"content-{kind}-after": f"content provided by {kind}, {KILLED} nodes killed" for kind in MIXED},
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
        for peer in started:
            seeds = [other.addr for other in started if other is not peer]
            await peer.call("bootstrap", addrs=seeds[:OF_EACH], timeout_s=CALL_S)

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

    async def client(self) -> Peer:
        """A node of ours that serves nobody, known to one node of another kind."""
        peer = await self._crew.start(OURS, "--mode", "client")
        door = self.nodes[list(self.nodes)[-1]][-1]
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
    outcomes: list[Outcome] = []

    def note(outcome: Outcome) -> None:
        outcomes.append(outcome)
        done(outcome)

    async with Crew(logs / "mixed") as crew:
        network = Network(crew, kinds)

        async def begin(_: Crew) -> None:
            await network.grow()
            await network.sow()

        note(await attempt("join", "all", BUILD_S, logs / "mixed", begin))
        if outcomes[0].verdict is not Verdict.OK:
            return outcomes
        await _ask_all(network, "", 1, logs, note)
        await network.kill_some()
        await _ask_all(network, "-after", -1, logs, note)
    return outcomes


async def _ask_all(
    network: Network, suffix: str, which: int, logs: Path, note: Callable[[Outcome], None]
) -> None:
    """`which`: the node of each kind that asks."""
    places = asyncio.Semaphore(ASKED_AT_ONCE)
    asking = {f"found by {kind}": peers[which] for kind, peers in network.nodes.items()}
    asking[CLIENT] = await network.client()

    async def one(row: str, column: str, question: Callable[[], Awaitable[None]]) -> None:
        async with places:
            note(await attempt(row, column, ASK_S, logs / "mixed", lambda crew: question()))

    await asyncio.gather(
        *(
            one(f"{what}-{kind}{suffix}", column, _question(finds, peer, kind))
            for what, finds in (("value", network.finds_value), ("content", network.finds_content))
            for kind in network.nodes
            for column, peer in asking.items()
        )
    )


def _question(
    finds: Callable[[Peer, str], Awaitable[None]], peer: Peer, kind: str
) -> Callable[[], Awaitable[None]]:
    return lambda: finds(peer, kind)
