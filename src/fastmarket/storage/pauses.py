"""Pauses for parts of the engine: nodes that do not answer, and keys that hold a node up."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

MAX_SLOW_KEYS = 1024  # remembered; the oldest are forgotten
MAX_SLOW_PAUSE_S = 60.0


class Pause(NamedTuple):
    """Its end (monotonic), its reason, and its length."""

    until: float
    why: str
    wait_s: float


class Pauses:
    """Pauses of nodes by name ("": the cluster map), and of keys. Times are monotonic seconds.

    A key that takes the engine longer than a call's timeout, such as a huge value, would get its node paused
    for everyone, again and again. So if the node turns out to answer meanwhile, the key is paused instead,
    twice as long each time.
    """

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._nodes: dict[str, Pause] = {}
        self._keys: OrderedDict[bytes, Pause] = OrderedDict()

    def why(self, node: str, now: float) -> str:
        """Why a node is paused now; "" if it is not."""
        paused = self._nodes.get(node)
        return paused.why if paused is not None and paused.until > now else ""

    def last(self, node: str) -> str:
        """Why it was last paused, if it has not answered since; or ""."""
        paused = self._nodes.get(node)
        return "" if paused is None else paused.why

    def why_key(self, key: bytes, now: float) -> str:
        """Why a key is paused now; or ""."""
        paused = self._keys.get(key)
        return paused.why if paused is not None and paused.until > now else ""

    def pause(self, node: str, why: str, now: float, most: int) -> None:
        """The node did not answer. Beyond `most` nodes, expired pauses are forgotten."""
        self._nodes[node] = Pause(now + self._pause_s, why, self._pause_s)
        if len(self._nodes) > most:
            self._nodes = {node: paused for node, paused in self._nodes.items() if paused.until > now}

    def trying(self, node: str, now: float) -> None:
        """A caller tries the node after a pause; others wait for the result."""
        paused = self._nodes.get(node)
        if paused is not None:
            self._nodes[node] = paused._replace(until=now + self._pause_s)

    def answered(self, node: str, key: bytes = b"") -> None:
        """The node answered."""
        self._nodes.pop(node, None)
        self._keys.pop(key, None)

    def slow(self, key: bytes, why: str, now: float) -> None:
        """The key is slow, not its node."""
        before = self._keys.pop(key, None)
        wait_s = self._pause_s if before is None else min(2.0 * before.wait_s, MAX_SLOW_PAUSE_S)
        self._keys[key] = Pause(now + wait_s, why, wait_s)
        if len(self._keys) > MAX_SLOW_KEYS:
            self._keys.popitem(last=False)
