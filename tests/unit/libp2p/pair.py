"""Two connections joined in memory, with time as an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random

from fastmarket.config import ConnectionConfig
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.libp2p.endpoint import Endpoint
from fastmarket.libp2p.events import Event
from fastmarket.libp2p.muxed import Role
from fastmarket.libp2p.streams import ResponderFactory, RpcResponder
from fastmarket.libp2p.tcp.connection import Connection
from fastmarket.libp2p.tcp.upgrade import NoiseEndpoint

START = 1_000_000.0
ECHO = "/test/echo/1"
RAW = "/test/raw/1"
Protocols = Mapping[str, ResponderFactory | None]
Split = Callable[[bytes], Iterator[bytes]]


def echo(peer: RemotePeer, request: bytes, now: float) -> bytes | None:
    """Answers what it was asked, `silent` excepted."""
    return None if request == b"silent" else b"re:" + request


def default_protocols() -> dict[str, ResponderFactory | None]:
    return {ECHO: RpcResponder.factory(echo, 1 << 16), RAW: None}


def identity_of(seed: int) -> Identity:
    return Identity.from_seed(seed.to_bytes(32, "big"))


def endpoint_of(
    seed: int, protocols: Protocols | None = None, config: ConnectionConfig | None = None
) -> NoiseEndpoint:
    random = Random(seed)
    table = default_protocols() if protocols is None else protocols
    return NoiseEndpoint.create(Endpoint.create(identity_of(seed), random.randbytes, table, config))


def whole(data: bytes) -> Iterator[bytes]:
    yield data


class Pair:
    """`dialer` and `listener`; `run` moves bytes both ways until both are silent and returns the events."""

    def __init__(
        self,
        *,
        dialer: NoiseEndpoint | None = None,
        listener: NoiseEndpoint | None = None,
        expected: PeerId | None = None,
        split: Split = whole,
    ) -> None:
        self.now = START
        self.split = split
        self.dialer = Connection(dialer or endpoint_of(1), Role.DIALER, now=START, expected_peer=expected)
        self.listener = Connection(listener or endpoint_of(2), Role.LISTENER, now=START)
        self.dialer_events: list[Event] = []
        self.listener_events: list[Event] = []

    def run(self) -> tuple[list[Event], list[Event]]:
        """New events of the dialer and of the listener."""
        marks = len(self.dialer_events), len(self.listener_events)
        moved = True
        while moved:
            moved = self._move(self.dialer, self.listener) | self._move(self.listener, self.dialer)
            for connection in (self.dialer, self.listener):
                timer = connection.next_timer()
                if timer is not None and timer <= self.now:
                    connection.handle_timer(self.now)
                    moved = True
            self._collect()
        return self.dialer_events[marks[0] :], self.listener_events[marks[1] :]

    def open(self) -> Pair:
        self.run()
        assert self.dialer.remote_peer, self.dialer_events
        assert self.listener.remote_peer, self.listener_events
        return self

    def advance(self, seconds: float) -> tuple[list[Event], list[Event]]:
        """Time passes, with every timer fired when it is due."""
        marks = len(self.dialer_events), len(self.listener_events)
        until = self.now + seconds
        while True:
            timers = [t for t in (self.dialer.next_timer(), self.listener.next_timer()) if t is not None]
            due = min(timers, default=until)
            if due >= until:
                break
            self.now = max(self.now, due)
            self.dialer.handle_timer(self.now)
            self.listener.handle_timer(self.now)
            self.run()
        self.now = until
        self.dialer.handle_timer(self.now)
        self.listener.handle_timer(self.now)
        self.run()
        return self.dialer_events[marks[0] :], self.listener_events[marks[1] :]

    def _move(self, source: Connection, target: Connection) -> bool:
        data = source.data_to_send()
        for piece in self.split(data) if data else ():
            target.receive_data(piece, self.now)
        return bool(data)

    def _collect(self) -> None:
        for connection, events in ((self.dialer, self.dialer_events), (self.listener, self.listener_events)):
            while (event := connection.next_event()) is not None:
                events.append(event)
