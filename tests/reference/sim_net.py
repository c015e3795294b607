"""Twin of fastmarket.native.sim_net: events as calls by name, the log as packed records."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import Enum
from struct import Struct
from typing import TYPE_CHECKING, Any

from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.kad.events import SendRequest
from fastmarket.native.sim_net import NOBODY, Port

if TYPE_CHECKING:
    from fastmarket.native.sim_net import CarrierNetwork

from fastmarket.sim.traffic import FRAME_BYTES
from tests.reference.event_queue import EventQueue

_RECORD = Struct("<dcIIQ")  # time, what, node, other node, request


def wire_bytes(body: bytes) -> int:
    """A request or reply as it travels on a stream that is open already."""
    size = len(body)
    length = 1 if size < 1 << 7 else 2 if size < 1 << 14 else 3
    return length + size + FRAME_BYTES


class Ways:
    def __init__(self, seconds: list[list[float]], waits: list[float], draw: Callable[[], float]) -> None:
        self._seconds, self._waits, self._draw = seconds, waits, draw

    def one_way(self, here: int, there: int) -> float:
        return self._seconds[here][there] + self._waits[int(self._draw() * len(self._waits))]


class MessageLog:
    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def note(self, now: float, what: str, node: int, other: int, request: int) -> None:
        self._digest.update(_RECORD.pack(now, what.encode(), node, other, request))

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


class Exchange:
    def __init__(self, port: Port, action: SendRequest, target: int) -> None:
        self.port, self.action, self.target = port, action, target
        self.over = False


class Carrier(EventQueue):
    __slots__ = ("__dict__",)

    def __init__(
        self,
        start: float,
        ways: Ways,
        regions: bytes,
        draw: Callable[[], float],
        *,
        network: CarrierNetwork,
        numbers: dict[bytes, int],
        loss: float,
        idle_s: float,
        frame_bytes: int,
        states: tuple[Enum, Enum, Enum],
        kinds: tuple[FailureKind, FailureKind, FailureKind, FailureKind],
        fault: type[Exception],
    ) -> None:
        super().__init__(start)
        self._network = network
        self._ways, self._regions, self._draw, self._log = ways, regions, draw, MessageLog()
        self.numbers, self._loss, self._idle_s = numbers, loss, idle_s
        self._up, self._silent, self._down = states
        self._timed_out, self._unreachable, self._refused, self._reset = kinds
        self._fault = fault
        self.ports: dict[int, Port] = {}
        self.states: dict[int, Any] = {}
        self.sides: dict[int, int] = {}
        self.slow: set[int] = set()
        self.failures: dict[FailureKind, int] = {}
        self.requests = self.replies = self.carried_bytes = self.connections = 0

    def hexdigest(self) -> str:
        return self._log.hexdigest()

    def way(self, here: int, there: int, times: int = 1) -> float:
        return sum(self._ways.one_way(self._regions[here], self._regions[there]) for _ in range(times))

    def _cut(self, one: int, other: int) -> bool:
        return bool(self.sides) and self.sides.get(one) != self.sides.get(other)

    def _lost(self) -> bool:
        return self._loss > 0 and self._draw() < self._loss

    def _note(self, what: str, exchange: Exchange) -> None:
        request_id = exchange.action.request_id
        self._log.note(self.now, what, exchange.port.number, exchange.target, request_id)

    def send(self, port: Port, action: SendRequest) -> None:
        target = self.numbers.get(action.peer.peer_id.raw, NOBODY)
        exchange, here = Exchange(port, action, target), port.number
        self._note(">", exchange)
        self.requests += 1
        if target == NOBODY:
            self._end_after(self.way(here, here), exchange, self._unreachable)
            return
        state = self.states.get(target, self._up)
        if state is self._silent or self._cut(here, target):
            self._time_out(exchange)
            return
        link = port.links.get(target)
        if link is not None and link.used_at + self._idle_s < self.now:
            del port.links[target]
            if target in self.ports:
                self.ports[target].links.pop(here, None)
            link = None
        if state is self._down or (link is None and not self._network.dialable(exchange)):
            self._end_after(2 * self.way(here, target), exchange, self._unreachable)
            return
        if link is None:
            link = self._network.dial(port, target)
        link.used_at = max(link.up_at, self.now)
        if self._lost():
            self._time_out(exchange)
            return
        arrives = link.used_at + self.way(here, target)
        if arrives > action.deadline:
            self._time_out(exchange)
        self.at(arrives, self._arrive, exchange)

    def _arrive(self, exchange: Exchange) -> None:
        number, here, action = exchange.target, exchange.port.number, exchange.action
        if self.states.get(number, self._up) is not self._up or self._cut(here, number):
            self._time_out(exchange)
            return
        target = self.ports[number] if number in self.ports else self._network.make(number)
        back = self.way(number, here)
        if number in self.slow:
            back += self._network.slowness()
        choice = next((one for one in action.choices if one.protocol in target.protocols), None)
        if choice is None:
            self._end_after(back, exchange, self._refused)
            return
        self.carried_bytes += wire_bytes(choice.payload)
        reply, reset = None, False
        try:
            reply = target.owner.answer(exchange.port, choice, self.now)
        except self._fault:
            reset = True
        if not choice.expects_reply:
            self._return(exchange, choice, b"")
        elif reset:
            self._end_after(back, exchange, self._reset)
        elif reply is None:
            self._time_out(exchange)
        else:
            self.replies += 1
            self.carried_bytes += wire_bytes(reply)
            lost = self._lost()
            if lost or self.now + back > action.deadline:
                self._time_out(exchange)
            if not lost:
                self.after(back, self._return, exchange, choice, reply)

    def _return(self, exchange: Exchange, choice: Choice, reply: bytes) -> None:
        port = exchange.port
        if exchange.over:
            return
        if self._cut(port.number, exchange.target):
            self._time_out(exchange)
        elif self._ends("<", exchange):
            port.owner.received(exchange.action.request_id, choice.protocol, reply, self.now)

    def _time_out(self, exchange: Exchange) -> None:
        self.at(exchange.action.deadline, self.fail, exchange, self._timed_out)

    def _end_after(self, delay_s: float, exchange: Exchange, kind: FailureKind) -> None:
        if self.now + delay_s > exchange.action.deadline:
            self._time_out(exchange)
        else:
            self.after(delay_s, self.fail, exchange, kind)

    def fail(self, exchange: Exchange, kind: FailureKind) -> None:
        if exchange.over:
            return
        self.failures[kind] = self.failures.get(kind, 0) + 1
        if self._ends("!", exchange):
            exchange.port.owner.failed(exchange.action.request_id, kind, self.now)

    def _ends(self, what: str, exchange: Exchange) -> bool:
        exchange.over = True
        self._note(what, exchange)
        number = exchange.port.number
        return not exchange.port.gone and self.states.get(number, self._up) is self._up
