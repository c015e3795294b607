"""One tree of memory scopes: what strangers and callers together make a node hold, counted where it is
limited.

    node > peers > transient | address block > peer > connection
         > bitswap, grpc, http, content port

A scope counts bytes, and each one above it those of all below. Shells `settle` what they measured after a
turn, or a timer does so for parts that know what they hold (`Gauge`); so no message is counted by itself.
Before work that can be refused, its scope is asked (`admits`): what would cross a limit on its path is
refused, strangers' first (go-libp2p's resource manager: scopes, and priorities as fractions of a limit).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import Enum, IntEnum
from typing import Final

# Fraction of its limit above which a scope is strained, and to which closing connections brings it back.
_STRAINED: Final = 0.5
RELIEVED: Final = 0.75

# An open stream without data: its state here and in its protocol.
STREAM_BYTES: Final = 1024
# A connection that has just been made: its objects, and a handshake's messages.
HANDSHAKE_BYTES: Final = 20 * 1024


class ScopeKind(Enum):
    """What a scope is for."""

    NODE = "node"  # everything below
    PEERS = "peers"  # connections with other nodes
    TRANSIENT = "transient"  # those whose handshake is not finished: the peer is not known yet
    BLOCK = "address block"  # those from one IPv4 /16 or IPv6 /32
    PEER = "peer"  # those with one peer
    CONNECTION = "connection"
    BITSWAP = "bitswap"  # blocks and messages of all peers
    GRPC = "grpc"  # calls of all callers
    HTTP = "http"  # an HTTP port
    CONTENT = "content port"


class Priority(IntEnum):
    """For which work a reservation is: the more it is our own, the more of a limit it may use."""

    STRANGER = 0
    CALLER = 1
    OPERATOR = 2  # health, metrics: never refused for memory


# Of each limit, by priority. Above half of it answers wait already; then newcomers, then others are refused.
_PARTS: Final = (0.75, 0.9375, 1.0)
# Of what all connections may hold: one address block, and one peer, leave as much to all others; handshakes
# in progress hold some 20 kB each, so that this is room for more than are allowed at once.
_BLOCK_PART: Final = 0.5
_PEER_PART: Final = 0.5
_TRANSIENT_PART: Final = 0.125


class Pressure(IntEnum):
    """How near the process is to its memory limit, as the system counts it; see `memory_limit.py`."""

    NONE = 0
    TIGHT = 1  # strangers are refused
    CRITICAL = 2  # callers, too


class MemoryScope:
    """Bytes held; `limit` 0: bounded by what is above it. The one at the top is the node's."""

    __slots__ = ("held", "kind", "limit", "parent", "top")

    def __init__(
        self, limit: int = 0, parent: MemoryScope | None = None, kind: ScopeKind = ScopeKind.CONNECTION
    ) -> None:
        self.kind = kind
        self.limit = limit
        self.held = 0
        self.parent = parent
        self.top: MemoryScope = self if parent is None else parent.top

    def settle(self, held: int) -> bool:
        """Sets the bytes held now; returns whether a scope on the path holds more than its limit."""
        change = held - self.held
        is_over = False
        scope: MemoryScope | None = self
        while scope is not None:
            scope.held += change
            if scope.limit and scope.held > scope.limit:
                is_over = True
            scope = scope.parent
        return is_over

    def move_to(self, parent: MemoryScope) -> None:
        """From now on below another scope, with what it holds."""
        held = self.held
        self.settle(0)
        self.parent, self.top = parent, parent.top
        self.settle(held)

    def crossed(self, size: int, priority: Priority) -> MemoryScope | None:
        """The first scope of the path in which that much more of such work has no room; None: it has."""
        part = _PARTS[priority]
        scope: MemoryScope | None = self
        while scope is not None:
            if scope.limit and scope.held + size > scope.limit * part:
                return scope
            scope = scope.parent
        return None

    def admits(self, size: int, priority: Priority) -> bool:
        """Whether that much has room on the whole path; else it is counted as refused. It is not taken: what
        the work holds is measured afterwards."""
        return self.top._judge(self.crossed(size, priority), priority)

    def watch(self, read: Callable[[], int]) -> None:
        """For a part that knows by itself what it holds: the node's scope reads it from time to time."""
        self.top._add_gauge(Gauge(self, read))

    def _add_gauge(self, gauge: Gauge) -> None:
        """Of the top."""

    def _judge(self, crossed: MemoryScope | None, priority: Priority) -> bool:
        """Of the top."""
        return crossed is None

    @property
    def is_strained(self) -> bool:
        """Whether work that can wait should wait: a scope on the path is half full, or the process nearly."""
        if self.top.is_pressed:
            return True
        scope: MemoryScope | None = self
        while scope is not None:
            if scope.limit and scope.held > scope.limit * _STRAINED:
                return True
            scope = scope.parent
        return False

    @property
    def is_pressed(self) -> bool:
        """Of the top: whether the process is near its memory limit, as far as it knows."""
        return False

    @property
    def overfull(self) -> MemoryScope | None:
        """The lowest scope of the path that holds more than its limit: something in it has to be closed."""
        scope: MemoryScope | None = self
        while scope is not None:
            if scope.limit and scope.held > scope.limit:
                return scope
            scope = scope.parent
        return None

    def is_within(self, other: MemoryScope) -> bool:
        """Whether the other one is on the path."""
        scope: MemoryScope | None = self
        while scope is not None:
            if scope is other:
                return True
            scope = scope.parent
        return False


class Gauge:
    """A scope of a part that knows by itself what it holds: read from time to time."""

    __slots__ = ("_read", "scope")

    def __init__(self, scope: MemoryScope, read: Callable[[], int]) -> None:
        self.scope = scope
        self._read = read

    def settle(self) -> None:
        """Reads it."""
        self.scope.settle(self._read())


class NodeScope(MemoryScope):
    """The top: the node's limit, what was refused, and how near the process is to its memory limit."""

    __slots__ = ("gauges", "parts", "pressure", "refusals")

    def __init__(self, limit: int) -> None:
        super().__init__(limit, None, ScopeKind.NODE)
        self.pressure = Pressure.NONE
        self.refusals: Counter[tuple[ScopeKind, Priority]] = Counter()
        """By the scope that had no room (the node's: of the process, too) and what it was for."""
        self.parts: list[MemoryScope] = []
        """The scopes right below."""
        self.gauges: list[Gauge] = []

    def child(self, kind: ScopeKind, limit: int) -> MemoryScope:
        """A scope right below, for a part of the node."""
        scope = MemoryScope(limit, self, kind)
        self.parts.append(scope)
        return scope

    def _add_gauge(self, gauge: Gauge) -> None:
        self.gauges.append(gauge)

    def measure(self) -> None:
        """Reads all parts that know by themselves what they hold."""
        for gauge in self.gauges:
            gauge.settle()

    def held_by_kind(self) -> dict[str, int]:
        """Bytes of the node and of each part below it."""
        found = Counter({self.kind.value: self.held})
        for scope in self.parts:
            found[scope.kind.value] += scope.held
        return dict(found)

    @property
    def is_pressed(self) -> bool:
        """Whether the process is near its memory limit."""
        return self.pressure > Pressure.NONE

    def _judge(self, crossed: MemoryScope | None, priority: Priority) -> bool:
        if priority is Priority.OPERATOR:
            return True
        # Strangers give way at TIGHT, callers at CRITICAL.
        if self.pressure > (priority is Priority.CALLER):
            crossed = self
        if crossed is None:
            return True
        self.refusals[crossed.kind, priority] += 1
        return False


class PeerScopes:
    """The part of the tree for connections with other nodes: address block > peer > connection."""

    __slots__ = ("_blocks", "_peers", "_peers_of_block", "all", "transient")

    def __init__(self, limit: int, top: NodeScope) -> None:
        self.all = top.child(ScopeKind.PEERS, limit)
        """What all of them hold."""
        self.transient = MemoryScope(int(limit * _TRANSIENT_PART), self.all, ScopeKind.TRANSIENT)
        self._blocks: dict[bytes, MemoryScope] = {}
        self._peers_of_block: Counter[bytes] = Counter()
        self._peers: dict[bytes, tuple[MemoryScope, bytes | None]] = {}

    def enter(self, scope: MemoryScope, block: bytes | None, peer: bytes) -> None:
        """A connection's peer is known now. `block`: its address block; None: this machine's, or a private
        one,
        which has no limit of its own."""
        found = self._peers.get(peer)
        if found is None:
            above = self.all if block is None else self._block(block)
            limit = int(self.all.limit * _PEER_PART)
            found = self._peers[peer] = MemoryScope(limit, above, ScopeKind.PEER), block
        scope.move_to(found[0])

    def leave(self, peer: bytes) -> None:
        """The last connection to that peer has ended, and holds nothing any more."""
        _, block = self._peers.pop(peer, (None, None))
        if block is not None:
            self._peers_of_block[block] -= 1
            if not self._peers_of_block[block]:
                del self._peers_of_block[block], self._blocks[block]

    def _block(self, block: bytes) -> MemoryScope:
        found = self._blocks.get(block)
        if found is None:
            limit = int(self.all.limit * _BLOCK_PART)
            found = self._blocks[block] = MemoryScope(limit, self.all, ScopeKind.BLOCK)
        self._peers_of_block[block] += 1
        return found
