"""The client's channel: plain text or TLS, and its retry policy."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import grpc.aio

from fastmarket.errors import CallerFault
from fastmarket.market.access import is_loopback
from fastmarket.market.client_values import ClientTls

MAX_RESPONSE_BYTES = 16 * 1024 * 1024  # for servers that allow longer lists than ours
# gRFC A6. A call that ended UNAVAILABLE is retried unless the server forbids it (a missed quorum: the node
# goes on announcing by itself) or has already begun to answer. Each backoff is random, up to the current
# maximum.
_RETRY = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
_OPTIONS = (
    # The node is on this machine or was named explicitly: use no proxy.
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
    # Reconnect to a restarted server at the next command, not after gRPC's default of a minute.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # Subchannels of its own: a new channel does not wait out the backoff of one that was closed.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.service_config", json.dumps(_RETRY)),
)


def open_channel(target: str, tls: ClientTls | None, *, secret: bool) -> grpc.aio.Channel:
    """A channel that connects on first use. `secret`: calls carry a token. Raises `CallerFault`."""
    if tls is None:
        if secret and not is_loopback(target.rpartition(":")[0].strip("[]")):
            raise CallerFault("token", f"would be sent to {target} in plain text; use TLS")
        return grpc.aio.insecure_channel(target, options=_OPTIONS)
    if (tls.cert is None) != (tls.key is None):
        raise CallerFault("tls", "a client certificate and its key must be given together")
    credentials = grpc.ssl_channel_credentials(_read(tls.ca), _read(tls.key), _read(tls.cert))
    named = () if tls.name is None else (("grpc.ssl_target_name_override", tls.name),)
    return grpc.aio.secure_channel(target, credentials, options=(*_OPTIONS, *named))


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise CallerFault("tls", f"cannot read {path}: {error.strerror}") from None
