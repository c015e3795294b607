"""The sinks of streams whose protocol is not agreed yet, either side's."""

from __future__ import annotations

from fastmarket.errors import FastmarketError, LimitExceeded, PeerFault
from fastmarket.libp2p.channels import Channels, EventStream, ResponderStream
from fastmarket.libp2p.events import NegotiationFailed, StreamOpened, StreamReady, StreamReset
from fastmarket.libp2p.multistream import DialerNegotiation, ListenerNegotiation, acceptance, read_opening
from fastmarket.libp2p.mux_stream import MuxStream
from fastmarket.libp2p.muxed import OnData


class InboundNegotiation:
    """An inbound stream until its protocol is agreed."""

    __slots__ = ("_channels", "_negotiation", "_stream", "deadline")

    def __init__(self, channels: Channels, stream: MuxStream, now: float) -> None:
        config = channels.config
        self._channels = channels
        self._stream = stream
        self._negotiation: ListenerNegotiation | None = None  # once it takes more than one piece
        self.deadline = now + config.negotiation_timeout_s
        channels.check_at(self.deadline)

    def received(self, data: bytes, now: float) -> int:
        channels, stream, negotiation = self._channels, self._stream, self._negotiation
        if negotiation is None:
            opening = read_opening(data, channels.protocols)
            if opening is not None:
                channels.mux.write(stream, acceptance(opening[0]))
                return opening[1] + self._agreed(opening[0], data[opening[1] :], now)
            negotiation = self._negotiation = ListenerNegotiation(
                channels.protocols, max_proposals=channels.config.max_proposals
            )
        try:
            reply = negotiation.receive(data)
        except PeerFault:
            channels.mux.reset(stream)
            return len(data)
        if reply:
            channels.mux.write(stream, reply)
        if negotiation.declined:
            channels.mux.finish(stream)  # not a reset, which could overtake the refusal
        if negotiation.chosen is None:
            return len(data)
        rest = negotiation.rest
        return len(data) - len(rest) + self._agreed(negotiation.chosen, rest, now)

    def _agreed(self, protocol: str, rest: bytes, now: float) -> int:
        """The protocol takes the stream over, and `rest` first; how many bytes of that are done with."""
        channels, stream = self._channels, self._stream
        factory = channels.protocols[protocol]
        sink: EventStream | ResponderStream
        if factory is None:
            sink = EventStream(channels, stream, now)
            channels.emit(StreamOpened(stream.stream_id, protocol))
        else:
            sink = ResponderStream(channels, stream, protocol, now)
            sink.start(factory, now)
        stream.sink = sink
        return sink.received(rest, now) if rest else 0

    def ended(self, now: float) -> None:
        self._channels.mux.reset(self._stream)

    def lost(self, reason: str, now: float) -> None: ...

    def drained(self, now: float) -> None: ...

    def gone(self) -> None: ...

    def expire(self, now: float) -> None:
        """Too slow."""
        self._channels.mux.reset(self._stream)


class OutboundNegotiation:
    """A stream of ours until the peer agrees to a protocol."""

    __slots__ = ("_channels", "_negotiation", "_stream", "deadline", "lazy", "on_data")

    def __init__(
        self, channels: Channels, stream: MuxStream, negotiation: DialerNegotiation, now: float
    ) -> None:
        self._channels = channels
        self._stream = stream
        self._negotiation = negotiation
        self.lazy = False
        self.on_data: OnData | None = None  # who has the bytes behind the agreement, if not everybody
        self.deadline = now + channels.config.negotiation_timeout_s
        channels.check_at(self.deadline)

    def take_opening(self) -> bytes:
        """Header and first proposal; lazily, they wait to share a frame with the first data."""
        return self._negotiation.opening()

    def received(self, data: bytes, now: float) -> int:
        channels, stream, negotiation = self._channels, self._stream, self._negotiation
        try:
            proposal = negotiation.receive(data)
        except PeerFault as fault:
            self._fail(fault)
            return len(data)
        if proposal:
            channels.mux.write(stream, proposal)
        if negotiation.refused:
            channels.mux.reset(stream)
            channels.emit(NegotiationFailed(stream.stream_id))
        if negotiation.chosen is None:
            return len(data)
        stream.sink = sink = EventStream(channels, stream, now, self.on_data)
        channels.emit(StreamReady(stream.stream_id, negotiation.chosen))
        rest = negotiation.rest
        return len(data) - len(rest) + (sink.received(rest, now) if rest else 0)

    def ended(self, now: float) -> None:
        self._fail(PeerFault("ended during negotiation"))

    def lost(self, reason: str, now: float) -> None:
        self._channels.emit(StreamReset(self._stream.stream_id, reason))

    def drained(self, now: float) -> None: ...

    def gone(self) -> None: ...

    def expire(self, now: float) -> None:
        """No agreement in time."""
        self._fail(
            LimitExceeded("seconds of negotiation", round(self._channels.config.negotiation_timeout_s))
        )

    def _fail(self, fault: FastmarketError) -> None:
        self._channels.mux.reset(self._stream)
        self._channels.emit(StreamReset(self._stream.stream_id, str(fault)))
