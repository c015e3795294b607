"""Requests and replies over kept streams of one connection.

One request at a time on a stream; an idle stream is used again, at most `request_streams` of them a protocol,
and further requests wait. A request that finds its kept stream dead is sent again, once, on a fresh one.

After a request's deadline `Failed(TIMEOUT)` is reported, but its stream lives on for `late_reply_grace_s`:
should the reply still come, `Reply(late=True)` follows. (Over 400 lines: what may happen to a request and its
stream hangs together.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from heapq import heappop, heappush
from itertools import count
from math import inf

from fastmarket.errors import ConnectionLost, LimitExceeded, PeerFault, StreamFailed
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.varint import frame
from fastmarket.libp2p.events import (
    Closed,
    Event,
    NegotiationFailed,
    Opened,
    PeerLeaving,
    StreamEnded,
    StreamReady,
    StreamReset,
)
from fastmarket.libp2p.kept_stream import KeptStream, Request
from fastmarket.libp2p.muxed import ConnectionState, MuxedConnection
from fastmarket.libp2p.outcomes import Failed, Reply, RequestResult

__all__ = ["Failed", "RequestResult", "Reply", "RequestPool"]


class RequestPool:
    """All requests of ours over one connection."""

    __slots__ = (
        "_config",
        "_connection",
        "_idle",
        "_keep",
        "_leaving",
        "_order",
        "_outcomes",
        "_queues",
        "_refused",
        "_slots",
        "_streams",
        "_supported",
        "_timers",
        "held_bytes",
    )

    def __init__(self, connection: MuxedConnection) -> None:
        self._connection = connection
        self._config = connection.config
        self._supported: frozenset[str] | None = None  # what identify said
        self._keep = True
        self._refused: set[str] = set()  # what negotiation showed, until identify speaks
        self._streams: dict[int, KeptStream] = {}
        self._idle: dict[str, deque[KeptStream]] = {}  # oldest first
        self._leaving: deque[KeptStream] = deque()  # likewise
        self._slots: dict[str, int] = {}  # streams that count, by protocol
        self._queues: dict[str, deque[Request]] = {}  # by the protocol they wait for
        self._timers: list[tuple[float, int, Request]] = []
        self._order = count()
        self._outcomes: list[RequestResult] = []
        self.held_bytes = 0
        """Bytes of replies that have come in part."""

    # For the shell

    @property
    def pending_count(self) -> int:
        """Requests without outcome."""
        return sum(1 for _ in self._live_requests())

    @property
    def resting_stream_count(self) -> int:
        """Streams of ours that no request is on."""
        return sum(1 for kept in self._streams.values() if kept.request is None)

    def retire(self, now: float) -> None:
        """The connection is to end: no stream is kept any more, and requests that wait for one fail."""
        self._keep = False
        for streams in self._idle.values():
            while streams:
                self._let_go(streams.popleft(), now)
        for queue in self._queues.values():
            for request in queue:
                if not request.done:
                    self._fail(request, FailureKind.CLOSED)
        self._queues.clear()

    def set_protocols(self, protocols: frozenset[str], *, keep: bool = True) -> None:
        """What the peer speaks (identify): requests then open streams lazily, in a protocol it has.

        `keep` False: it suffers from streams that are kept, so each serves one request.
        """
        self._supported = protocols
        self._keep = self._keep and keep
        self._refused.clear()

    def request(self, request_id: int, choices: Sequence[Choice], now: float, deadline: float) -> None:
        """Sends the first of `choices` the peer speaks; its outcome comes by `poll_outcomes`."""
        request = Request(request_id, tuple(choices), deadline)
        if self._connection.state is ConnectionState.CLOSED:
            self._fail(request, FailureKind.CLOSED)
        elif deadline <= now:
            self._fail(request, FailureKind.TIMEOUT)
        else:
            heappush(self._timers, (deadline, next(self._order), request))
            self._place(request, now)

    def poll_outcomes(self) -> list[RequestResult]:
        """Outcomes since the last call, in order."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def feed(self, event: Event, now: float) -> bool:
        """True when `event` was about a stream of this pool; others are still the caller's to look at."""
        handler = _HANDLERS.get(type(event))
        if handler is not None:
            handler(self, event, now)
            return False
        kept = self._streams.get(getattr(event, "stream_id", 0))
        if kept is None:
            return False
        _STREAM_HANDLERS[type(event)](self, kept, event, now)
        return True

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called."""
        timers = self._timers
        while timers and timers[0][2].done:
            heappop(timers)
        first = timers[0][0] if timers else inf
        for streams in self._idle.values():
            first = min(first, streams[0].since + self._config.request_idle_s) if streams else first
        while self._leaving and self._leaving[0].stream_id not in self._streams:
            self._leaving.popleft()
        if self._leaving:
            first = min(first, self._leaving[0].since + self._config.late_reply_grace_s)
        return None if first == inf else first

    def handle_timer(self, now: float) -> None:
        """Deadlines, ends of grace, idle streams."""
        timers = self._timers
        while timers and (timers[0][0] <= now or timers[0][2].done):
            request = heappop(timers)[2]
            if not request.done:
                self._time_out(request, now)
        for streams in self._idle.values():
            while streams and streams[0].since + self._config.request_idle_s <= now:
                self._let_go(streams.popleft(), now)
        leaving = self._leaving
        while leaving and leaving[0].since + self._config.late_reply_grace_s <= now:
            kept = leaving.popleft()
            if self._streams.get(kept.stream_id) is kept:
                self._connection.reset(kept.stream_id, now)
                self._drop(kept)
        self._serve_queues(now)

    # Placing requests

    def _place(self, request: Request, now: float) -> None:
        choice = self._choice(request)
        if choice is None:
            self._fail(request, FailureKind.REFUSED)
        elif not self._send(request, choice, now):
            if sum(map(len, self._queues.values())) < self._config.request_queue:
                self._queues.setdefault(choice.protocol, deque()).append(request)
            else:
                self._fail(request, FailureKind.BUSY)

    def _choice(self, request: Request) -> Choice | None:
        """The first that the peer speaks; while nothing is known, that it has not refused."""
        supported, refused = self._supported, self._refused
        for choice in request.choices:
            if choice.protocol not in refused and (supported is None or choice.protocol in supported):
                return choice
        return None

    def _send(self, request: Request, choice: Choice, now: float) -> bool:
        """False when it has to wait."""
        idle = self._idle.get(choice.protocol)
        if idle and not request.retried:
            kept = idle.pop()
            kept.reused = True
            self._write(kept, request, choice, now)
            return True
        slots = self._slots.get(choice.protocol, 0)
        if self._connection.state is not ConnectionState.OPEN or slots >= self._config.request_streams:
            return False
        # Until identify has spoken the protocol is taken for supported; a refusal leads to the next one.
        # Where no reply would tell of a refusal, the agreement is waited for.
        known = self._supported is not None
        lazy = known or choice.expects_reply
        try:
            stream_id = self._connection.open_stream((choice.protocol,), now, lazy=lazy)
        except LimitExceeded:
            return False
        except ConnectionLost:  # the peer is leaving
            self._fail(request, FailureKind.CLOSED)
            return True
        kept = KeptStream(stream_id, self._config.max_reply_bytes, choice)
        kept.guessed = lazy and not known
        self._slots[choice.protocol] = slots + 1
        self._streams[stream_id] = kept
        self._connection.deliver(stream_id, partial(self._on_data, kept))
        kept.request, request.kept = request, kept
        if lazy:
            self._write(kept, request, choice, now)
        return True

    def _write(self, kept: KeptStream, request: Request, choice: Choice, now: float) -> None:
        kept.protocol, kept.request, request.kept = choice.protocol, request, kept
        try:
            self._connection.send(kept.stream_id, frame(choice.payload), now)
        except StreamFailed:  # its end is among the events to come
            return
        if not choice.expects_reply:
            self._finish(request, Reply(request.request_id, choice.protocol, b""))
            # One used before is agreed on, and its peer goes on reading.
            (self._rest if kept.reused and self._keep else self._let_go)(kept, now)

    def _serve_queues(self, now: float) -> None:
        for queue in list(self._queues.values()):
            while queue:
                request = queue[0]
                if not request.done:
                    choice = self._choice(request)
                    if choice is None:
                        self._fail(request, FailureKind.REFUSED)
                    elif not self._send(request, choice, now):
                        break
                queue.popleft()

    # Events

    def _on_opened(self, event: Opened, now: float) -> None:
        self._serve_queues(now)

    def _on_closed(self, event: Closed, now: float) -> None:
        for request in list(self._live_requests()):
            self._fail(request, FailureKind.CLOSED)
        for state in (self._streams, self._idle, self._slots, self._queues, self._leaving, self._timers):
            state.clear()
        self.held_bytes = 0

    def _live_requests(self) -> Iterator[Request]:
        """Those without outcome, or whose late reply is still welcome."""
        yield from (request for queue in self._queues.values() for request in queue if not request.done)
        yield from (kept.request for kept in self._streams.values() if kept.request is not None)

    def _on_ready(self, kept: KeptStream, event: StreamReady, now: float) -> None:
        kept.guessed = False
        if kept.protocol is None and kept.request is not None:
            self._write(kept, kept.request, kept.proposed, now)

    def _on_refused(self, kept: KeptStream, event: NegotiationFailed, now: float) -> None:
        request = kept.request
        self._refused.add(kept.proposed.protocol)
        self._drop(kept)
        if request is not None and request.timed_out:
            request.done = True
        elif request is not None:
            self._place(request, now)
        self._serve_queues(now)

    def _on_data(self, kept: KeptStream, data: bytes, now: float) -> None:
        """Bytes of a kept stream, straight from the muxer."""
        if kept.leaving:
            return  # py-libp2p answers even what expects no reply
        decoder = kept.decoder
        self.held_bytes -= decoder.pending
        try:
            bodies = decoder.feed(data)
            request = kept.request
            if len(bodies) > 1 or (bodies and (request is None or decoder.pending)):
                raise PeerFault("a reply nobody asked for")
            self.held_bytes += decoder.pending
        except PeerFault:
            decoder.clear()
            self._connection.reset(kept.stream_id, now)
            self._lose(kept, FailureKind.PEER_FAULT, now)
            return
        if not bodies or request is None or kept.protocol is None:
            return
        self._finish(request, Reply(request.request_id, kept.protocol, bodies[0], request.timed_out))
        # It may have been late, and the slot been given away.
        (self._rest if self._keep and kept.slot is not None else self._let_go)(kept, now)
        if self._queues:
            self._serve_queues(now)

    def _on_ended(self, kept: KeptStream, event: StreamEnded, now: float) -> None:
        if kept.request is None:
            self._remove_idle(kept)
            self._let_go(kept, now)
            self._drop(kept)
        else:
            self._connection.reset(kept.stream_id, now)
            self._lose(kept, FailureKind.RESET, now)

    # Ends

    def _lose(self, kept: KeptStream, kind: FailureKind, now: float) -> None:
        request = kept.request
        self._remove_idle(kept)
        self._drop(kept)
        if request is not None:
            request.kept = None
            if kind is FailureKind.RESET and not request.timed_out and self._try_again(kept, request):
                self._place(request, now)
            else:
                self._fail(request, kind)
        self._serve_queues(now)

    def _try_again(self, kept: KeptStream, request: Request) -> bool:
        """After a reset: a listener may choke on what came behind a proposal it does not know before it
        refuses that; a kept stream may have died unseen."""
        if kept.guessed:
            self._refused.add(kept.proposed.protocol)
            if self._choice(request) is not None:
                return True
            self._refused.discard(kept.proposed.protocol)
            return False
        if kept.decoder.pending or request.retried or not kept.reused:
            return False
        request.retried = True
        return True

    def _time_out(self, request: Request, now: float) -> None:
        kept = request.kept
        if request.timed_out or kept is None or kept.protocol is None:
            if kept is not None:
                self._connection.reset(kept.stream_id, now)
                self._drop(kept)
            self._fail(request, FailureKind.TIMEOUT)
            return
        request.timed_out = True
        self._outcomes.append(Failed(request.request_id, FailureKind.TIMEOUT))
        self._free_slot(kept)
        heappush(self._timers, (now + self._config.late_reply_grace_s, next(self._order), request))

    def _finish(self, request: Request, outcome: RequestResult) -> None:
        request.done = True
        request.kept = None
        self._outcomes.append(outcome)

    def _fail(self, request: Request, kind: FailureKind) -> None:
        """One that timed out has been reported already."""
        if not request.timed_out:
            unsent = kind is FailureKind.CLOSED and (request.kept is None or request.kept.protocol is None)
            self._outcomes.append(Failed(request.request_id, kind, unsent))
        request.done = True
        request.kept = None

    def _rest(self, kept: KeptStream, now: float) -> None:
        """The stream is there for the next request."""
        kept.request = None
        kept.since = now
        self._idle.setdefault(kept.protocol or "", deque()).append(kept)

    def _let_go(self, kept: KeptStream, now: float) -> None:
        """Half-closes a stream with nothing more to do on it; it stays until the peer does the same."""
        kept.request = None
        kept.leaving = True
        kept.since = now
        self._free_slot(kept)
        self._leaving.append(kept)
        with suppress(StreamFailed):  # gone by itself
            self._connection.close_write(kept.stream_id, now)

    def _drop(self, kept: KeptStream) -> None:
        if self._streams.pop(kept.stream_id, None) is not None:
            self.held_bytes -= kept.decoder.pending
        self._free_slot(kept)
        kept.request = None

    def _free_slot(self, kept: KeptStream) -> None:
        if kept.slot is not None:
            self._slots[kept.slot] -= 1
            kept.slot = None

    def _remove_idle(self, kept: KeptStream) -> None:
        idle = self._idle.get(kept.protocol or "")
        if idle and kept in idle:
            idle.remove(kept)


_HANDLERS: dict[type, Callable[..., None]] = {
    Opened: RequestPool._on_opened,
    PeerLeaving: lambda pool, event, now: pool.retire(now),
    Closed: RequestPool._on_closed,
}
_STREAM_HANDLERS: dict[type, Callable[..., None]] = {
    StreamReady: RequestPool._on_ready,
    NegotiationFailed: RequestPool._on_refused,
    StreamEnded: RequestPool._on_ended,
    StreamReset: lambda pool, kept, event, now: pool._lose(kept, FailureKind.RESET, now),
}
