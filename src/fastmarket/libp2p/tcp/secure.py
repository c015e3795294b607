"""The libp2p side of the Noise handshake: who the peer is, and the muxer agreed on the way.

Sources: specs noise/README.md, connections/inlined-muxer-negotiation.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from google.protobuf.message import DecodeError

from fastmarket.errors import PeerFault
from fastmarket.formats.identity import Identity, PeerId, PublicKey
from fastmarket.libp2p.muxed import AnotherPeer
from fastmarket.libp2p.tcp.noise import CipherState, KeyPair, XXHandshake
from fastmarket.pb.libp2p.noise_pb2 import NoiseExtensions, NoiseHandshakePayload

NOISE_PROTOCOL = "/noise"
YAMUX_PROTOCOL = "/yamux/1.0.0"
# A peer keeps its Noise key as long as it runs, so one that comes again shows what was verified already: a
# tenth of what a connection costs. That it holds that key each handshake proves. 2 MiB at worst, all RSA.
PROOF_CACHE = 1024
_KEY_BYTES = 32
_SIGNATURE_DOMAIN = b"noise-libp2p-static-key:"
_FAULT = "noise"


@dataclass(frozen=True, slots=True)
class NoiseStatic:
    """A Noise static key and the payload that binds it to an identity, for any number of connections."""

    private: KeyPair
    payload: bytes  # NoiseHandshakePayload, extensions included
    early_muxer: bool = True  # whether they offer yamux

    @classmethod
    def create(
        cls, identity: Identity, entropy: Callable[[int], bytes], *, early_muxer: bool = True
    ) -> NoiseStatic:
        """Signs a fresh key; keep it in memory only (specs: noise, static key authentication)."""
        private = KeyPair(entropy(_KEY_BYTES))
        signature = identity.sign(_SIGNATURE_DOMAIN + private.public)
        payload = NoiseHandshakePayload(
            identity_key=identity.public_key.encode(),
            identity_sig=signature,
        )
        if early_muxer:
            payload.extensions.CopyFrom(NoiseExtensions(stream_muxers=[YAMUX_PROTOCOL]))
        return cls(private, payload.SerializeToString(deterministic=True), early_muxer)


@lru_cache(PROOF_CACHE)
def _proven_key(identity_key: bytes, static: bytes, signature: bytes) -> PublicKey:
    """The key, which has signed the Noise key; PeerFault where it has not, which is not remembered."""
    key = PublicKey.decode(identity_key)
    if not key.verify(_SIGNATURE_DOMAIN + static, signature):
        raise PeerFault("identity signature does not verify", protocol=_FAULT)
    return key


@dataclass(frozen=True, slots=True)
class SecureSession:
    """What a finished handshake leaves: the two ciphers, the proven identity, and whether yamux is agreed."""

    sending: CipherState
    receiving: CipherState
    remote_key: PublicKey
    remote_peer: PeerId
    early_muxer: bool


class SecureHandshake:
    """Runs XX for one side. Feed it whole handshake messages; `session` is set when it is over."""

    __slots__ = ("_expected", "_handshake", "_static", "session")

    def __init__(
        self,
        static: NoiseStatic,
        *,
        initiator: bool,
        entropy: Callable[[int], bytes],
        expected_peer: PeerId | None = None,
    ) -> None:
        self._static = static
        self._expected = expected_peer
        self._handshake = XXHandshake(
            initiator=initiator,
            static=static.private,
            ephemeral=KeyPair(entropy(_KEY_BYTES)),
        )
        self.session: SecureSession | None = None

    def opening(self) -> bytes:
        """The initiator's first message; it carries no payload (it would travel in the clear)."""
        return self._handshake.write_message()

    def receive(self, message: bytes) -> bytes | None:
        """Takes the peer's message, returns ours if one is due; PeerFault when it is not who it says."""
        handshake = self._handshake
        payload = handshake.read_message(message)
        if not handshake.remote_static:
            return handshake.write_message(self._static.payload)  # the responder's only message
        # Checked before the initiator's last message goes out: an impostor shall not learn who we are.
        key, early_muxer = self._authenticate(payload)
        reply = None if handshake.is_finished else handshake.write_message(self._static.payload)
        sending, receiving = handshake.split()
        self.session = SecureSession(sending, receiving, key, key.peer_id, early_muxer)
        return reply

    def _authenticate(self, payload: bytes) -> tuple[PublicKey, bool]:
        message = NoiseHandshakePayload()
        try:
            message.ParseFromString(payload)
        except DecodeError as error:
            raise PeerFault("malformed payload", protocol=_FAULT) from error
        key = _proven_key(message.identity_key, self._handshake.remote_static, message.identity_sig)
        if self._expected is not None and key.peer_id != self._expected:
            raise AnotherPeer(str(self._expected), str(key.peer_id), protocol=_FAULT)
        # Both offer yamux: it is agreed. A list without it falls back to multistream, as go does, though the
        # specification lets the handshake fail there.
        return key, self._static.early_muxer and YAMUX_PROTOCOL in message.extensions.stream_muxers
