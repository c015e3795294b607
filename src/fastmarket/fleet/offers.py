"""The fleet's offers for a content: read from the shared store, verified, and cached briefly."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice

from fastmarket.config import FleetConfig
from fastmarket.errors import StorageFault
from fastmarket.fleet.view import FleetView, RecentFinds, ViewCache, ViewReader
from fastmarket.log_throttle import LogThrottle
from fastmarket.net.dht_node import DhtNode
from fastmarket.storage.shared import SharedStore
from fastmarket.storage.store_trouble import KeyFault
from fastmarket.wording import suppressed_note

log = logging.getLogger(__name__)

READ_SLICE = 64  # offers verified before yielding to the event loop: 5 ms if each has its own signature
TELL_S = 60.0  # between log lines about the same key of the store
MAX_TOLD_KEYS = 256  # tracked for that


class FleetOffers:
    """One server's views of contents. Expired fields met while reading are deleted from the store."""

    def __init__(self, node: DhtNode, store: SharedStore, config: FleetConfig) -> None:
        self._node = node
        self._store = store
        self._write_timeout_s = config.write_timeout_s
        bounds = (config.max_cached_contents, config.max_cached_offers)
        self.views = ViewCache(self.read, config.fresh_s, bounds, time.monotonic)
        self.recent = RecentFinds(config.fresh_s, bounds, time.monotonic)
        self._throttle = LogThrottle(TELL_S, MAX_TOLD_KEYS)
        self._sweeps: set[asyncio.Task[None]] = set()

    async def stop(self, timeout_s: float) -> None:
        """Ends the deletions in progress, and waits that long for each."""
        for sweep in tuple(self._sweeps):
            sweep.cancel()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await asyncio.wait([sweep])

    def forget(self, content: bytes) -> None:
        """Invalidates the caches: an offer for the content arrived or was withdrawn here."""
        self.views.forget(content)
        self.recent.forget(content)

    async def latest(self, content: bytes) -> FleetView:
        """Bypasses the cache, with the timeout of a write. Raises StorageFault."""
        return await self.read(content, self._write_timeout_s)

    async def read(self, content: bytes, timeout_s: float | None = None) -> FleetView:
        """Reads the store, by default with the timeout of a lookup. Raises StorageFault."""
        now, verifier = self._node.now(), self._node.offers.verifier
        try:
            found = await self._store.get(content, timeout_s)
        except KeyFault as fault:
            self._tell_key(content, str(fault))
            raise
        reader = ViewReader(content, lambda signed: verifier.open(signed, now), now)
        fields = iter(found.fields.items())
        while part := list(islice(fields, READ_SLICE)):
            reader.read(part)
            await asyncio.sleep(0)
        view = reader.view()
        if wrong := reader.wrong + found.left_out:
            self._tell_key(
                content, f"{wrong} entries are not offers for that content, exceed the limit, or are too long"
            )
        if view.over:
            sweep = asyncio.ensure_future(self._sweep(content, view.over))
            self._sweeps.add(sweep)
            sweep.add_done_callback(self._sweeps.discard)
        return view

    async def _sweep(self, content: bytes, fields: Sequence[bytes]) -> None:
        try:
            await self._store.drop(content, fields)
        except StorageFault as fault:
            log.debug("cannot delete expired offers from the shared store: %s", fault)

    def _tell_key(self, content: bytes, why: str) -> None:
        suppressed = self._throttle.due(content.hex(), time.monotonic())
        if suppressed is not None:
            key = content.hex()
            log.warning("shared store, content %s: %s%s", key, why, suppressed_note(suppressed))
