"""Whom in the engine nobody asks for a moment: nodes that do not answer, and keys that hold a node up."""

from __future__ import annotations

from typing import NamedTuple

from fastmarket.bounded_map import BoundedMap

MAX_SLOW_KEYS = 1024  # remembered; the oldest are tried again
MAX_SLOW_PAUSE_S = 60.0


class Pause(NamedTuple):
    """Until when (monotonic), why, and how long it is."""

    until: float
    why: str
    wait_s: float


class Pauses:
    """Of nodes by their name, "" for the map of them, and of keys. Times are monotonic seconds.

    A key that costs the engine more than a call's time, a huge one that somebody put there, would have its
    node left alone by everybody, again and again. So where the node turns out to answer meanwhile, the key is
    left alone instead, twice as long each time.
    """

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._nodes: dict[str, Pause] = {}
        self._keys: BoundedMap[bytes, Pause] = BoundedMap(MAX_SLOW_KEYS)

    def why(self, node: str, now: float) -> str:
        """Why a node is left alone now; "": it is not."""
        paused = self._nodes.get(node)
        return paused.why if paused is not None and paused.until > now else ""

    def last(self, node: str) -> str:
        """Why it was left alone last, and did not answer since; ""."""
        paused = self._nodes.get(node)
        return "" if paused is None else paused.why

    def why_key(self, key: bytes, now: float) -> str:
        """Why a key is left alone now; ""."""
        paused = self._keys.peek(key)
        return paused.why if paused is not None and paused.until > now else ""

    def pause(self, node: str, why: str, now: float, most: int) -> None:
        """It did not answer; of more than `most` nodes those whose pause is over are forgotten."""
        self._nodes[node] = Pause(now + self._pause_s, why, self._pause_s)
        if len(self._nodes) > most:
            self._nodes = {node: paused for node, paused in self._nodes.items() if paused.until > now}

    def trying(self, node: str, now: float) -> None:
        """A caller tries it after a pause; the others wait for that."""
        paused = self._nodes.get(node)
        if paused is not None:
            self._nodes[node] = paused._replace(until=now + self._pause_s)

    def answered(self, node: str, key: bytes = b"") -> None:
        """It does."""
        self._nodes.pop(node, None)
        self._keys.pop(key)

    def slow(self, key: bytes, why: str, now: float) -> None:
        """It is the key, not its node."""
        before = self._keys.peek(key)
        wait_s = self._pause_s if before is None else min(2.0 * before.wait_s, MAX_SLOW_PAUSE_S)
        self._keys.put(key, Pause(now + wait_s, why, wait_s))
