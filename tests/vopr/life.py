"""One process, the whole node, on a machine.

The process is what is shipped: `core.node.NodeCore` behind the one pump, `storage.database`,
`storage.journal`, `storage.records`, `storage.peers` and `node_parts.Disk`. Its event loop, its files and its
sockets are virtual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from fastmarket.core.commands import Bootstrap, Command
from fastmarket.core.driving import Driver, pump
from fastmarket.core.events import BugFound, Event, Finished, PeerDisconnected, PeerIdentified, Persist
from fastmarket.core.node import NodeCore
from fastmarket.core.restoring import restore_offers, restore_records
from fastmarket.errors import PeerFault, StorageFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.bootstrap import BootstrapResult
from fastmarket.kad.events import SendRequest
from fastmarket.kad.records.record import Record
from fastmarket.kad.records.shares import NEARBY
from fastmarket.kad.routing.peer_cache import PeerCache
from fastmarket.net.clock import Clock
from fastmarket.net.joining import RETRY_FIRST_S, RETRY_LONGEST_S
from fastmarket.node_parts import Disk
from fastmarket.storage.database import OfferDatabase, RecordRow
from fastmarket.storage.journal import Journal
from fastmarket.storage.peers import FILE, PeerFile, PeerSaver
from fastmarket.storage.records import RecordKeeper
from tests.virtual.node import Addresses
from tests.virtual.values import START, addr_of
from tests.vopr.loop import VirtualLoop
from tests.vopr.network import Exchange
from tests.vopr.small_files import SmallFiles

if TYPE_CHECKING:
    from tests.vopr.machine import Machine

DISK_S = (0.001, 0.012)  # of one call
JOIN_S = 10.0
TIMER_GRAIN_S = 1e-6  # a timer is not early, whatever the conversion between clocks rounds
MAX_INSTANT_TIMERS = 1000  # of one process at one moment of virtual time


class Restoring:
    """What `node_parts.Disk.restore` needs of a `DhtNode`."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self.offers = life.core.offers
        self.bad_count = 0

    def restore_offers(self, kept: Iterable[tuple[bytes, int]], batches: Iterable[Any] = ()) -> Any:
        restored = restore_offers(self._life.core, kept, batches, self._life.now())
        self.bad_count = restored[0] + restored[1].count(None)
        return restored

    def restore_records(self, kept: Iterable[tuple[Record, bool]]) -> None:
        restore_records(self._life.core, kept, self._life.now())


class Life(Driver):
    """One process, from its start to its end."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.world = machine.world
        self.number = machine.number
        self.peer_id = machine.peer_id
        self.config = machine.config
        self.info = machine.info
        self.is_over = self.is_frozen = self.is_stopping = False
        self.kill_in: int | None = None  # actions
        self.ends_at_ack = ""
        """"kill" or "power": this comes together with the next acknowledgement."""
        self.finished: dict[int, Callable[[Finished], None]] = {}
        self.connected: dict[PeerId, Life] = {}
        self.addresses = Addresses()
        self.began_at = self.world.now
        world = self.world
        # The system's clock steps while the process runs; nothing of it may follow.
        self.clock = Clock(lambda: world.now + machine.clock_error_s, lambda: world.now - START)
        self._offset = self.clock.now() - world.now
        self._armed: float | None = None
        self._thawed: list[Callable[[], None]] = []
        self._instant = (0.0, 0)
        self._wait_s = RETRY_FIRST_S
        self.bad_count = 0
        self.loop = VirtualLoop(world, self._delays_s, self._escaped)
        random = Random(f"{world.seed} life {machine.number} {machine.lives}")
        self.core = NodeCore(
            machine.identity, self.config, self.addresses, now=self.now(), entropy=random.randbytes
        )

    # --- start and end

    def boot(self) -> None:
        """As `node_parts` does it: offers come from the disk, before anyone can connect. Raises NodeFault,
        StorageFault."""
        core, storage, directory = self.core, self.config.storage, self.machine.directory
        core.engine.set_local_addrs(self.info.addrs)
        self._database: OfferDatabase | None = None
        self._database = database = OfferDatabase(directory)
        # Otherwise few runs would write as much as one checkpoint needs.
        database._connection.execute(f"PRAGMA wal_autocheckpoint={self.machine.checkpoint_pages}")
        self.journal = Journal(database, storage, self.now)
        restoring = Restoring(self)
        Disk(database, self.journal).restore(restoring)  # type: ignore[arg-type]
        self.bad_count = restoring.bad_count
        core.keep_changes()
        self._records = RecordKeeper(self.journal, storage, self._record_rows)
        file = PeerFile(directory, SmallFiles(self.machine.disk))
        saved = self._saved = PeerCache(self.config.kad, self.peer_id, file.read())
        if f"{FILE}.damaged" in self.machine.disk.names:
            self.world.oracle.violate(
                f"machine {self.number} found a part of {FILE}, neither the old nor the new one"
            )
        self._peers = PeerSaver(file, storage, lambda: saved.snapshot(core.engine.routing, self.now()))

    def join(self) -> None:
        """As `net.joining`: again and again until a peer has answered."""
        if self.is_over or self.is_stopping:
            return
        seeds = [*self.world.seeds_for(self.machine), *self._saved.next_seeds(self.now())]
        distinct = list({seed.peer_id: seed for seed in reversed(seeds)}.values())
        self.start(Bootstrap(distinct, JOIN_S), self._joined)

    def stop(self) -> None:
        """SIGTERM: the parts end in their order, and the last changes are written."""
        if not self.is_stopping:
            self.is_stopping = True
            self.loop.run(self.loop.create_task, self._stop())

    def end(self) -> None:
        """Nothing of this process happens any more. Its connection to SQLite must not live on: it would write
        when it is collected."""
        self.is_over = True
        self.loop.end()
        if self._database is not None:
            life = self.machine.disk.life
            self.machine.disk.life = -1  # files that it has open are stale
            self._database._connection.close()
            self.machine.disk.life = life

    async def _stop(self) -> None:
        await self._peers.close()
        await self._records.close()
        for action in self.core.poll_actions(self.now()):
            if isinstance(action, Persist):
                self.persist(action)
        await self.journal.close()
        self._database = None
        self.machine.ended(self)

    # --- time

    def now(self) -> float:
        """By the clock of this process."""
        return self.clock.now()

    def after_deadline(self, deadline: float, event: Callable[[], None]) -> None:
        """At a time of this process's clock."""
        self.world.at(deadline - self._offset + TIMER_GRAIN_S, event)

    def freeze(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT: what came meanwhile comes at once."""
        self.is_frozen = True
        self.world.after(seconds, self._thaw)

    def when_thawed(self, event: Callable[[], None]) -> None:
        """What waits for that."""
        self._thawed.append(event)

    def heal(self) -> None:
        """No fault is to come any more."""
        self.kill_in, self.ends_at_ack = None, ""
        if self.is_frozen:
            self._thaw()

    def _thaw(self) -> None:
        self.is_frozen = False
        waiting, self._thawed = self._thawed, []
        for event in waiting:
            self.world.after(0.0, event)

    # --- what the network brings

    @property
    def protocols(self) -> Sequence[str]:
        """As identify lists them."""
        return (self.config.kad.protocol, self.config.offers.protocol)

    def others(self) -> list[PeerId]:
        """Of all machines, in order."""
        return [peer_id for peer_id in self.world.by_peer if peer_id != self.peer_id]

    def is_connected(self, other: Machine) -> bool:
        """Whether there is a connection to the process that is there now."""
        life = self.connected.get(other.peer_id)
        return life is not None and life is other.life

    def knows_address(self, peer: PeerInfo, target: Machine) -> bool:
        """Whether a dial leads to that machine."""
        known = {*peer.addrs, *self.addresses.addrs(peer.peer_id)}
        return addr_of(target.address) in known

    def answer(self, sender: PeerId, protocol: str, body: bytes) -> bytes | None:
        """The reply; a liar's, while the machine lies. Raises PeerFault."""
        if self.is_over:
            return None
        liar = self.machine.liar
        reply = None
        try:
            if liar is None:
                reply = self.respond(sender, protocol, body)
            else:
                self.machine.lied_at = self.world.now
                reply = liar.answer(self, sender, protocol, body)
        except PeerFault:
            raise
        except Exception as error:  # noqa: BLE001 - the oracle's business
            self.world.oracle.escaped(f"an answer of machine {self.number}", error)
        if self.core.turn.is_wanted:
            self.turn()
        return reply

    def respond(self, sender: PeerId, protocol: str, body: bytes) -> bytes | None:
        """The node's own."""
        return self.core.responders[protocol](sender, body, self.now(), NEARBY)

    def identified(self, other: Life) -> None:
        """A connection came up, and identify has told what is at its other end."""
        info = other.info
        self.connected[other.peer_id] = other
        if self.addresses.known.get(other.peer_id) != info.addrs:
            self.addresses.known[other.peer_id] = info.addrs
            self.core.caches.invalidate(other.peer_id)
        self.take(lambda now: self.core.handle_peer(PeerIdentified(info, frozenset(other.protocols)), now))

    def disconnected(self, other: Life) -> None:
        """The connection has ended."""
        if self.connected.get(other.peer_id) is other:
            del self.connected[other.peer_id]
            self.take(lambda now: self.core.handle_peer(PeerDisconnected(other.peer_id), now))

    def take(self, event: Callable[[float], object]) -> None:
        """Gives the node an input, and its turn."""
        if self.is_over:
            return
        if self.is_frozen:
            self.when_thawed(lambda: self.take(event))
            return
        try:
            self.loop.run(event, self.now())
        except Exception as error:  # noqa: BLE001 - the oracle's business
            self.world.oracle.escaped(f"an input of machine {self.number}", error)
        self.turn()

    # --- turns

    def start(self, command: Command, finished: Callable[[Finished], None]) -> int:
        """Begins a command. Raises FastmarketError."""
        operation = self.core.start(command, self.now())
        self.finished[operation] = finished
        self.turn()
        return operation

    def turn(self) -> None:
        """Carries out what the node wants, and arms its timer."""
        if self.is_over:
            return
        try:
            self.loop.run(pump, self.core, self, self.now())
        except Killed:
            self.machine.kill()
            return
        except Exception as error:  # noqa: BLE001 - the oracle's business
            self.world.oracle.escaped(f"a turn of machine {self.number}", error)
        when = self.core.next_timer()
        if self._armed is None or when < self._armed:
            self._armed = when
            self.after_deadline(when, lambda: self._on_timer(when))

    @property
    def is_armed(self) -> bool:
        """Whether the timer is armed for what the node wants next."""
        return self._armed is not None and self._armed <= self.core.next_timer()

    def _on_timer(self, when: float) -> None:
        if self.is_over or self._armed != when:
            return
        if self.is_frozen:
            self.when_thawed(lambda: self._on_timer(when))
            return
        self._armed = None
        at, count = self._instant
        count = count + 1 if at == self.world.now else 0
        self._instant = (self.world.now, count)
        if count > MAX_INSTANT_TIMERS:
            self.world.oracle.violate(f"machine {self.number} is due again and again at one moment")
            self.machine.kill()
            return
        self.take(self.core.handle_timer)

    def _count_action(self) -> None:
        if self.is_over:
            raise Killed
        if self.kill_in is not None:
            self.kill_in -= 1
            if self.kill_in < 0:
                raise Killed

    # --- Driver

    def send(self, request: SendRequest) -> None:
        self._count_action()
        Exchange(self.world, self, request).leave()

    def persist(self, action: Persist) -> None:
        if not self.is_stopping:
            self._count_action()
        kept = self.journal.keep(action.changes)
        kept.add_done_callback(lambda done: self._persisted(action.ticket, done.exception()))

    def deliver(self, event: Event) -> None:
        self._count_action()
        if isinstance(event, Finished):
            finished = self.finished.pop(event.operation, None)
            if finished is not None:
                finished(event)
                if self.ends_at_ack and event.fault is None:
                    self._end_at_ack()
        elif isinstance(event, BugFound):
            self.world.oracle.escaped(event.place, event.error)

    # --- private

    def _end_at_ack(self) -> None:
        how, self.ends_at_ack = self.ends_at_ack, ""
        if how == "kill":
            raise Killed
        self.machine.disk.cut_power()
        self.world.lost_power.append(self.machine)

    def _persisted(self, ticket: int, fault: BaseException | None) -> None:
        if fault is not None and not isinstance(fault, StorageFault):
            self.world.oracle.escaped("keeping offers", fault)
        self.take(lambda now: self.core.handle_persisted(ticket, "" if fault is None else str(fault), now))

    def _joined(self, event: Finished) -> None:
        result = event.result
        if isinstance(result, BootstrapResult) and result.connected:
            if result.unanswered_count:
                self.core.engine.maintenance.refresh_soon(self.config.kad.return_delay_s, 0.0, self.now())
            return
        self._wait_s = min(self._wait_s * 2, RETRY_LONGEST_S)
        self.world.after(self._wait_s, lambda: None if self.is_over else self.loop.run(self.join))

    def _record_rows(self) -> list[RecordRow]:
        return [
            RecordRow(record.key, own, record.value, record.publisher, record.received, record.expires)
            for record, own in self.core.records.take_changed()
        ]

    def _delays_s(self) -> tuple[float, float]:
        """Until a call of the disk takes place, and until its result is there."""
        whole = self.machine.random.uniform(*DISK_S) + self.machine.random.random() * self.machine.slow_disk_s
        before = self.machine.random.random() * whole
        return before, whole - before

    def _escaped(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.world.oracle.escaped(str(context.get("message")), error or RuntimeError(str(context)))


class Killed(Exception):
    """The process ended between two actions."""
