"""What a client says of a server that it cannot reach: each cause in its own words, against real sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fastmarket.cli.unreachable import why
from fastmarket.market.client_values import ClientTls
from tests.certificates import Authority
from tests.conftest import Run


@asynccontextmanager
async def listener(context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_each_cause_has_its_words(run: Run[None], tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate\n")
    pair = ours.issue("server")
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secure.load_cert_chain(pair.cert, pair.key)

    async def scenario() -> None:
        with socket.socket() as taken:  # bound, but nobody listens
            taken.bind(("127.0.0.1", 0))
            closed = f"127.0.0.1:{taken.getsockname()[1]}"
            assert await why(closed, None) == (
                f"cannot reach a fastmarket-server at {closed}; is it running?"
            )
        assert "check --host" in await why("no-such-host.invalid:8080", None)
        async with listener() as plain:
            assert "is --port its gRPC port?" in await why(plain, None)
            assert "does not speak TLS; leave out --tls-ca" in await why(plain, ClientTls(ours.ca))
        async with listener(secure) as tls:
            assert "it speaks TLS; give its CA certificate as --tls-ca" in await why(tls, None)
            assert "--tls-ca does not verify its certificate" in await why(tls, ClientTls(theirs.ca))
            assert f"--tls-ca {garbage} is not a CA certificate" in await why(tls, ClientTls(garbage))
            assert "it may require --tls-cert and --tls-key" in await why(tls, ClientTls(ours.ca))

    run(scenario())
