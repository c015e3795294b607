"""The lookup as the paper tells it, one question at a time: what the fast one is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def distance(a: bytes, b: bytes) -> int:
    """XOR of two 32-byte keys as a number."""
    return int.from_bytes(a, "big") ^ int.from_bytes(b, "big")


def iterative_lookup(
    target: bytes, seeds: Iterable[bytes], ask: Callable[[bytes], Iterable[bytes] | None], k: int
) -> list[bytes]:
    """Keys of the k closest peers that answered, closest first.

    `ask(key)`: the keys that peer names, None when it does not answer. Always asks the closest one not asked
    yet, and ends when the k closest that have not failed have all answered.
    """
    known, answered, failed = set(seeds), set(), set()
    while True:
        window = sorted(known - failed, key=lambda key: distance(key, target))[:k]
        unasked = [key for key in window if key not in answered]
        if not unasked:
            return window
        named = ask(unasked[0])
        if named is None:
            failed.add(unasked[0])
        else:
            answered.add(unasked[0])
            known.update(named)
