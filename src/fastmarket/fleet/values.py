"""Values of the DHT in the shared store, under the same rules as in the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fastmarket.config import KadConfig
from fastmarket.errors import PeerFault
from fastmarket.kad.records.record import RecordRule, rule_for
from fastmarket.storage.shared import SharedStore
from fastmarket.storage.store_trouble import KeyFault


class FleetValues:
    """Values put by servers of the fleet. The store is trusted as little as a stranger."""

    def __init__(
        self,
        store: SharedStore,
        config: KadConfig,
        rules: Mapping[bytes, RecordRule],
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._config = config
        self._rules = rules
        self._now = now

    def rule(self, key: bytes) -> RecordRule:
        """The rule for values under a key."""
        return rule_for(self._rules, key)

    async def get(self, key: bytes) -> bytes | None:
        """The store's value if it is valid. Raises StorageFault."""
        value = await self._store.get_value(key, self._config.max_value_bytes)
        try:
            if value is not None:
                self.rule(key).validate(key, value, self._now())
        except PeerFault:
            return None
        return value

    async def put(self, key: bytes, value: bytes) -> None:
        """Writes a value to the store unless it has a better one. Raises StorageFault."""
        try:
            held = await self.get(key)
        except KeyFault:
            held = None  # an unusable value is replaced
        if held is None or held == value or self.rule(key).replaces(key, value, held):
            await self._store.put_value(key, value, int(self._config.record_ttl_s))
