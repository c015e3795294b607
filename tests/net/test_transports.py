"""The seam: a transport that the package does not have is one class and one row of the table."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fastmarket.config import NodeConfig
from fastmarket.errors import CallerFault, DialFailed
from fastmarket.formats.addr_protocols import UNIX
from fastmarket.formats.choice import Choice
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr, TcpEndpoint
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.wire.messages import Kind, encode_request
from fastmarket.libp2p.dialing import Target
from fastmarket.libp2p.requests import Reply
from fastmarket.net.link import Link
from fastmarket.net.transports import table
from fastmarket.net.transports.tcp.transport import TcpTransport
from fastmarket.net.transports.transport import TransportRow
from tests.conftest import Run
from tests.net.loopback import ask, nodes

FIND = Choice(NodeConfig().kad.protocol, encode_request(Kind.FIND_NODE, b"somewhere"))


class UnixTransport(TcpTransport):
    """Sockets of the file system."""

    async def dial(self, target: Target, expected_peer: PeerId) -> Link:
        link = self.outbound_link(expected_peer)
        await asyncio.get_running_loop().create_unix_connection(lambda: link, target.host)
        await link.handshake
        return link

    async def listen(self, host: str, port: int) -> int:
        self._servers.append(await asyncio.get_running_loop().create_unix_server(self._inbound_link, host))
        return port


def unix_endpoint(addr: Multiaddr) -> TcpEndpoint | None:
    (name, path), *_ = addr.parts
    return None if name != UNIX.name or path is None else TcpEndpoint("unix", path, 0)


ROW = TransportRow("unix", "/unix/PATH", unix_endpoint, UnixTransport)


def at(path: Path) -> Multiaddr:
    return Multiaddr.from_text(f"/unix{path}")


def test_a_row_more_is_a_transport_more(
    run: Run[None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(table, "TABLE", (*table.TABLE, ROW))
    socket = tmp_path / "node"

    async def scenario() -> None:
        async with nodes(2) as (a, b):
            await a.host.transports.listen(at(socket))
            link = await b.host.connect(PeerInfo(a.peer_id, (at(socket),)))
            await link.identity_known
            assert link.identified is not None
            assert link.connection.remote is not None
            assert (link.connection.remote.peer_id, link.connection.remote.block) == (a.peer_id, None)
            assert isinstance(await ask(b, PeerInfo(a.peer_id), FIND), Reply)
            with pytest.raises(DialFailed):
                await b.host.dials.prove(a.peer_id, at(tmp_path / "nobody"))

    run(scenario())


def test_the_address_chooses_the_transport(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tcp = Multiaddr.from_text("/ip4/192.0.2.1/tcp/4001")
    quic = Multiaddr.from_text("/ip4/192.0.2.1/udp/4001/quic-v1")
    assert table.endpoint_of(tcp) == ("tcp", TcpEndpoint("ip4", "192.0.2.1", 4001))
    assert table.endpoint_of(quic) is table.endpoint_of(at(tmp_path)) is None
    monkeypatch.setattr(table, "TABLE", (*table.TABLE, ROW))
    assert table.endpoint_of(tcp) == ("tcp", TcpEndpoint("ip4", "192.0.2.1", 4001))
    assert table.endpoint_of(at(tmp_path)) == ("unix", TcpEndpoint("unix", str(tmp_path), 0))


def test_only_an_address_of_a_transport_can_be_listened_on(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(1) as (a,):
            tcp = "/ip4/127.0.0.1/tcp/0"
            for text in ("/ip4/127.0.0.1/udp/0/quic-v1", "/dns4/localhost/tcp/0", f"{tcp}/p2p/{a.peer_id}"):
                with pytest.raises(CallerFault, match="expects /ip4/ADDRESS/tcp/PORT"):
                    await a.host.listen(Multiaddr.from_text(text))

    run(scenario())
