"""A router in virtual time: answers PCP and NAT-PMP by the RFCs, as far as a client sees them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from random import Random

from fastmarket.config import PortMapConfig
from fastmarket.portmap.mapper import PortMapper
from fastmarket.portmap.mapping import MapEvent
from fastmarket.portmap.messages import MapAnswer, MapProtocol, MapRefusal, MapRequest, RequestKind

CLIENT = IPv4Address("192.168.1.2")
OUTSIDE = IPv4Address("11.0.0.2")
START = 1_700_000_000.0
ANY = bytes(12)


@dataclass
class Router:
    """What it speaks, and what it has mapped: outside port to inside port."""

    speaks: frozenset[MapProtocol] = frozenset({MapProtocol.PCP})
    outside: IPv4Address = OUTSIDE
    booted: float = START - 1000
    mapped: dict[int, int] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)  # outside ports of others
    code: int = 0  # what mappings are refused with
    lifetime_s: int = 7200
    is_silent: bool = False
    asked: list[bytes] = field(default_factory=list)

    def restart(self, now: float) -> None:
        self.booted = now
        self.mapped.clear()

    def answer(self, data: bytes, now: float) -> bytes | None:
        self.asked.append(data)
        if self.is_silent:
            return None
        epoch = int(now - self.booted)
        if data[0] == 2:
            if MapProtocol.PCP in self.speaks:
                return self._pcp(data, epoch)
            return struct.pack("!BBHI", 0, 128 + data[1], 1, epoch) if self.speaks_natpmp else None
        return self._natpmp(data, epoch) if self.speaks_natpmp else None

    @property
    def speaks_natpmp(self) -> bool:
        return MapProtocol.NAT_PMP in self.speaks

    def _pcp(self, data: bytes, epoch: int) -> bytes:
        opcode, lifetime = data[1], int.from_bytes(data[4:8], "big")
        head = struct.pack("!BBxBII12x", 2, 128 + opcode, 0, min(lifetime, self.lifetime_s), epoch)
        if opcode == 0:
            return head
        nonce, _, inside, wanted, _ = struct.unpack_from("!12sBxxxHH16s", data, 24)
        code = self.code or (11 if wanted in self.taken else 0)
        head = struct.pack("!BBxBII12x", 2, 129, code, min(lifetime, self.lifetime_s), epoch)
        if not code:
            self._set(inside, wanted, lifetime)
        return head + struct.pack(
            "!12sBxxxHH16s", nonce, 6, inside, wanted, bytes(10) + b"\xff\xff" + self.outside.packed
        )

    def _natpmp(self, data: bytes, epoch: int) -> bytes:
        if data[1] == 0:
            return struct.pack("!BBHI", 0, 128, 0, epoch) + self.outside.packed
        inside, wanted, lifetime = struct.unpack("!HHI", data[4:12])
        if self.code:
            return struct.pack("!BBHIHHI", 0, 130, self.code, epoch, inside, 0, 0)
        while wanted in self.taken:
            wanted += 1
        self._set(inside, wanted, lifetime)
        return struct.pack("!BBHIHHI", 0, 130, 0, epoch, inside, wanted, min(lifetime, self.lifetime_s))

    def _set(self, inside: int, outside: int, lifetime: int) -> None:
        for known in [known for known, port in self.mapped.items() if port == inside]:
            del self.mapped[known]
        if lifetime:
            self.mapped[outside] = inside

    def answer_upnp(self, request: MapRequest) -> MapAnswer | None:
        """What the library would make of its answer; None: it found no router."""
        if MapProtocol.UPNP not in self.speaks or self.is_silent:
            return None
        if request.kind is RequestKind.PROBE:
            is_lost = request.external_port not in self.mapped
            return MapAnswer(request.kind, external_ip=self.outside, is_lost=is_lost)
        if request.kind is RequestKind.MAP and request.external_port in self.taken:
            return MapAnswer(request.kind, MapRefusal.CONFLICT)
        self._set(request.internal_port, request.external_port, request.lifetime_s)
        return MapAnswer(
            request.kind,
            external_ip=self.outside,
            internal_port=request.internal_port,
            external_port=request.external_port,
            lifetime_s=request.lifetime_s,
        )


class Home:
    """A mapper before a router, in virtual time."""

    def __init__(self, router: Router, config: PortMapConfig | None = None, *ports: int) -> None:
        self.router = router
        self.now = START
        self.mapper = PortMapper(config or PortMapConfig(), CLIENT, Random(1).randbytes)
        self.events: list[MapEvent] = []
        self.asked: list[tuple[float, MapProtocol, RequestKind]] = []
        self.mapper.set_ports(ports or (4001,), self.now)

    def turn(self) -> None:
        """One turn; what it asks is answered in it."""
        self.mapper.handle_timer(self.now)
        for ask in self.mapper.poll_actions():
            self.asked.append((self.now, ask.protocol, ask.request.kind))
            if ask.data is None:
                found = self.router.answer_upnp(ask.request)
                if found is None:
                    self.mapper.handle_silence(self.now)
                else:
                    self.mapper.handle_answer(ask.protocol, found, self.now)
            elif (reply := self.router.answer(ask.data, self.now)) is not None:
                self.mapper.handle_datagram(reply, self.now)
        self.events += self.mapper.poll_events()

    def run(self, seconds: float) -> None:
        """All turns of that time."""
        end = self.now + seconds
        for _ in range(100_000):
            self.turn()
            due = self.mapper.next_timer()
            if due > end:
                break
            self.now = max(self.now, due)
        else:
            raise AssertionError("it does not come to rest")
        self.now = end
        self.turn()

    def take(self, kind: type[MapEvent]) -> list[MapEvent]:
        """Events of a kind since the last call."""
        found = [event for event in self.events if isinstance(event, kind)]
        self.events = [event for event in self.events if not isinstance(event, kind)]
        return found
