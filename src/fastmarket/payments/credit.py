"""How much is served before it is paid: to one buyer, and to all strangers of an address block in an hour."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

from fastmarket.bounded_map import BoundedMap
from fastmarket.config.payments import CreditPolicy

HOUR_S = 3600.0
IPV4_BITS = 16
IPV6_BITS = 32  # what a registry gives to one provider, as it gave /16 once


@lru_cache(4096)
def credit_block(host: str) -> str:
    """The block an address shares its credit for strangers with: IPv4 /16, IPv6 /32. An IPv4-mapped address
    counts as IPv4, an address with a prefix as it is; other text is returned unchanged."""
    try:
        address = ip_address(host.partition("%")[0].partition("/")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return str(ip_network((address, IPV6_BITS), strict=False))
        address = address.ipv4_mapped
    return str(ip_network((address, IPV4_BITS), strict=False))


def grown(credit: int, policy: CreditPolicy) -> int:
    """After receipts for as much as the credit: twice as much, or what a debtor that pays begins with."""
    return min(max(credit * 2, policy.min_bytes), policy.max_bytes)


def halved(credit: int, policy: CreditPolicy) -> int:
    """After a default; 0: nothing more is served on credit."""
    return credit // 2 if credit // 2 >= policy.min_bytes else 0


class _Hour:
    """Unpaid bytes since the hour began."""

    __slots__ = ("began", "unpaid")

    def __init__(self, began: float) -> None:
        self.began = began
        self.unpaid = 0

    def left(self, most: int, now: float) -> int:
        if not 0 <= now - self.began < HOUR_S:
            self.began, self.unpaid = now, 0
        return most - self.unpaid


class StrangerCredit:
    """Bytes served to buyers that have paid for nothing yet, by address block and in all. An hour begins with
    the first byte, and ends with a fresh one; what is paid for meanwhile is taken off again."""

    def __init__(self, policy: CreditPolicy) -> None:
        self._policy = policy
        self._blocks: BoundedMap[str, _Hour] = BoundedMap(policy.max_blocks)
        self._all = _Hour(0.0)

    def left(self, block: str, now: float) -> int:
        """Bytes that may still be served to strangers there in this hour."""
        left = self._all.left(self._policy.all_hour_bytes, now)
        hour = self._blocks.peek(block)
        return min(left, self._policy.block_hour_bytes if hour is None else self._left(hour, now))

    def add(self, block: str, count: int, now: float) -> None:
        """So many bytes were served to one there; negative: paid for, or not sent after all."""
        hour = self._blocks.peek(block)
        if hour is None:
            if count < 0:
                return
            hour = _Hour(now)
            self._blocks.put(block, hour)
        self._left(hour, now)
        self._all.left(0, now)
        hour.unpaid = max(hour.unpaid + count, 0)
        self._all.unpaid = max(self._all.unpaid + count, 0)

    def _left(self, hour: _Hour, now: float) -> int:
        return hour.left(self._policy.block_hour_bytes, now)
