"""What comes over real sockets beside HTTP and gRPC: blocks of Bitswap in both directions, and the replies of
the engine of a fleet's store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Final

from fastmarket.config import BitswapConfig, FleetConfig
from fastmarket.errors import FastmarketError, StorageFault, StreamFailed
from fastmarket.exchange.bitswap.client import AskFailed, AskOutcome, BlockSent
from fastmarket.exchange.bitswap.message import (
    PROTOCOLS,
    BlockPayload,
    BlockWant,
    WireForm,
    encode_answer,
    encode_wants,
)
from fastmarket.formats.cid import sha256_multihash
from fastmarket.formats.varint import frame
from fastmarket.libp2p.ping import PING_PROTOCOL
from fastmarket.net.bitswap.exchange import BitswapExchange, NoBlocks
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.link import Link
from fastmarket.net.streams import Stream
from fastmarket.storage.shared import SharedFields, SharedRow, SharedStore
from fastmarket.storage.store_url import StoreUrl
from tests.fuzz import live
from tests.fuzz.live import Refused, run
from tests.fuzz.target import Shape, Target
from tests.net.loopback import nodes, seed
from tests.net.test_bitswap import Memory, block

ANSWER_S: Final = 10.0  # wall time; an answer that takes longer never comes
ROUND_TRIPS: Final = 2  # the end of a stream is told in the turn after the one that reads it
WIRE: Final = "/ipfs/bitswap/1.2.0"
CID_PREFIX: Final = b"\x01\x55\x12\x20"  # raw, SHA-256
WANTED: Final = block(2)
CID: Final = b"\x01\x55" + sha256_multihash(WANTED)
HONEST: Final = b"".join(encode_answer((), (), [BlockPayload(CID_PREFIX, WANTED)], WireForm.PRESENCES))


class Exchange:
    """A seller, a buyer, and a stranger that is connected to both and writes what it likes."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self.memory = Memory()
        self.cid = self.memory.put(block(1))
        self._wanted_of: asyncio.Queue[Stream] = asyncio.Queue()
        self.bugs: list[str] = []
        live.loop().set_exception_handler(lambda _loop, context: self.bugs.append(str(context)))
        run(self._start())

    async def _start(self) -> None:
        self.seller, self.buyer, self.stranger = await self._stack.enter_async_context(nodes(3))
        config = BitswapConfig()
        self.selling = BitswapExchange(self.seller.host, config, self.memory, self.memory.is_free)
        self.buying = BitswapExchange(self.buyer.host, config, NoBlocks(), self.memory.is_free)
        for exchange in (self.selling, self.buying):
            exchange.start()
            self._stack.push_async_callback(exchange.close)
        for protocol in PROTOCOLS:
            self.stranger.host.streams.serve(protocol, self._listen)

    async def _listen(self, stream: Stream) -> None:
        """The stranger reads on, and tells that it was asked."""
        stream.close_write()
        while await stream.read():
            self._wanted_of.put_nowait(stream)

    def stop(self) -> None:
        """Ends all three."""
        run(self._stack.aclose())
        live.loop().set_exception_handler(None)

    async def _link(self, node: DhtNode) -> Link:
        return await self.stranger.host.connect(seed(node))

    async def _tell(self, node: DhtNode, data: bytes) -> Stream:
        """The bytes on a stream of their own, to its end; and until the node has dealt with them."""
        streams, link = self.stranger.host.streams, await self._link(node)
        stream = await streams.open(link, [WIRE])
        with suppress(StreamFailed):
            await stream.write(data)
            stream.close_write()
        for _ in range(ROUND_TRIPS):
            (await streams.open(link, [PING_PROTOCOL])).reset()
        return stream

    async def ask(self, node: DhtNode, cid: bytes) -> AskOutcome:
        """The buyer asks for a block."""
        answer: asyncio.Future[AskOutcome] = asyncio.get_running_loop().create_future()
        deadline = self.buyer.now() + ANSWER_S / 2
        self.buying.ask(seed(node), cid, deadline, answer.set_result)
        return await asyncio.wait_for(answer, ANSWER_S)

    async def sell(self, data: bytes) -> object:
        """To the seller. Then a buyer gets its block, which comes behind it."""
        stream = await self._tell(self.seller, data)
        assert await self.is_served(), "an honest buyer is not answered"
        if stream._failure:
            raise Refused(stream._failure)
        return len(data)

    async def is_served(self) -> bool:
        """Whether the honest buyer gets the seller's block."""
        outcome = await self.ask(self.seller, self.cid)
        return isinstance(outcome, BlockSent) and outcome.block == block(1)

    async def buy(self, data: bytes) -> object:
        """To a buyer that has asked the stranger. Behind it comes the block, which is right."""
        while not self._wanted_of.empty():
            self._wanted_of.get_nowait()
        asked = asyncio.ensure_future(self.ask(self.stranger, CID))
        told = asyncio.ensure_future(self._wanted_of.get())
        await asyncio.wait((asked, told), return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        stream = None
        if not asked.done():
            stream = await self._tell(self.buyer, data)
            await self._tell(self.buyer, HONEST)
        outcome = await asked
        if isinstance(outcome, BlockSent):
            assert outcome.block == WANTED, "a block that was not asked for"
        if isinstance(outcome, AskFailed) or (stream is not None and stream._failure):
            raise Refused(str(outcome))
        return type(outcome).__name__

    def check(self) -> None:
        """No bug of ours was met, and the seller serves."""
        bugs, self.bugs = self.bugs, []
        assert not bugs, f"a bug was met: {bugs[0]:.300}"
        assert not self.selling._inbound.partial_bytes, "a message in part is held for ever"
        assert run(self.is_served()), "an honest buyer is not answered"


_EXCHANGES: list[Exchange] = []


def _exchange() -> Exchange:
    if not _EXCHANGES:
        _EXCHANGES.append(Exchange())
    return _EXCHANGES[0]


def _reset() -> None:
    while _EXCHANGES:
        _EXCHANGES.pop().stop()


def _seller_seeds() -> list[bytes]:
    cids = [b"\x01\x55" + sha256_multihash(block(number)) for number in (1, 2, 3)]
    listed = [BlockWant(cid, cid[2:], 1, number == 1, True) for number, cid in enumerate(cids)]
    wants = encode_wants(listed, cids[:1], WireForm.PRESENCES)
    return [frame(wants), frame(wants) * 5, frame(encode_wants(listed, (), WireForm.BLOCKS)), HONEST, b"\x00"]


def _buyer_seeds() -> list[bytes]:
    other = BlockPayload(CID_PREFIX, block(3))
    told = encode_answer([CID], [b"\x01\x55" + sha256_multihash(block(3))], [other], WireForm.PRESENCES)
    absent = encode_answer((), [CID], (), WireForm.PRESENCES)
    plain = encode_answer((), (), [BlockPayload(b"\x00\x70\x12\x20", WANTED)], WireForm.BLOCKS)
    return [HONEST, b"".join(told), b"".join(absent), b"".join(plain), HONEST * 3, *_seller_seeds()[:2]]


# -- the engine of a fleet's store


class Engine:
    """Speaks as an engine of one node does, but for one reply, after which it hangs up."""

    def __init__(self) -> None:
        self.reply = b""
        self.is_map = False
        self.hangs_up = True
        """After that reply: one that is cut short would be waited for."""
        self._writers: set[asyncio.StreamWriter] = set()
        self._server = run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(OSError, ValueError, asyncio.IncompleteReadError):
            while words := await self._command(reader):
                honest = self._honest(words)
                writer.write(self.reply if honest is None else honest)
                if honest is None and self.hangs_up:
                    await writer.drain()
                    break
        self._writers.discard(writer)
        writer.close()

    async def _command(self, reader: asyncio.StreamReader) -> list[bytes]:
        head = await reader.readline()
        words = []
        for _ in range(int(head[1:] or 0)):
            size = int((await reader.readline())[1:])
            words.append((await reader.readexactly(size + 2))[:-2])
        return words

    def _honest(self, words: list[bytes]) -> bytes | None:
        """None where the reply is the stranger's."""
        name = words[0].upper()
        if name == b"CLUSTER":
            return None if self.is_map else self.slots()
        return _REPLIES.get(name)

    def stop(self) -> None:
        """Ends it, and its connections."""
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    def slots(self) -> bytes:
        """All of them here."""
        return b"*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$9\r\n127.0.0.1\r\n:%d\r\n$2\r\nid\r\n" % self.port


_REPLIES: Final = {
    b"HELLO": b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n",
    b"COMMAND": b"*0\r\n",
    b"CLIENT": b"+OK\r\n",
    b"READONLY": b"+OK\r\n",
    b"PING": b"+PONG\r\n",
}
_CONTENT: Final = b"\x12\x20" + bytes(32)
_ROW: Final = SharedRow(_CONTENT, b"o" * 17, b"value", 60)
_STORE_CONFIG: Final = FleetConfig(
    connect_timeout_s=2.0, read_timeout_s=2.0, write_timeout_s=2.0, pause_s=0.0
)
_CALLS: Final[tuple[Callable[[SharedStore], Awaitable[object]], ...]] = (
    lambda store: store.get(_CONTENT),
    lambda store: store.put([_ROW, _ROW._replace(field=b"m" * 17)]),
    lambda store: store.drop(_CONTENT, [b"o" * 17]),
    lambda store: store.send(b"peer", b"message"),
    lambda store: store.messages(b"peer"),
    lambda store: store.get_value(b"key", 100),
    lambda store: store.put_value(b"key", b"value", 60),
    lambda store: store.runs(),
    lambda store: store.get(_CONTENT),  # with a hostile map
)


class Fleet:
    """An engine, and a server's client of it."""

    def __init__(self) -> None:
        self.engine = Engine()
        self._store = self._connected()

    def _connected(self) -> SharedStore:
        async def made() -> SharedStore:
            return SharedStore(StoreUrl.parse(f"redis://127.0.0.1:{self.engine.port}"), _STORE_CONFIG, "fuzz")

        return run(made())

    def play(self, data: bytes) -> object:
        """The first byte says to which call. Whatever the engine replies, the call ends in a result of its
        type, or in a StorageFault."""
        which = (data[0] if data else 0) % len(_CALLS)
        is_map = which == len(_CALLS) - 1
        self.engine.reply, self.engine.is_map, self.engine.hangs_up = data[1:], is_map, True
        if is_map:
            run(self._store.close())
            self._store = self._connected()
        return run(self._called(which))

    async def _called(self, which: int) -> object:
        found = await asyncio.wait_for(_CALLS[which](self._store), ANSWER_S)
        assert isinstance(found, _RESULTS[which]), f"{found!r:.200}"
        for one in found if isinstance(found, list) else ():
            assert isinstance(one, bytes), f"{one!r:.200}"
        if isinstance(found, SharedFields):
            pairs = found.fields.items()
            assert all(isinstance(name, bytes) and isinstance(value, bytes) for name, value in pairs), found
        return found

    def works(self) -> None:
        """The engine replies as it should: so does the client."""
        self.engine.is_map = self.engine.hangs_up = False
        self.engine.reply = _HONEST_FIELDS
        found = run(asyncio.wait_for(self._found(), ANSWER_S))
        assert found.fields == {b"o" * 17: b"value"}, found

    async def _found(self) -> SharedFields:
        """As soon as it has found the engine again."""
        while True:
            try:
                return await self._store.get(_CONTENT)
            except StorageFault:
                await asyncio.sleep(0)

    def stop(self) -> None:
        """Ends both."""
        run(self._store.close())
        self.engine.stop()


_FLEETS: list[Fleet] = []


def _fleet() -> Fleet:
    if not _FLEETS:
        _FLEETS.append(Fleet())
    return _FLEETS[0]


def _reset_fleet() -> None:
    while _FLEETS:
        _FLEETS.pop().stop()


_RESULTS: Final[tuple[tuple[type, ...], ...]] = (
    (SharedFields,),
    (dict,),
    (type(None),),
    (type(None),),
    (list,),
    (bytes, type(None)),
    (type(None),),
    (frozenset,),
    (SharedFields,),
)


_HONEST_FIELDS: Final = b"*2\r\n:0\r\n*2\r\n$17\r\n" + b"o" * 17 + b"\r\n$5\r\nvalue\r\n"


def _replies() -> list[bytes]:
    honest = (
        _HONEST_FIELDS,
        b":1\r\n",
        b":1\r\n",
        b":1\r\n",
        b"*2\r\n$3\r\nabc\r\n$0\r\n\r\n",
        b"$3\r\nabc\r\n",
        b"+OK\r\n",
        b"$14\r\nrun_id:abcdef\n\r\n",
        b"*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$9\r\n127.0.0.1\r\n:6379\r\n$2\r\nid\r\n",
    )
    odd = (
        *(b"$-1\r\n", b"*-1\r\n", b":7\r\n", b"*0\r\n", b"+\xff\r\n", b"-ERR wrong\r\n", b"-WRONGTYPE x\r\n"),
        *(
            b"-MOVED 1 127.0.0.1:1\r\n",
            b"-ASK 1 x\r\n",
            b"-TRYAGAIN\r\n",
            b"*1\r\n*1\r\n*1\r\n:0\r\n",
            b"_\r\n",
        ),
        *(
            b"#t\r\n",
            b",1.5\r\n",
            b",nan\r\n",
            b"(1234567890123456789012\r\n",
            b"=7\r\ntxt:abc\r\n",
            b"~1\r\n+a\r\n",
        ),
        *(b"%1\r\n+a\r\n:1\r\n", b">2\r\n+a\r\n+b\r\n:1\r\n", b"*2\r\n:0\r\n%1\r\n$1\r\na\r\n$1\r\nb\r\n"),
        *(
            b"*2\r\n:0\r\n*1\r\n$1\r\na\r\n",
            b"*2\r\n+x\r\n*0\r\n",
            b"*2\r\n:0\r\n*2\r\n:1\r\n:2\r\n",
            b"*1\r\n:0\r\n",
        ),
    )
    found = [bytes((at,)) + reply for at, reply in enumerate(honest)]
    return [*found, *(bytes((at,)) + reply for at in range(len(_CALLS)) for reply in odd)]


def _bitswap(
    name: str,
    entry: str,
    seeds: Callable[[], list[bytes]],
    check: Callable[[Exchange, bytes], Awaitable[object]],
) -> Target:
    def play(data: bytes) -> object:
        exchange = _exchange()
        return run(asyncio.wait_for(check(exchange, data), ANSWER_S))  # type: ignore[arg-type]

    return Target(
        name,
        entry,
        seeds,
        play,
        (Refused, FastmarketError),
        Shape.PROTOBUF,
        after=lambda _data: _exchange().check(),
        reset=_reset,
        spare_bytes=8 << 20,
    )


TARGETS: tuple[Target, ...] = (
    _bitswap("bitswap-seller", "fastmarket.net.bitswap.inbound.Inbound.read", _seller_seeds, Exchange.sell),
    _bitswap(
        "bitswap-buyer", "fastmarket.net.bitswap.exchange.BitswapExchange.ask", _buyer_seeds, Exchange.buy
    ),
    Target(
        "store-reply",
        "fastmarket.storage.shared.SharedStore",
        _replies,
        lambda data: _fleet().play(data),
        (StorageFault,),
        Shape.BYTES,
        after=lambda _data: _fleet().works(),
        reset=_reset_fleet,
        spare_bytes=8 << 20,
        max_cpu_s=0.5,
    ),
)
