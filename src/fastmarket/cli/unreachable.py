"""Explains to the user why a fastmarket-server cannot be reached."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING

from fastmarket.net.resolver import plain

if TYPE_CHECKING:
    from fastmarket.market.client_values import ClientTls

PROBE_S = 2.0  # for each of connecting and the handshake


async def why(target: str, tls: ClientTls | None) -> str:
    """One sentence, with a remedy. `target` is `host:port`."""
    host, _, port = target.rpartition(":")
    host = host.strip("[]")
    at = f"cannot reach a fastmarket-server at {target}"
    try:
        await _connect(host, int(port), None)
    except TimeoutError:
        return f"{at}: no answer; check --host, and firewalls on the way"
    except socket.gaierror as error:
        return f"{at}: {plain(error)}; check --host"
    except OSError:
        return f"{at}; is it running?"
    if tls is None:
        if await _speaks_tls(host, int(port)):
            return f"{at}: it speaks TLS; give its CA certificate as --tls-ca FILE"
        return f"{at}: something listens there, but does not answer as one; is --port its gRPC port?"
    return f"{at}: {await _why_not_trusted(host, int(port), tls)}"


async def _connect(host: str, port: int, context: ssl.SSLContext | None, name: str | None = None) -> None:
    async with asyncio.timeout(PROBE_S):
        named = (name or host) if context is not None else None
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=named)
        writer.close()


async def _speaks_tls(host: str, port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent over it
    context.set_alpn_protocols(["h2"])
    try:
        await _connect(host, port, context)
    except (OSError, TimeoutError):
        return False
    return True


async def _why_not_trusted(host: str, port: int, tls: ClientTls) -> str:
    try:
        context = ssl.create_default_context(cafile=None if tls.ca is None else str(tls.ca))
    except OSError as error:
        return f"--tls-ca {tls.ca} is not a CA certificate ({error})"
    context.set_alpn_protocols(["h2"])
    try:
        await _connect(host, port, context, tls.name)
    except ssl.SSLCertVerificationError as error:
        return f"--tls-ca does not verify its certificate ({error.verify_message})"
    except (OSError, TimeoutError):
        return "it does not speak TLS; leave out --tls-ca, --tls-cert and --tls-key"
    return "no answer over TLS; it may require --tls-cert and --tls-key, or be another program"
