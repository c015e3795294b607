"""The network between the machines: delays, losses, cuts; and one request on its way."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from fastmarket.core.events import PeerUnreachable
from fastmarket.errors import PeerFault
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.kad.events import SendRequest

if TYPE_CHECKING:
    from tests.vopr.life import Life
    from tests.vopr.machine import Machine
    from tests.vopr.world import World

LATENCY_S = (0.002, 0.060)  # one way
DIAL_TIMEOUT_S = 5.0  # to an address where nothing answers
IDLE_S = 40.0  # a connection over which nothing comes for so long has ended
EXTRA_DELAY_S = 3.0  # at most, of what is sent a second time


@dataclass
class Conditions:
    """What is wrong at present. Machines are numbers; a pair is one direction."""

    cuts: list[frozenset[int]] = field(default_factory=list)  # each of these sets is apart from the others
    one_way: list[tuple[int, int]] = field(default_factory=list)
    loss: float = 0.0
    duplicates: float = 0.0
    delay_s: dict[int, float] = field(default_factory=dict)

    def passes(self, sender: int, receiver: int) -> bool:
        """Whether anything sent arrives."""
        if (sender, receiver) in self.one_way:
            return False
        return not any((sender in cut) != (receiver in cut) for cut in self.cuts)

    def heal(self) -> None:
        """Nothing is wrong."""
        self.cuts.clear()
        self.one_way.clear()
        self.delay_s.clear()
        self.loss = self.duplicates = 0.0


class Network:
    """Delays of what leaves now, in an order that depends on the seed alone."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.conditions = Conditions()
        self.sent = 0
        self.arrived = 0

    def delay(self, sender: int, receiver: int) -> float | None:
        """Seconds until it arrives; None: it does not."""
        conditions = self.conditions
        if not conditions.passes(sender, receiver):
            return None
        if conditions.loss and self._random.random() < conditions.loss:
            return None
        delay = self._random.uniform(*LATENCY_S)
        slow = conditions.delay_s
        if slow:
            delay += self._random.random() * (slow.get(sender, 0.0) + slow.get(receiver, 0.0))
        return delay

    def again(self) -> float | None:
        """Seconds after which what has arrived arrives a second time; None: it does not."""
        if not self.conditions.duplicates or self._random.random() >= self.conditions.duplicates:
            return None
        return self._random.random() * EXTRA_DELAY_S


class Exchange:
    """Exactly one outcome reaches the sender, if its process still lives."""

    __slots__ = ("_is_over", "_request", "_sender", "_world")

    def __init__(self, world: World, sender: Life, request: SendRequest) -> None:
        self._world = world
        self._sender = sender
        self._request = request
        self._is_over = False

    def leave(self) -> None:
        """It is dialed first where there is no connection; then both sides identify each other."""
        world, sender, request = self._world, self._sender, self._request
        world.note("send", sender.number, request.request_id)
        world.network.sent += 1
        sender.after_deadline(request.deadline, lambda: self.fail(FailureKind.TIMEOUT))
        target = world.by_peer.get(request.peer.peer_id)
        if target is None or (
            not sender.is_connected(target) and not sender.knows_address(request.peer, target)
        ):
            self._fail_dial(FailureKind.UNREACHABLE, world.network.delay(sender.number, sender.number))
            return
        delay = world.network.delay(sender.number, target.number)
        if sender.is_connected(target):
            if delay is not None:
                world.after(delay, lambda: self.arrive(target))
        elif delay is None or target.is_off:
            self._fail_dial(FailureKind.UNREACHABLE, DIAL_TIMEOUT_S)
        elif target.life is None:
            self._fail_dial(FailureKind.GONE, delay * 2)
        else:
            world.after(delay * 2, lambda: world.meet(sender.machine, target))
            world.after(delay * 3, lambda: self.arrive(target))

    def arrive(self, target: Machine) -> None:
        """At the process that is there now."""
        world, sender = self._world, self._sender
        life = target.life
        if life is None:
            if not target.is_off:
                self.fail_later(FailureKind.GONE, target)
            return
        if life.is_frozen:
            life.when_thawed(lambda: self.arrive(target))
            return
        choice = next((one for one in self._request.choices if one.protocol in life.protocols), None)
        if choice is None:
            self.fail_later(FailureKind.REFUSED, target)
            return
        world.network.arrived += 1
        again = world.network.again()
        if again is not None:
            world.after(again, lambda: self._arrive_again(life, choice))
        try:
            reply = life.answer(sender.peer_id, choice.protocol, choice.payload)
        except PeerFault:
            self.fail_later(FailureKind.RESET, target)
            return
        payload = reply if choice.expects_reply else b""
        back = world.network.delay(target.number, sender.number)
        if payload is not None and back is not None:
            world.after(back, lambda: self.succeed(choice.protocol, payload))

    def _arrive_again(self, life: Life, choice: Choice) -> None:
        with suppress(PeerFault):  # of this answer nothing is heard
            life.answer(self._sender.peer_id, choice.protocol, choice.payload)

    def succeed(self, protocol: str, payload: bytes) -> None:
        """The reply has come."""
        sender = self._sender
        if not self._end("reply"):
            return
        number = self._request.request_id
        sender.take(lambda now: sender.core.handle_reply(number, protocol, payload, now))

    def fail_later(self, kind: FailureKind, target: Machine) -> None:
        """The failure has to come all the way."""
        back = self._world.network.delay(target.number, self._sender.number)
        if back is not None:
            self._world.after(back, lambda: self.fail(kind))

    def fail(self, kind: FailureKind) -> None:
        """There will be no reply."""
        sender = self._sender
        if not self._end(kind.value):
            return
        number = self._request.request_id
        sender.take(lambda now: sender.core.handle_failure(number, kind, now))

    def _fail_dial(self, kind: FailureKind, after_s: float | None) -> None:
        sender, peer_id = self._sender, self._request.peer.peer_id

        def failed() -> None:
            if not self._is_over and not sender.is_over:
                sender.take(lambda now: sender.core.handle_peer(PeerUnreachable(peer_id), now))
            self.fail(kind)

        self._world.after(DIAL_TIMEOUT_S if after_s is None else after_s, failed)

    def _end(self, what: str) -> bool:
        if self._is_over:
            return False
        self._is_over = True
        self._world.note(what, self._sender.number, self._request.request_id)
        return not self._sender.is_over
