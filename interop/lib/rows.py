"""The table's rows, in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastmarket.formats.identity import KeyType
from lib import rows_connections as connections
from lib import rows_kad as kad
from lib import rows_market as market
from lib import rows_streams as streams
from lib.cell import Cell

CELL_S = 180.0


@dataclass(frozen=True, slots=True)
class Row:
    """One thing tried with every implementation, both ways."""

    name: str
    what: str
    run: Callable[[Cell], Awaitable[None]]
    waits: bool = False  # most of its time is waiting
    limit_s: float = CELL_S


ROWS = (
    Row("early-muxer", "connect, muxer agreed in the Noise handshake", connections.early_muxer),
    Row("multistream-muxer", "connect, muxer agreed by multistream", connections.multistream_muxer),
    Row("ed25519", "Ed25519 identities", connections.of_key(KeyType.ED25519)),
    Row("rsa", "RSA-2048 identities", connections.of_key(KeyType.RSA)),
    Row("ecdsa", "ECDSA P-256 identities", connections.of_key(KeyType.ECDSA)),
    Row("secp256k1", "secp256k1 identities", connections.of_key(KeyType.SECP256K1)),
    Row("wrong-peer", "wrong peer id refused", connections.wrong_peer),
    Row("identify", "identify, every field", connections.identify),
    Row("push", "identify push", connections.push),
    Row("ping", "1,000 pings each way", connections.ping),
    Row("mux-ping", "our pings of the muxer answered", connections.keep_alive),
    Row("silence", "kept through 45 s of silence", connections.silence, waits=True),
    Row("frozen", "theirs stops answering, ours gives up", connections.frozen, waits=True),
    Row("go-away", "closed by either side, dialed again", connections.go_away),
    Row("idle-close", "closed by us when idle, dialed again", connections.idle_close),
    Row("killed", "killed and restarted, dialed again", connections.killed),
    Row("end", "ends in order while connected", connections.end_of_input),
    Row("echo-16-mib", "16 MiB echoed through one stream", streams.sixteen),
    Row("echo-100", "100 streams at once", streams.hundred),
    Row("slow-reader", "slow reader: 4 MiB wait for their windows", streams.slow_reader),
    Row("half-close", "half-close", streams.half_close),
    Row("reset", "reset", streams.reset),
    Row("unknown-protocol", "unknown protocol refused", streams.unknown_protocol),
    Row("find-node", "FIND_NODE among five nodes", kad.find_node()),
    Row("find-node-ipfs", "FIND_NODE under /ipfs", kad.find_node("/ipfs")),
    Row("prefix", "a node of another prefix stays outside", kad.another_prefix),
    Row("client-mode", "a client stays out of the table", kad.client_mode),
    Row("value", "PUT_VALUE, GET_VALUE", kad.values(kad.plain_value)),
    Row("value-8-kib", "the same with 8 KiB", kad.values(kad.large_value)),
    Row("no-value", "GET_VALUE of what nobody put", kad.no_value),
    Row("providers", "ADD_PROVIDER, GET_PROVIDERS", kad.providers()),
    Row("providers-ipfs", "the same under /ipfs", kad.providers("/ipfs")),
    Row("registered", "registered over gRPC, found as a provider", market.registered),
    Row("provided", "provided by them, found by DhtClient", market.provided),
)
