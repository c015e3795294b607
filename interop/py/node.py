"""The libp2p node of this peer."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from hashlib import sha256

from libp2p import new_host
from libp2p.abc import IHost
from libp2p.crypto import ed25519, rsa, secp256k1, x25519
from libp2p.crypto.keys import KeyPair
from libp2p.custom_types import TProtocol
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.records.validator import Validator
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from streams import serve_echo, serve_reset

ECHO = TProtocol("/fastmarket/interop/echo/1.0.0")
RESET = TProtocol("/fastmarket/interop/reset/1.0.0")


class AnyValue(Validator):
    """Takes every value; the last one put wins."""

    def validate(self, key: str, value: bytes) -> None:
        pass

    def select(self, key: str, values: list[bytes]) -> int:
        return len(values) - 1


@dataclass(frozen=True)
class Node:
    host: IHost
    dht: KadDHT


def make_node(key_type: str, seed: str | None, kad_prefix: str, mode: str) -> Node:
    """The host and its DHT, neither of them running yet."""
    keys = make_keys(key_type, seed)
    noise = NoiseTransport(keys, noise_privkey=x25519.create_new_key_pair().private_key)
    host = new_host(key_pair=keys, sec_opt={NOISE: noise}, muxer_opt={TProtocol(YAMUX): Yamux})
    set_kad_protocol(TProtocol(f"{kad_prefix}/kad/1.0.0"))
    dht = KadDHT(host, DHTMode.SERVER if mode == "server" else DHTMode.CLIENT)
    dht.register_validator("fm", AnyValue())
    host.set_stream_handler(ECHO, serve_echo)
    host.set_stream_handler(RESET, serve_reset)
    return Node(host, dht)


def make_keys(key_type: str, seed: str | None) -> KeyPair:
    """Always the same keys for the same seed where a seed is the whole key."""
    secret = None if seed is None else sha256(f"fastmarket interop {seed}".encode()).digest()
    if key_type == "ed25519":
        return ed25519.create_new_key_pair(secret)
    if key_type == "secp256k1":
        return secp256k1.create_new_key_pair(secret)
    if key_type == "rsa":
        return rsa.create_new_key_pair(2048)
    sys.exit(f"no identities of type {key_type}: the library's ECDSA keys cannot sign")


def set_kad_protocol(protocol: TProtocol) -> None:
    """The library's `protocol_prefix` is not what it speaks: its modules share one constant."""
    for name, module in list(sys.modules.items()):
        if name.startswith("libp2p.kad_dht.") and hasattr(module, "PROTOCOL_ID"):
            module.PROTOCOL_ID = protocol  # type: ignore[attr-defined]
