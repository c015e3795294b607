"""What one simulated RPC costs, phase by phase: `python -m bench.simulated [--json FILE]`.

One RPC: a request delivered to its peer, answered by the shipped engine there, its reply delivered and read
by the shipped engine here, with its share of the lookup it belongs to. CPU time of this process; a loop of
plain Python is timed before and after, so that two machines, or two hours on one, can be compared.

    kept connections    a hundred nodes that know each other: nearly no request has to dial
    new connections     thousands of nodes: nearly every request dials, and both sides identify each other
    start-up            making the population, and the engine and table of every node
"""

from __future__ import annotations

import gc
import json
import time
from pathlib import Path

import click

from fastmarket.kad import engine
from fastmarket.sim.world import Plan, World

KEPT_NODES = 100
NEW_NODES = 3000
LOOP = 200_000


def spin() -> float:
    """Nanoseconds of one turn of a plain loop: how fast this machine is just now."""
    best = float("inf")
    for _ in range(5):
        started, total = time.process_time(), 0
        for number in range(LOOP):
            total += number & 7
        best = min(best, time.process_time() - started)
    return best / LOOP * 1e9


def lookups(world: World, count: int) -> dict[str, float]:
    """The cost of an RPC of that many lookups."""
    traffic = world.network.traffic
    replies, dials = traffic.replies, traffic.connections
    started = time.process_time()
    world.look_up(count)
    took, replies = time.process_time() - started, traffic.replies - replies
    return {
        "rpcs": replies,
        "connections_per_rpc": round((traffic.connections - dials) / replies, 2),
        "us_per_rpc": round(took / replies * 1e6, 1),
        "rpcs_per_cpu_s": round(replies / took),
    }


def best_of(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The round that others disturbed least."""
    return min(rounds, key=lambda figures: figures["us_per_rpc"])


def kept(count: int, rounds: int) -> dict[str, float]:
    """Everybody connected with everybody, after the first lookups."""
    world = World(Plan(nodes=KEPT_NODES, signers=0))
    world.look_up(2000)
    return best_of([lookups(world, count) for _ in range(rounds)])


def new(count: int, rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Nearly nobody connected; and what it took to have the nodes."""
    started = time.process_time()
    world = World(Plan(nodes=NEW_NODES, signers=0))
    for number in range(NEW_NODES):
        world.network.node(number)
    took = time.process_time() - started
    starting = {"nodes": NEW_NODES, "us_per_node": round(took / NEW_NODES * 1e6, 1)}
    return best_of([lookups(world, count) for _ in range(rounds)]), starting


@click.command()
@click.option("--lookups", "count", default=200, show_default=True, help="In a round.")
@click.option("--rounds", default=30, show_default=True, help="The best of them counts.")
@click.option("--json", "path", type=click.Path(path_type=Path))
def main(count: int, rounds: int, path: Path | None) -> None:
    """What one simulated RPC costs, phase by phase."""
    gc.disable()  # as `python -m fastmarket.sim` does
    before = spin()
    kept_connections = kept(count, rounds)  # first: what thousands of nodes leave in memory is not its own
    new_connections, starting = new(count, rounds)
    figures = {
        "compiled": not (engine.__file__ or "").endswith(".py"),
        "kept connections": kept_connections,
        "new connections": new_connections,
        "start-up": starting,
        "loop_ns": [round(before, 1), round(spin(), 1)],
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
    if path is not None:
        path.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
