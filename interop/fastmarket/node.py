"""The node of this peer."""

from __future__ import annotations

import hashlib
import secrets
from argparse import Namespace
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from streams import ECHO, RESET, serve_echo, serve_reset

from fastmarket.config import NodeConfig
from fastmarket.formats.identity import Identity
from fastmarket.kad.records.record import DEFAULT_RULES, OPAQUE
from fastmarket.net.dht_node import DhtNode

# Libraries that insist on a validator get one for this namespace that takes every value; so do we.
RULES = {**DEFAULT_RULES, b"fm": OPAQUE}


def make_node(args: Namespace) -> DhtNode:
    """With all that the arguments say, but not listening yet."""
    default = NodeConfig()
    host = default.host
    if args.idle_timeout is not None:
        host = replace(host, idle_timeout_s=args.idle_timeout, idle_sweep_s=args.idle_timeout / 4)
    config = replace(
        default,
        server_mode=args.mode == "server",
        connection=replace(default.connection, early_muxer=args.early_muxer == "on"),
        kad=replace(default.kad, prefix=args.kad_prefix),
        host=host,
    )
    node = DhtNode(make_identity(args.key_type, args.seed), config, RULES)
    node.host.streams.serve(ECHO, serve_echo)
    node.host.streams.serve(RESET, serve_reset)
    return node


def make_identity(key_type: str, seed: int | None) -> Identity:
    """Always the same one for the same seed where a seed is the whole key."""
    if key_type == "rsa":
        return Identity(rsa.generate_private_key(65537, 2048))
    secret = (
        secrets.token_bytes(32) if seed is None else hashlib.sha256(f"{key_type} {seed}".encode()).digest()
    )
    if key_type == "ed25519":
        return Identity.from_seed(secret)
    curve = ec.SECP256R1() if key_type == "ecdsa" else ec.SECP256K1()
    return Identity(ec.derive_private_key(int.from_bytes(secret, "big"), curve))
