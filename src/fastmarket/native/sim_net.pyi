from collections.abc import Callable, Collection
from enum import Enum
from typing import Any, Final

from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.kad.events import SendRequest
from fastmarket.native.event_queue import EventQueue

NOBODY: Final = 0xFFFFFFFF

class Ways:
    def __init__(self, seconds: list[list[float]], waits: list[float], draw: Callable[[], float]) -> None: ...
    def one_way(self, here: int, there: int) -> float: ...

class MessageLog:
    def note(self, now: float, what: str, node: int, other: int, request: int) -> None: ...
    def hexdigest(self) -> str: ...

class SimLink:
    up_at: float
    used_at: float
    def __init__(self, up_at: float, used_at: float) -> None: ...

class Port:
    protocols: Collection[str]
    answer: Callable[[PeerId, Choice, float], bytes | None]
    answered: Callable[[Choice], None]
    received: Callable[[int, str, bytes, float], None]
    failed: Callable[[int, FailureKind, float], None]
    pump: Callable[[], None]
    gone: bool
    @property
    def number(self) -> int: ...
    @property
    def peer_id(self) -> PeerId: ...
    @property
    def links(self) -> dict[int, SimLink]: ...
    def __init__(self, number: int, peer_id: PeerId) -> None: ...

class Exchange:
    @property
    def action(self) -> SendRequest: ...
    @property
    def target(self) -> int: ...

class Carrier(EventQueue):
    make: Callable[[int], Port]
    dialable: Callable[[Exchange], bool]
    dial: Callable[[Port, int], SimLink]
    slowness: Callable[[], float]
    connections: int
    @property
    def requests(self) -> int: ...
    @property
    def replies(self) -> int: ...
    @property
    def carried_bytes(self) -> int: ...
    @property
    def ports(self) -> dict[int, Port]: ...
    @property
    def numbers(self) -> dict[bytes, int]: ...
    @property
    def states(self) -> dict[int, Any]: ...
    @property
    def sides(self) -> dict[int, int]: ...
    @property
    def failures(self) -> dict[FailureKind, int]: ...
    @property
    def slow(self) -> set[int]: ...
    def __init__(
        self,
        start: float,
        ways: Ways,
        regions: bytes,
        draw: Callable[[], float],
        *,
        numbers: dict[bytes, int],
        loss: float,
        idle_s: float,
        frame_bytes: int,
        states: tuple[Enum, Enum, Enum],
        kinds: tuple[FailureKind, FailureKind, FailureKind, FailureKind],
        fault: type[Exception],
    ) -> None: ...
    def hexdigest(self) -> str: ...
    def way(self, here: int, there: int) -> float: ...
    def send(self, port: Port, action: SendRequest) -> None: ...
    def fail(self, exchange: Exchange, kind: FailureKind) -> None: ...
