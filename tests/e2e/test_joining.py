"""Many nodes in several processes that start at the same moment, with one to join by."""

from __future__ import annotations

from bench.joining import join


def test_fifty_nodes_in_five_processes_all_get_to_know_each_other() -> None:
    """`join` gives up after a minute; how quick it is, is `make loopback`'s matter."""
    joined = join(processes=5, each=10, enough=40)
    assert len(joined.known) == 50
    assert min(joined.known) >= 40
