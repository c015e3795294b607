"""What the content port counts."""

from __future__ import annotations

from fastmarket.bounded_map import BoundedMap

MAX_COUNTED_FILES = 65_536
"""Files whose sent bytes are kept until they are taken; those served longest ago leave first. 16 MB."""


class PortTally:
    """Plain numbers, for metrics; all grow, except the two that say how many there are now."""

    __slots__ = (
        "_sent",
        "aborted",
        "bytes_sent",
        "connections",
        "open_connections",
        "requests",
        "running",
        "turned_away",
    )

    def __init__(self) -> None:
        self.requests: dict[int, int] = {}
        """Answers by status, of which there are some fifteen."""
        self.bytes_sent = 0
        """With headers, before TLS."""
        self.connections = 0
        """Accepted."""
        self.open_connections = 0
        """Now."""
        self.running = 0
        """Answers under way now."""
        self.turned_away = 0
        """Connections closed, or answered 429, because there were too many."""
        self.aborted = 0
        """Answers that ended before their end, by either side."""
        self._sent: BoundedMap[str, int] = BoundedMap(MAX_COUNTED_FILES)

    def add_sent(self, path: str, count: int) -> None:
        """Of the file at that path, so many bytes were sent."""
        self._sent.put(path, (self._sent.peek(path) or 0) + count)

    def take_sent(self) -> dict[str, int]:
        """Bytes sent out of each file, by its path, since this was last called."""
        sent = {path: self._sent.peek(path) or 0 for path in self._sent}
        self._sent.clear()
        return sent
