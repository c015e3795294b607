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

WITHDRAW_BUDGET_S = 10.0  # to announce that an offer is taken back, on behalf of another server


class StoreUpkeep:
    """Looks after the store every `look_s` from `start` to `stop`."""

    def __init__(self, node: DhtNode, store: SharedStore, writer: SharedWriter, config: FleetConfig) -> None:
        self._node = node
        self._store = store
        self._writer = writer
        self._repair_s = config.repair_s
        self.reachable: bool | None = None  # not known yet
        self.trouble = ""
        """Why the store does not answer, or refuses; "" while it serves."""
        self._looking = Repeating(
            "looking after the store", lambda: config.look_s, self._look, node.host.faults
        )
        self._runs: frozenset[str] = frozenset()  # of the engine, as last seen
        self._repaired_at = 0.0

    def start(self) -> None:
        """The first look is at once. Own offers were just given to the writer."""
        self._repaired_at = time.monotonic()
        self._looking.start(at_once=True)

    async def stop(self) -> None:
        """Ends it."""
        await self._looking.stop()

    async def _look(self) -> None:
        """Whether the engine is there, is the one it was, and has messages for us."""
        now = time.monotonic()
        try:
            seen = await self._store.runs()
            await self._read_messages()
        except StorageFault as fault:
            self._tell(str(fault))
            return
        self._tell("")
        # A primary that began anew, or took another's place, may lack what was written last.
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
            log.warning("a message in the shared store cannot be read: %s", fault)
            await self._store.forget_messages(peer)  # else no server could leave us any
            return
        for raw in messages:
            try:
                await self._obey(ServerMessage.decode(raw))
            except PeerFault as fault:
                log.warning("a message in the shared store cannot be read: %s", fault)
            except StorageFault:
                raise
            except Exception as error:  # noqa: BLE001 - or this message kept the others from being read
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
            log.warning("an offer that another server took over cannot be withdrawn yet: %s", fault)

    def _tell(self, why: str) -> None:
        before, self.trouble = self.trouble, why
        if self.reachable is not (not why):
            self.reachable = not why
            if self.reachable:
                log.info("the shared store %s answers", self._store.url.shown)
        if why and why != before:
            log.error("%s; lookups go on in the network, registrations wait for it", why)
