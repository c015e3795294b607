"""The traps of libp2p implementations, over real sockets: what go, rust, js and py do in practice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from fastmarket.config import NodeConfig
from fastmarket.formats.choice import Choice
from fastmarket.formats.envelope import seal
from fastmarket.formats.identity import Identity
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.peer_record import LEGACY_DOMAIN, LEGACY_PAYLOAD_TYPE, encode_peer_record
from fastmarket.formats.varint import FrameDecoder, frame
from fastmarket.kad.wire.messages import Kind, decode_message, encode_request
from fastmarket.libp2p.endpoint import Endpoint
from fastmarket.libp2p.events import StreamData
from fastmarket.libp2p.identify import IDENTIFY_PROTOCOL
from fastmarket.libp2p.muxed import ConnectionState, Role
from fastmarket.libp2p.requests import Reply
from fastmarket.libp2p.tcp.connection import Connection
from fastmarket.libp2p.tcp.upgrade import NoiseEndpoint
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.streams import Stream
from fastmarket.pb.libp2p.envelope_pb2 import PeerRecord
from fastmarket.pb.libp2p.identify_pb2 import Identify
from fastmarket.pb.libp2p.kad_pb2 import Message
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, ask, end_idle_connections, identity, nodes, seed, until

KAD = NodeConfig().kad.protocol
FIND_NODE = frame(encode_request(Kind.FIND_NODE, b"somewhere"))
RUST_LIMIT_BYTES = 16 * 1024


async def next_message(stream: Stream, decoder: FrameDecoder) -> bytes:
    while True:
        data = await stream.read()
        assert data, "the stream ended before the reply"
        if bodies := decoder.feed(data):
            return bodies[0]


def add_provider(node: DhtNode) -> Message:
    """The node announces itself for some content."""
    request = Message(type=Message.ADD_PROVIDER, key=b"\x12\x20" + bytes(32))
    request.providerPeers.add(id=node.peer_id.raw, addrs=[node.host.listen_addrs[0].raw])
    return request


def test_no_reply_is_longer_than_rust_reads(run: Run[None]) -> None:
    """A table full of peers with many long addresses."""

    async def scenario() -> None:
        async with nodes(2) as (a, b):
            long = tuple(
                Multiaddr.from_text(f"/dns4/{'x' * 60}.{number}.example.org/tcp/4001") for number in range(16)
            )
            for number in range(200, 300):
                a.engine.on_peer_identified(PeerInfo(identity(number).peer_id, long), {KAD}, a.now())
            link = await b.host.connect(seed(a))
            for kind in (Kind.FIND_NODE, Kind.GET_VALUE, Kind.GET_PROVIDERS):
                stream = await b.host.streams.open(link, [KAD])
                await stream.write(frame(encode_request(kind, b"somewhere")))
                body = await next_message(stream, FrameDecoder(1 << 20))
                assert len(body) <= RUST_LIMIT_BYTES
                assert len(Message.FromString(body).closerPeers) == 20

    run(scenario())


def test_add_provider_has_no_reply_and_its_stream_goes_on(run: Run[None]) -> None:
    """go, rust and js wait for none; go sends the next request on the same stream."""

    async def scenario() -> None:
        async with nodes(2) as (a, b):
            link = await b.host.connect(seed(a))
            stream = await b.host.streams.open(link, [KAD])
            request = add_provider(b)
            await stream.write(frame(request.SerializeToString()) + FIND_NODE)
            reply = await next_message(stream, FrameDecoder(1 << 20))
            assert Message.FromString(reply).type == Message.FIND_NODE
            assert [peer.peer_id for peer in a.engine.handlers.providers.providers(request.key, a.now())] == [
                b.peer_id
            ]

    run(scenario())


def test_a_stream_stays_open_behind_add_provider(run: Run[None]) -> None:
    """go sends its next request on it, a while later perhaps, and gives up reuse where that meets an end."""

    async def scenario() -> None:
        async with nodes(2) as (a, b):
            link = await b.host.connect(seed(a))
            stream = await b.host.streams.open(link, [KAD])
            decoder = FrameDecoder(1 << 20)
            for number, wait_s in enumerate((1.2, 0.0, 0.0)):
                request = add_provider(b)
                request.key = b"\x12\x20" + bytes([number]) * 32
                await stream.write(frame(request.SerializeToString()))
                with pytest.raises(TimeoutError):  # neither a reply nor an end comes
                    async with asyncio.timeout(wait_s):
                        await stream.read()
                await stream.write(FIND_NODE)
                reply = Message.FromString(await next_message(stream, decoder))
                assert reply.type == Message.FIND_NODE
                providers = a.engine.handlers.providers.providers(request.key, a.now())
                assert [peer.peer_id for peer in providers] == [b.peer_id]
            assert link.connection.stream_count == 1

    run(scenario())


def test_a_stream_that_carried_add_provider_alone_does_not_keep_its_connection(run: Run[None]) -> None:
    """Nothing is under way on it."""

    async def scenario() -> None:
        config = NodeConfig()
        brief = replace(config, host=replace(config.host, idle_sweep_s=0.1))
        async with nodes(2) as (a, _), nodes(1, brief, first=50) as (b,):
            link = await a.host.connect(seed(b))
            stream = await a.host.streams.open(link, [KAD])
            await stream.write(frame(add_provider(a).SerializeToString()))
            end_idle_connections(b, 0.2)
            await link.ended.wait()

    run(scenario())


def test_one_stream_for_many_requests_and_one_for_each(run: Run[None]) -> None:
    """go keeps a stream and sends request after request; rust opens one for each and closes its side."""

    async def scenario() -> None:
        async with nodes(2) as (a, b):
            link = await b.host.connect(seed(a))
            kept = await b.host.streams.open(link, [KAD])
            decoder = FrameDecoder(1 << 20)
            for _ in range(50):
                await kept.write(FIND_NODE)
                assert decode_message(await next_message(kept, decoder), 20, 20).kind == Kind.FIND_NODE
            for _ in range(50):
                single = await b.host.streams.open(link, [KAD])
                await single.write(FIND_NODE)
                single.close_write()
                await next_message(single, FrameDecoder(1 << 20))
                assert await single.read() == b""
            kept.close_write()
            assert await kept.read() == b""
            await until(lambda: link.connection.stream_count == 0)

    run(scenario())


class Raw(asyncio.Protocol):
    """A connection driven by hand: `script` sees every turn."""

    def __init__(self, node: DhtNode, script: Callable[[Raw], None]) -> None:
        endpoint = NoiseEndpoint.create(Endpoint.create(identity(60), lambda size: bytes(size), {}))
        self.node = node
        self.connection = Connection(endpoint, Role.DIALER, now=node.now(), expected_peer=node.peer_id)
        self.script = script
        self.received: dict[int, bytes] = {}
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.flush()

    def data_received(self, data: bytes) -> None:
        self.connection.receive_data(data, self.node.now())
        while (event := self.connection.next_event()) is not None:
            if isinstance(event, StreamData):
                self.received[event.stream_id] = self.received.get(event.stream_id, b"") + event.data
        self.script(self)
        self.flush()

    def flush(self) -> None:
        if data := self.connection.data_to_send():
            assert hasattr(self.transport, "write")
            self.transport.write(data)


def test_a_stream_may_open_with_header_proposal_and_request_in_one_frame(run: Run[None]) -> None:
    """go's lazy client; a rust TCP dialer does the same with `/noise` and its first handshake message."""

    async def scenario() -> None:
        async with nodes(1) as (a,):
            sent: list[int] = []

            def script(raw: Raw) -> None:
                if raw.connection.state is ConnectionState.OPEN and not sent:
                    sent.append(raw.connection.open_stream([KAD], a.now(), lazy=True))
                    raw.connection.send(sent[0], FIND_NODE, a.now())
                if sent and raw.received.get(sent[0]) and not raw.done.done():
                    raw.done.set_result(None)

            endpoint = a.host.listen_addrs[0].host_port()
            assert endpoint is not None
            loop = asyncio.get_running_loop()
            transport, raw = await loop.create_connection(
                lambda: Raw(a, script), endpoint.host, endpoint.port
            )
            await raw.done
            (body,) = FrameDecoder(1 << 20).feed(raw.received[sent[0]])
            assert Message.FromString(body).type == Message.FIND_NODE
            transport.abort()
            await until(lambda: a.host.connection_count == 0)

    run(scenario())


def test_addresses_nobody_knows_are_skipped_and_the_rest_of_the_message_kept(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(3) as (a, b, c):
            good = c.host.listen_addrs[0].raw
            unknown = [b"\xff\xff\x03\x01x", b"", b"\x04\x7f", b"\x06", bytes(2000)]

            async def answer(stream: Stream) -> None:
                decoder = FrameDecoder(1 << 20)
                while data := await stream.read():
                    for _ in decoder.feed(data):
                        reply = Message(type=Message.FIND_NODE)
                        reply.closerPeers.add(id=b"\x01\x02 no peer id", addrs=[good])
                        reply.closerPeers.add(id=c.peer_id.raw, addrs=[*unknown, good])
                        await stream.write(frame(reply.SerializeToString()))

            a.host.streams.serve(KAD, answer)
            await b.bootstrap([seed(a)], DEADLINE_S)
            # c was found by that reply, dialed at its good address, and identified.
            await until(lambda: {view.peer.peer_id for view in b.peers()} == {a.peer_id, c.peer_id})

    run(scenario())


def signed(owner: Identity, addr: Multiaddr, *, legacy: bool) -> bytes:
    if not legacy:
        return encode_peer_record(owner, [addr], 1)
    record = PeerRecord(
        peer_id=owner.peer_id.raw, seq=1, addresses=[PeerRecord.AddressInfo(multiaddr=addr.raw)]
    )
    return seal(owner, LEGACY_DOMAIN, LEGACY_PAYLOAD_TYPE, record.SerializeToString())


@pytest.mark.parametrize("legacy", [False, True], ids=["as go, js and rust send it", "as the RFC has it"])
def test_identify_in_several_messages_with_a_signed_record(run: Run[None], legacy: bool) -> None:
    """go splits a long identify into up to ten messages on one stream; the record comes in either form."""

    async def scenario() -> None:
        async with nodes(2) as (a, b):
            told = Multiaddr.from_text("/ip4/192.0.2.9/tcp/4001")

            async def identify(stream: Stream) -> None:
                parts = [
                    Identify(publicKey=a.host.identity.public_key.encode(), agentVersion="somebody/1"),
                    Identify(protocols=["/a/1.0.0"], listenAddrs=[b"\x04\x7f\x00\x00\x01\x06\x00\x01"]),
                    Identify(protocols=["/b/1.0.0", KAD]),
                    Identify(signedPeerRecord=signed(a.host.identity, told, legacy=legacy)),
                ]
                for part in parts:
                    await stream.write(frame(part.SerializeToString()))
                stream.close_write()
                await stream.read()

            a.host.streams.serve(IDENTIFY_PROTOCOL, identify)
            await b.dial(seed(a))
            link = b.host.link_to(a.peer_id)
            assert link is not None
            info = link.identified
            assert info is not None
            assert info.protocols == ("/a/1.0.0", "/b/1.0.0", KAD)
            assert (info.agent_version, info.listen_addrs, info.certified) == ("somebody/1", (told,), True)

    run(scenario())


def test_a_record_that_somebody_else_signed_is_not_believed(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            own = a.host.listen_addrs[0]

            async def identify(stream: Stream) -> None:
                forged = signed(identity(61), Multiaddr.from_text("/ip4/192.0.2.9/tcp/4001"), legacy=False)
                message = Identify(listenAddrs=[own.raw], protocols=[KAD], signedPeerRecord=forged)
                await stream.write(frame(message.SerializeToString()))
                stream.close_write()
                await stream.read()

            a.host.streams.serve(IDENTIFY_PROTOCOL, identify)
            await b.dial(seed(a))
            link = b.host.link_to(a.peer_id)
            assert link is not None
            assert link.identified is not None
            assert (link.identified.listen_addrs, link.identified.certified) == ((own,), False)

    run(scenario())


def test_py_libp2p_gets_a_stream_for_each_request(run: Run[None]) -> None:
    """It serves twelve Kad streams in all, kept ones included; thirteen nodes would starve each other."""

    async def scenario() -> None:
        async with nodes(2) as (a, b):
            opened: list[int] = []

            async def identify(stream: Stream) -> None:
                message = Identify(agentVersion="py-libp2p/0.8.1", protocols=[KAD])
                await stream.write(frame(message.SerializeToString()))
                stream.close_write()

            async def answer(stream: Stream) -> None:
                opened.append(1)
                decoder = FrameDecoder(1 << 20)
                requests = 0
                while data := await stream.read():
                    for _ in decoder.feed(data):
                        requests += 1
                        await stream.write(frame(Message(type=Message.FIND_NODE).SerializeToString()))
                assert requests == 1
                stream.close_write()

            a.host.streams.serve(IDENTIFY_PROTOCOL, identify)
            a.host.streams.serve(KAD, answer)
            await b.dial(seed(a))
            link = b.host.link_to(a.peer_id)
            assert link is not None
            for number in range(1, 21):
                reply = await ask(b, seed(a), Choice(KAD, encode_request(Kind.FIND_NODE, b"k")))
                assert isinstance(reply, Reply)
                assert len(opened) == number
            await until(lambda: link.connection.stream_count == 0)

    run(scenario())
