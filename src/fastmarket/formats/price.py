"""What bytes cost: prices are whole units per MB, sums are rounded up."""

from __future__ import annotations

BYTES_PER_MB = 1_000_000
"""The MB of a price per MB."""


def cost_of(file_bytes: int, price_per_mb: int) -> int:
    """What so many verified bytes cost, in whole units, rounded up."""
    return -(-file_bytes * price_per_mb // BYTES_PER_MB)
