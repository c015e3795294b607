"""From a raw byte stream to a secure, multiplexed one: `/noise`, the handshake, and `/yamux/1.0.0` where the
handshake did not agree on it already (specs: connections/README.md)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fastmarket.errors import LimitExceeded, PeerFault
from fastmarket.formats.identity import PeerId
from fastmarket.libp2p.endpoint import Endpoint
from fastmarket.libp2p.multistream import DialerNegotiation, ListenerNegotiation, acceptance, read_opening
from fastmarket.libp2p.muxed import Role
from fastmarket.libp2p.tcp.noise import LENGTH_BYTES
from fastmarket.libp2p.tcp.secure import (
    NOISE_PROTOCOL,
    YAMUX_PROTOCOL,
    NoiseStatic,
    SecureHandshake,
    SecureSession,
)

MAX_HANDSHAKE_MESSAGE_BYTES = 16 << 10  # an 8192-bit RSA key and its signature take 2 KiB
_PROPOSALS = (NOISE_PROTOCOL,)
MAX_MUXER_PROPOSALS = 8  # mplex, yamux and what else a peer may try


@dataclass(frozen=True, slots=True)
class NoiseEndpoint:
    """What all connections of a host share that are secured by Noise: the host, and one key."""

    host: Endpoint
    static: NoiseStatic

    @classmethod
    def create(cls, host: Endpoint) -> NoiseEndpoint:
        """With a fresh Noise key."""
        return cls(host, NoiseStatic.create(host.identity, host.entropy, early_muxer=host.config.early_muxer))


class _Stage(Enum):
    """How far the upgrade is."""

    SECURITY = "security"  # from the start: multistream in the clear
    HANDSHAKE = "handshake"  # `/noise` agreed
    MUXER = "muxer"  # handshake done without an early muxer: multistream inside
    DONE = "done"  # yamux agreed


# To ask an Enum's class for a member costs 80 ns in Python 3.11.
_SECURITY, _HANDSHAKE, _MUXER, _DONE = _Stage


class Upgrade:
    """One side's upgrade. After each `receive` send what it returns; it is over when `is_done`.

    The dialer puts its first handshake message behind the proposal at once (rust's V1Lazy): two round trips
    in all.
    """

    __slots__ = ("_begun", "_buffer", "_dialer", "_handshake", "_negotiation", "_stage", "session")

    def __init__(self, endpoint: NoiseEndpoint, role: Role, expected_peer: PeerId | None) -> None:
        self._dialer = role is Role.DIALER
        self._stage = _SECURITY
        self._handshake = SecureHandshake(
            endpoint.static,
            initiator=self._dialer,
            entropy=endpoint.host.entropy,
            expected_peer=expected_peer,
        )
        self._negotiation = self._negotiate(NOISE_PROTOCOL, endpoint.host.config.max_proposals)
        self._begun = False
        self._buffer = bytearray()
        self.session: SecureSession | None = None

    @property
    def is_done(self) -> bool:
        """Yamux may begin; `take_rest` holds its first bytes."""
        return self._stage is _DONE

    def opening(self) -> bytes:
        """What the dialer sends first; nothing for the listener."""
        if not isinstance(self._negotiation, DialerNegotiation):
            return b""
        return self._negotiation.opening() + _framed(self._handshake.opening())

    def receive(self, data: bytes) -> bytes:
        """Returns what to send; PeerFault ends the connection."""
        if self._stage is _SECURITY:
            if not self._dialer and not self._begun:
                self._begun = True
                opening = read_opening(data, _PROPOSALS)
                if opening is not None:  # header and proposal at once, as nearly always
                    self._stage = _HANDSHAKE
                    return acceptance(opening[0]) + self._messages(data[opening[1] :])
            reply = self._negotiation.receive(data)
            if not self._agreed():
                return reply
            self._stage = _HANDSHAKE
            return reply + self._messages(self._negotiation.rest)
        return self._messages(data)

    def take_rest(self) -> tuple[bytes, bytes]:
        """(ciphertext not yet read, plaintext behind the muxer's negotiation)."""
        plain = self._negotiation.rest if self.session and not self.session.early_muxer else b""
        return bytes(self._buffer), plain

    def _messages(self, data: bytes) -> bytes:
        buffer = self._buffer
        buffer += data
        reply = bytearray()
        while self._stage is not _DONE and len(buffer) >= LENGTH_BYTES:
            size = int.from_bytes(buffer[:LENGTH_BYTES], "big")
            if size > MAX_HANDSHAKE_MESSAGE_BYTES:
                raise LimitExceeded(
                    "handshake message bytes", MAX_HANDSHAKE_MESSAGE_BYTES, size, protocol="noise"
                )
            end = LENGTH_BYTES + size
            if len(buffer) < end:
                break
            message = bytes(buffer[LENGTH_BYTES:end])
            del buffer[:end]
            reply += self._message(message)
        return bytes(reply)

    def _message(self, message: bytes) -> bytes:
        if self.session is not None:
            return self._muxer(self.session, self.session.receiving.decrypt(message))
        answer = self._handshake.receive(message)
        out = b"" if answer is None else _framed(answer)
        self.session = session = self._handshake.session
        if session is None:
            return out
        if session.early_muxer:
            self._stage = _DONE
            return out
        self._stage = _MUXER
        self._negotiation = self._negotiate(YAMUX_PROTOCOL, MAX_MUXER_PROPOSALS)
        if isinstance(self._negotiation, DialerNegotiation):
            out += session.sending.seal(bytearray(self._negotiation.opening()))
        return out

    def _muxer(self, session: SecureSession, data: bytes) -> bytes:
        reply = self._negotiation.receive(data)
        if self._agreed():
            self._stage = _DONE
        return session.sending.seal(bytearray(reply)) if reply else b""

    def _agreed(self) -> bool:
        negotiation = self._negotiation
        if isinstance(negotiation, DialerNegotiation) and negotiation.refused:
            raise PeerFault(f"does not speak {negotiation.proposal}", protocol="multistream")
        return negotiation.chosen is not None

    def _negotiate(self, protocol: str, max_proposals: int) -> DialerNegotiation | ListenerNegotiation:
        if self._dialer:
            return DialerNegotiation((protocol,), lazy=True)
        return ListenerNegotiation((protocol,), max_proposals=max_proposals)


def _framed(message: bytes) -> bytes:
    return len(message).to_bytes(LENGTH_BYTES, "big") + message
