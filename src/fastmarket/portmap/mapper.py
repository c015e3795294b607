"""The mappings of one router: which protocol it speaks, when each is renewed, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from fastmarket.config import PortMapConfig
from fastmarket.errors import PeerFault
from fastmarket.portmap import natpmp, pcp
from fastmarket.portmap.epoch import EpochWatch
from fastmarket.portmap.mapping import AskRouter, MapEvent, Mapped, Mapping, MapState, MapStatus, Unmapped
from fastmarket.portmap.messages import (
    NONCE_BYTES,
    IpAddress,
    MapAnswer,
    MapProtocol,
    MapRefusal,
    MapRequest,
    RequestKind,
)
from fastmarket.portmap.outside import Outside, outside_of

# Before a request is repeated, and at last given up: RFC 6886 section 3.1 begins so and goes on for a minute.
# A router is one hop away; who waits here is a seller that nobody can reach.
_RESEND_S: Final = {
    MapProtocol.PCP: (0.25, 0.5, 1.0),
    MapProtocol.NAT_PMP: (0.25, 0.5, 1.0),
    MapProtocol.UPNP: (30.0,),  # a search, a description and a call over HTTP, each with its timeout
}
# Outside ports for when ours is taken: above those of known services.
_FIRST_OTHER, _OTHERS = 20_000, 40_000


@dataclass(slots=True)
class _Port:
    """One of our ports; `due`: when to ask for it."""

    number: int
    wanted: int  # outside
    nonce: bytes
    due: float
    mapping: Mapping | None = None
    conflict_count: int = 0


@dataclass(slots=True)
class _Exchange:
    request: MapRequest
    resend_at: float
    sent_count: int = 1


class PortMapper:
    """Asks one thing at a time. Inputs are followed by `handle_timer`; then actions and events are polled.

    A router that has restarted is asked for all mappings at once, and they count on until it refuses them:
    mostly it grants the same ports again."""

    def __init__(
        self,
        config: PortMapConfig,
        client: IpAddress,
        entropy: Callable[[int], bytes],
        protocols: Sequence[MapProtocol] = tuple(MapProtocol),
    ) -> None:
        """`client`: our address as the router sees it; `entropy(n)`: n random bytes."""
        self._config = config
        self._client = client
        self._entropy = entropy
        self._protocols = protocols
        self._ports: dict[int, _Port] = {}
        self._ending: list[tuple[_Port, Mapping]] = []
        self._actions: list[AskRouter] = []
        self._events: list[MapEvent] = []
        self._exchange: _Exchange | None = None
        self._observed: tuple[IpAddress, ...] = ()
        self._closing = False
        self._rank = 0  # of the protocol in use
        self._speaks = False  # it has answered in that protocol
        self._silent_since: float | None = None
        self._epoch = EpochWatch()
        self._external: IpAddress | None = None
        self._probe_at = -inf
        self._rests_until = -inf
        self._round_count = 0  # in which no protocol mapped
        self._refusal: MapRefusal | None = None
        self._told: IpAddress | None = None  # outside address of a router that refuses
        self._announced_at = -inf
        self.status = MapStatus()

    @property
    def protocol(self) -> MapProtocol:
        """The one that is tried or used."""
        return self._protocols[self._rank]

    @property
    def mappings(self) -> tuple[Mapping, ...]:
        """Those that stand."""
        return tuple(port.mapping for port in self._ports.values() if port.mapping is not None)

    @property
    def is_closed(self) -> bool:
        """After `close`."""
        return self._closing

    @property
    def is_done(self) -> bool:
        """After `close`: whether nothing is left to remove."""
        return self._exchange is None and not self._ending

    # -- inputs

    def set_ports(self, numbers: Iterable[int], now: float) -> None:
        """Which of our TCP ports are to be mapped."""
        wanted = dict.fromkeys(numbers)
        for number in [number for number in self._ports if number not in wanted]:
            self._end(self._ports.pop(number))
        for number in wanted:
            if number not in self._ports:
                self._ports[number] = _Port(number, number, self._entropy(NONCE_BYTES), now)

    def close(self) -> None:
        """Removes all mappings; nothing is asked for any more."""
        self._closing = True
        self._exchange = None
        for port in self._ports.values():
            self._end(port)
        self._ports.clear()

    def handle_datagram(self, data: bytes, now: float) -> None:
        """Takes what came from the router's port."""
        try:
            answer = self._decode(data)
        except PeerFault:
            return  # another program's, or nonsense; the request is repeated
        if answer is not None:
            self.handle_answer(self.protocol, answer, now)

    def handle_refused(self, now: float) -> None:
        """The router's system said that nobody listens at that port."""
        if self.protocol is MapProtocol.UPNP or self._exchange is None:
            return
        if self._speaks:
            self._exchange.resend_at = now
        else:
            self._give_up(self._exchange, now)

    def handle_announcement(self, now: float) -> None:
        """The router told everybody that it began, or that something changed (RFC 6887 section 14.1)."""
        if now - self._announced_at >= self._config.announce_pause_s:
            self._announced_at = now
            self._rests_until = -inf
            self._map_again(now)

    def handle_observed(self, observed: Iterable[IpAddress], now: float) -> None:
        """Under which addresses strangers see us, as far as enough of them agree."""
        found = tuple(observed)
        if found == self._observed:
            return
        self._observed = found
        if self.status.state is MapState.MAPPED:
            self._map_again(now)  # perhaps the router has another address now
            self._tell()

    def handle_silence(self, now: float) -> None:
        """The UPnP library found no router, or the router did not answer it."""
        if self.protocol is MapProtocol.UPNP and self._exchange is not None:
            self._give_up(self._exchange, now)

    def handle_answer(self, protocol: MapProtocol, answer: MapAnswer, now: float) -> None:
        """Takes what the router answered, in UPnP what the library made of it."""
        exchange = self._exchange
        if exchange is None or protocol is not self.protocol or not _fits(exchange.request, answer):
            return
        self._exchange, self._silent_since = None, None
        self._speaks = True
        if answer.epoch_s is not None and self._epoch.has_restarted(answer.epoch_s, now):
            self._map_again(now)
        if answer.is_lost:
            self._map_again(now)
        if answer.refusal is not None:
            self._told = answer.external_ip or self._told
            self._on_refused(exchange.request, answer.refusal, now)
        else:
            self._on_granted(exchange.request, answer, now)

    def handle_timer(self, now: float) -> None:
        """Sends what is due."""
        for port in self._ports.values():
            if port.mapping is not None and port.mapping.expires <= now:
                self._lose(port)
        if self._exchange is not None and now >= self._exchange.resend_at:
            self._resend(self._exchange, now)
        if self._exchange is None:
            request = self._next_request(now)
            if request is not None:
                self._exchange = _Exchange(request, now + _RESEND_S[self.protocol][0])
                self._ask(request)
        self._tell()

    # -- outputs

    def next_timer(self) -> float:
        """When `handle_timer` has something to do; `inf`: not before other input."""
        if self._exchange is not None:
            return self._exchange.resend_at
        if self._ending:
            return -inf
        if self._closing or not self._ports:
            return inf
        expiries = [mapping.expires for mapping in self.mappings]
        dues = [port.due for port in self._ports.values()]
        if self.status.state is MapState.MAPPED:
            dues.append(self._probe_at)
        return min(*expiries, max(min(dues), self._rests_until), inf)

    def poll_actions(self) -> list[AskRouter]:
        """What to ask of the router."""
        actions, self._actions = self._actions, []
        return actions

    def poll_events(self) -> list[MapEvent]:
        """What has changed."""
        events, self._events = self._events, []
        return events

    # -- within

    def _next_request(self, now: float) -> MapRequest | None:
        if self._ending:
            port, mapping = self._ending[0]
            return MapRequest(RequestKind.UNMAP, port.number, mapping.external_port, 0, port.nonce)
        if self._closing or not self._ports or now < self._rests_until:
            return None
        due = [port for port in self._ports.values() if port.due <= now]
        needs_address = self.protocol is MapProtocol.NAT_PMP and self._external is None
        if due and not needs_address:
            port = due[0]
            lifetime = self._config.lifetime_s
            return MapRequest(RequestKind.MAP, port.number, port.wanted, lifetime, port.nonce)
        if due or (self.mappings and self._probe_at <= now):
            known = self.mappings
            return MapRequest(RequestKind.PROBE, external_port=known[0].external_port if known else 0)
        return None

    def _ask(self, request: MapRequest) -> None:
        data = None
        if self.protocol is MapProtocol.PCP:
            data = pcp.encode_request(request, self._client)
        elif self.protocol is MapProtocol.NAT_PMP:
            data = natpmp.encode_request(request)
        self._actions.append(AskRouter(self.protocol, request, data))

    def _decode(self, data: bytes) -> MapAnswer | None:
        if self.protocol is MapProtocol.UPNP:
            return None
        return pcp.decode_answer(data) if self.protocol is MapProtocol.PCP else natpmp.decode_answer(data)

    def _resend(self, exchange: _Exchange, now: float) -> None:
        waits = _RESEND_S[self.protocol]
        if exchange.sent_count < len(waits):
            exchange.resend_at = now + waits[exchange.sent_count]
            exchange.sent_count += 1
            self._ask(exchange.request)
        else:
            self._give_up(exchange, now)

    def _give_up(self, exchange: _Exchange, now: float) -> None:
        self._exchange = None
        if exchange.request.kind is RequestKind.UNMAP:
            self._ending.pop(0)
        elif not self._speaks:
            self._try_next(None, now)
        else:
            self._on_silence(now)

    def _on_silence(self, now: float) -> None:
        """Of a router that answered before: it restarts, perhaps; its mappings count on meanwhile."""
        if self._silent_since is None:
            self._silent_since = now
        if now - self._silent_since >= self._config.silent_limit_s:
            self._rank = -1
            self._try_next(None, now)
            return
        self._rests_until = now + self._config.silent_retry_s

    def _on_refused(self, request: MapRequest, refusal: MapRefusal, now: float) -> None:
        if request.kind is RequestKind.UNMAP:
            self._ending.pop(0)
            return
        if request.kind is RequestKind.PROBE and self.protocol is MapProtocol.PCP:
            self._probe_at = now + self._config.probe_s  # it answers, which is what was asked
            return
        port = self._ports.get(request.internal_port)
        if port is not None and refusal is MapRefusal.CONFLICT:
            port.conflict_count += 1
            if port.conflict_count <= self._config.max_conflicts:
                port.wanted = _FIRST_OTHER + int.from_bytes(self._entropy(2), "big") % _OTHERS
                return
        self._try_next(refusal, now)

    def _on_granted(self, request: MapRequest, answer: MapAnswer, now: float) -> None:
        self._probe_at = now + self._config.probe_s
        if answer.external_ip is not None:
            if request.kind is RequestKind.PROBE and answer.external_ip != self._external:
                self._map_again(now)
            self._external = answer.external_ip
        if request.kind is RequestKind.UNMAP:
            self._ending.pop(0)
            return
        if self._external is not None and self._external.is_unspecified:
            self._external = None
            self._try_next(MapRefusal.NO_NETWORK, now)
            return
        port = self._ports.get(request.internal_port)
        if request.kind is not RequestKind.MAP or port is None:
            return
        if self._external is None and self.protocol is MapProtocol.NAT_PMP:
            return  # it has restarted between its address and this; both are asked for again
        if self._external is None or not answer.external_port:
            self._try_next(MapRefusal.FAILED, now)
            return
        lifetime = min(answer.lifetime_s, self._config.lifetime_s) or self._config.lifetime_s
        port.due = now + lifetime / 2
        port.wanted, port.conflict_count = answer.external_port, 0
        made = Mapping(port.number, self._external, answer.external_port, now + lifetime)
        before, port.mapping = port.mapping, made
        self._round_count, self._refusal, self._told = 0, None, None
        if before is None or replace(before, expires=made.expires) != made:
            self._events.append(Mapped(made, before))

    def _map_again(self, now: float) -> None:
        """Asks for all mappings; in NAT-PMP, for the address before that."""
        if self.protocol is MapProtocol.NAT_PMP:
            self._external = None
        for port in self._ports.values():
            port.due = now

    def _try_next(self, refusal: MapRefusal | None, now: float) -> None:
        """The protocol does not map: the next one, or all again after a pause."""
        if refusal is not MapRefusal.FAILED or self._refusal is None:
            self._refusal = refusal or self._refusal
        self._rank += 1
        self._speaks, self._silent_since, self._external = False, None, None
        self._epoch = EpochWatch()
        for port in self._ports.values():
            self._lose(port)
            port.due, port.wanted, port.conflict_count = now, port.number, 0
        self._ending.clear()
        if self._rank == len(self._protocols):
            self._rank = 0
            pause = self._config.retry_s * 2.0 ** min(self._round_count, 16)
            self._rests_until = now + min(pause, self._config.max_retry_s)
            self._round_count += 1
        self._tell()

    def _end(self, port: _Port) -> None:
        if port.mapping is not None:
            self._ending.append((port, port.mapping))
            self._lose(port)

    def _lose(self, port: _Port) -> None:
        if port.mapping is not None:
            self._events.append(Unmapped(port.mapping))
            port.mapping = None

    def _tell(self) -> None:
        """An event, if the status is another one."""
        known = self.mappings
        if known:
            outside = outside_of(known[0].external_ip, self._observed)
            status = MapStatus(MapState.MAPPED, self.protocol, known[0].external_ip, outside)
        elif self._round_count:
            outside = Outside.PUBLIC if self._told is None else outside_of(self._told)
            status = MapStatus(MapState.NONE, None, self._told, outside, self._refusal)
        else:
            status = MapStatus()
        if status != self.status:
            self.status = status
            self._events.append(status)


def _fits(request: MapRequest, answer: MapAnswer) -> bool:
    """Whether it is the answer to that request: ports and nonces of others are on the same socket."""
    if answer.refusal is not None:
        return answer.nonce is None or answer.nonce == request.nonce
    if answer.kind is not request.kind:
        return False
    if request.kind is RequestKind.PROBE:
        return True
    return answer.internal_port == request.internal_port and answer.nonce in (None, request.nonce)
