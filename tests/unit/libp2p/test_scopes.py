"""The tree of memory scopes: what is counted where, who is refused first."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.libp2p.scopes import MemoryScope, NodeScope, PeerScopes, Pressure, Priority, ScopeKind

LIMIT = 1 << 20


def test_each_scope_counts_what_is_below_it() -> None:
    top = NodeScope(LIMIT)
    scopes = PeerScopes(LIMIT // 2, top)
    first, second, other = (MemoryScope(parent=scopes.transient) for _ in range(3))
    for scope, held in ((first, 100), (second, 20), (other, 3)):
        scope.settle(held)
    assert scopes.transient.held == scopes.all.held == top.held == 123
    scopes.enter(first, b"\x01\x02", b"one")
    scopes.enter(second, b"\x01\x02", b"two")
    scopes.enter(other, None, b"here")
    assert scopes.transient.held == 0
    assert scopes.all.held == 123
    assert first.parent is not None
    block = first.parent.parent
    assert block is not None
    assert (block.kind, block.held) == (ScopeKind.BLOCK, 120)
    assert other.parent is not None
    assert other.parent.parent is scopes.all
    for scope, peer in ((first, b"one"), (second, b"two"), (other, b"here")):
        scope.settle(0)
        scopes.leave(peer)
    assert top.held == scopes.all.held == block.held == 0
    assert not scopes._blocks
    assert not scopes._peers


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 5000)), max_size=60))
def test_sums_are_exact_whatever_is_settled_moved_and_left(steps: list[tuple[int, int]]) -> None:
    top = NodeScope(LIMIT)
    scopes = PeerScopes(LIMIT, top)
    links = [MemoryScope(parent=scopes.transient) for _ in range(4)]
    for number, size in steps:
        link = links[number % 4]
        if number < 4:
            link.settle(size)
        elif link.parent is scopes.transient:
            scopes.enter(link, None if size % 3 else bytes((0, size % 2)), bytes((number, size % 2)))
        assert top.held == scopes.all.held == sum(one.held for one in links)
        below = [scope for scope, _ in scopes._peers.values()]
        assert scopes.transient.held + sum(scope.held for scope in below) == scopes.all.held


def test_the_lowest_scope_that_is_over_its_limit_is_named() -> None:
    scopes = PeerScopes(1000, NodeScope(0))
    one, two = MemoryScope(parent=scopes.transient), MemoryScope(parent=scopes.transient)
    scopes.enter(one, b"\x01\x02", b"one")
    scopes.enter(two, b"\x01\x02", b"two")
    assert not one.settle(400)
    assert one.overfull is None
    assert two.settle(200)
    full = two.overfull
    assert full is not None
    assert full.kind is ScopeKind.BLOCK, "each peer is below half, their block is not"
    assert one.is_within(full)
    assert one.settle(700)
    assert one.overfull is one.parent


def test_strangers_are_refused_first_and_operators_never() -> None:
    top = NodeScope(1000)
    part = top.child(ScopeKind.GRPC, 0)
    refused_at = {}
    for priority in Priority:
        while part.admits(1, priority) and part.held < 1000:
            part.settle(part.held + 1)
        refused_at[priority] = part.held
        part.settle(0)
    assert all(less < more for less, more in pairwise(refused_at[p] for p in list(Priority)[:2]))
    assert refused_at[Priority.OPERATOR] >= 1000
    assert {(kind, priority) for kind, priority in top.refusals} == {
        (ScopeKind.NODE, priority) for priority in list(Priority)[:2]
    }


def test_what_is_refused_is_counted_by_the_scope_without_room() -> None:
    top = NodeScope(1000)
    part = top.child(ScopeKind.HTTP, 100)
    other = top.child(ScopeKind.GRPC, 0)
    part.settle(80)
    assert not part.admits(80, Priority.CALLER)
    other.settle(700)
    assert not other.admits(700, Priority.CALLER)
    assert (part.held, top.held) == (80, 780), "asking takes nothing"
    assert top.refusals == {(ScopeKind.HTTP, Priority.CALLER): 1, (ScopeKind.NODE, Priority.CALLER): 1}


@pytest.mark.parametrize(
    ("pressure", "admitted"),
    [
        (Pressure.NONE, [True, True, True]),
        (Pressure.TIGHT, [False, True, True]),
        (Pressure.CRITICAL, [False, False, True]),
    ],
)
def test_near_the_memory_limit_strangers_are_refused_before_callers(
    pressure: Pressure, admitted: list[bool]
) -> None:
    top = NodeScope(LIMIT)
    part = top.child(ScopeKind.CONTENT, LIMIT)
    top.pressure = pressure
    assert [part.admits(1, priority) for priority in Priority] == admitted
    assert part.is_strained is (pressure is not Pressure.NONE)


def test_parts_that_know_what_they_hold_are_read() -> None:
    top = NodeScope(LIMIT)
    held = [10]
    top.child(ScopeKind.GRPC, 0).watch(lambda: held[0])
    top.measure()
    assert top.held_by_kind() == {"node": 10, "grpc": 10}
    held[0] = 3
    top.measure()
    assert top.held == 3
