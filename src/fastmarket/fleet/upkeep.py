"""Keeping one server and the shared store in step: repairs after a loss, and messages of other servers."""

from __future__ import annotations

import logging
import time

from fastmarket.config import FleetConfig
from fastmarket.errors import FastmarketError, PeerFault, StorageFault
from fastmarket.fleet.fields import ServerMessage
from fastmarket.fleet.writer import SharedWriter
from fastmarket.net.dht_node import DhtNode
from fastmarket.offers.model.offer import Offer
from fastmarket.repeating import Repeating
from fastmarket.storage.shared import SharedStore
from fastmarket.storage.store_trouble import KeyFault

log = logging.getLogger(__name__)

WITHDRAW_BUDGET_S = 10.0  # to announce a withdrawal on behalf of another server


class StoreUpkeep:
    """Checks the store every `look_s` from `start` to `stop`."""

    def __init__(self, node: DhtNode, store: SharedStore, writer: SharedWriter, config: FleetConfig) -> None:
        self._node = node
        self._store = store
        self._writer = writer
        self._repair_s = config.repair_s
        self.reachable: bool | None = None  # unknown yet
        self.trouble = ""
        """Why the store does not answer, or refuses; "" while it works."""
        self._looking = Repeating(
            "looking after the store", lambda: config.look_s, self._look, node.host.faults
        )
        self._runs: frozenset[str] = frozenset()  # run ids of the engine, as last seen
        self._repaired_at = 0.0

    def start(self) -> None:
        """The first check is at once. The writer has just been given all own offers."""
        self._repaired_at = time.monotonic()
        self._looking.start(at_once=True)

    async def stop(self) -> None:
        """No more checks."""
        await self._looking.stop()

    async def _look(self) -> None:
        """Checks that the engine is up and the same instance, and reads our messages."""
        now = time.monotonic()
        try:
            seen = await self._store.runs()
            await self._read_messages()
        except StorageFault as fault:
            self._tell(str(fault))
            return
        self._tell("")
        # A primary that restarted or was replaced may lack the latest writes.
        if seen - self._runs or now - self._repaired_at >= self._repair_s:
            if self._runs:
                self._writer.take(self._every_own())
            self._runs, self._repaired_at = seen, now

    def _every_own(self) -> list[Offer]:
        return [offer for offer in self._node.offers.store if offer.provider == self._node.peer_id]

    async def _read_messages(self) -> None:
        peer = self._node.peer_id.raw
        try:
            messages = await self._store.messages(peer)
        except KeyFault as fault:
            log.warning("cannot read a message in the shared store: %s", fault)
            await self._store.forget_messages(peer)  # else no server could send us any
            return
        for raw in messages:
            try:
                await self._obey(ServerMessage.decode(raw))
            except PeerFault as fault:
                log.warning("cannot read a message in the shared store: %s", fault)
            except StorageFault:
                raise
            except Exception as error:  # noqa: BLE001 - or this message would block the others
                self._node.host.faults.tell("obeying a message in the shared store", error)
        if messages:
            await self._store.answered(peer, len(messages))

    async def _obey(self, message: ServerMessage) -> None:
        own = self._node.own_offer(message.content, message.user_id)
        if own is None or own.withdrawn or own.seq > message.seq:
            return
        try:
            await self._node.withdraw_offer(message.content, message.user_id, WITHDRAW_BUDGET_S)
        except FastmarketError as fault:
            log.warning("cannot withdraw an offer superseded by another server yet: %s", fault)

    def _tell(self, why: str) -> None:
        before, self.trouble = self.trouble, why
        if self.reachable is not (not why):
            self.reachable = not why
            if self.reachable:
                log.info("the shared store %s is up", self._store.url.shown)
        if why and why != before:
            log.error("%s; lookups use the network only, registrations wait for the store", why)
