"""Memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """Memory: of the process, and of what strangers and callers together make a node hold."""

    # Of the process, which the server measures: near it strangers are refused, then callers. None: the server
    # uses 512 MiB, or the limit of its control group if that is lower; a node within another program measures
    # nothing
    limit_bytes: int | None = None
    tight_part: float = 0.85  # of the limit: from here on strangers are refused
    critical_part: float = (
        0.95  # of the limit: from here on callers are refused, too; health is still answered
    )
    look_s: float = 0.25  # between measurements: what comes in meanwhile at 1 Gbit/s is 30 MiB
    # Held for peers, callers and HTTP clients together, besides what is stored: more is refused. Each of its
    # parts has its limit, too: `peer_budget_bytes`, those of Bitswap, and the following
    held_bytes: int = 320 << 20
    # Of gRPC: calls in progress, messages that wait for their turn, answers that wait for their reader
    grpc_bytes: int = 160 << 20
    http_bytes: int = 32 << 20  # of each HTTP port: heads, bodies and answers not read yet
    content_bytes: int = 32 << 20  # of the content port: connections, and pieces being sent
