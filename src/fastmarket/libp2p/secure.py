"""The libp2p part of the Noise handshake: the peer's identity, and the muxer negotiated on the way.

Sources: specs noise/README.md, connections/inlined-muxer-negotiation.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from google.protobuf.message import DecodeError

from fastmarket.errors import PeerFault
from fastmarket.formats.identity import Identity, PeerId, PublicKey
from fastmarket.libp2p.noise import CipherState, KeyPair, XXHandshake
from fastmarket.pb.libp2p.noise_pb2 import NoiseExtensions, NoiseHandshakePayload

NOISE_PROTOCOL = "/noise"
YAMUX_PROTOCOL = "/yamux/1.0.0"
# A peer keeps its Noise key while it runs, so a returning peer shows a proof already verified: that saves a
# tenth of a connection's cost. Each handshake proves possession of the key. 2 MiB at worst, if all are RSA.
PROOF_CACHE = 1024
_KEY_BYTES = 32
_SIGNATURE_DOMAIN = b"noise-libp2p-static-key:"
_FAULT = "noise"


class AnotherPeer(PeerFault):
    """The peer there has proved another identity: `found`, a peer id as text."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"expected {expected}, found {found}", protocol=_FAULT)
        self.expected = expected
        self.found = found


@dataclass(frozen=True, slots=True)
class NoiseStatic:
    """A Noise static key and the payload that binds it to an identity, for any number of connections."""

    private: KeyPair
    payload: bytes  # NoiseHandshakePayload, including extensions
    early_muxer: bool = True  # whether the extensions offer yamux

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
    """The identity key that signed the Noise key; raises PeerFault if it did not, which is not cached."""
    key = PublicKey.decode(identity_key)
    if not key.verify(_SIGNATURE_DOMAIN + static, signature):
        raise PeerFault("identity signature does not verify", protocol=_FAULT)
    return key


@dataclass(frozen=True, slots=True)
class SecureSession:
    """The result of a handshake: the two ciphers, the proven identity, and whether yamux is agreed."""

    sending: CipherState
    receiving: CipherState
    remote_key: PublicKey
    remote_peer: PeerId
    early_muxer: bool


class SecureHandshake:
    """Runs XX for one side. Feed it complete handshake messages; `session` is set when it is done."""

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
        """The initiator's first message; it has no payload (it would be sent unencrypted)."""
        return self._handshake.write_message()

    def receive(self, message: bytes) -> bytes | None:
        """Takes the peer's message and returns ours if one is due; raises PeerFault for a wrong identity."""
        handshake = self._handshake
        payload = handshake.read_message(message)
        if not handshake.remote_static:
            return handshake.write_message(self._static.payload)  # the responder's only message
        # Checked before the initiator's last message is sent: an impostor must not learn our identity.
        key, early_muxer = self._authenticate(payload)
        reply = None if handshake.finished else handshake.write_message(self._static.payload)
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
            raise AnotherPeer(str(self._expected), str(key.peer_id))
        # If both offer yamux, it is agreed. A list without it falls back to multistream, as in go, although
        # the specification allows the handshake to fail then.
        return key, self._static.early_muxer and YAMUX_PROTOCOL in message.extensions.stream_muxers
