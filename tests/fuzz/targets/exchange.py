"""Blocks of strangers: Bitswap in both roles, and holders that answer a fetch over HTTP. Nothing that is not
verified is written, and an honest holder beside is enough."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cache
from random import Random

from fastmarket.config import FetchConfig, HolderConfig
from fastmarket.config.bitswap import BitswapConfig
from fastmarket.errors import PeerFault
from fastmarket.exchange.bitswap.client import BitswapClient, BlockSent
from fastmarket.exchange.bitswap.message import (
    BitswapMessage,
    BlockPayload,
    BlockWant,
    WireForm,
    decode_message,
    encode_answer,
    encode_wants,
)
from fastmarket.exchange.bitswap.server import BitswapServer, ReadBlock, SendAnswer
from fastmarket.exchange.fetching.events import Ask, FetchFinished
from fastmarket.exchange.fetching.fetch import Fetch
from fastmarket.exchange.fetching.holder import AskFailure
from fastmarket.exchange.fetching.order import FetchOrder
from fastmarket.formats.cid import Cid, sha256_multihash
from fastmarket.formats.identity import PeerId
from fastmarket.formats.varint import decode_uvarint
from fastmarket.net.fetching.http_holder import retry_after_s
from fastmarket.net.fetching.http_response import HttpResponse, HttpResponses
from fastmarket.pb.libp2p.bitswap_pb2 import Message
from tests.fuzz.live import Refused, run
from tests.fuzz.target import Shape, Target
from tests.fuzz.values import ED25519
from tests.net.fetching.gateway import head, ok
from tests.net.fetching.sellers import buying
from tests.virtual.dags import Blocks
from tests.virtual.fetching import START, FetchRun, VirtualHolder

ANN, BOB = ED25519[0].peer_id, ED25519[1].peer_id
NOW, DEADLINE = 1000.0, 1010.0
HELD = tuple(Random(number).randbytes(50 * (number + 1)) for number in range(6))
RAW = b"\x01\x55"
PREFIX = RAW + b"\x12\x20"
MOST_BYTES = 2000  # of a block that is asked for over HTTP


def _cid(block: bytes) -> bytes:
    return RAW + sha256_multihash(block)


# -- Bitswap


def _messages() -> list[bytes]:
    wants = [
        BlockWant(_cid(block), sha256_multihash(block), 9 - at, at == 1, at != 2)
        for at, block in enumerate(HELD)
    ]
    payloads = [BlockPayload(PREFIX, block) for block in HELD]
    cids = [_cid(block) for block in HELD]
    found = [encode_wants(wants, cids[:2], form, is_full=True) for form in WireForm]
    for form in WireForm:
        answer = b"".join(encode_answer(cids[:2], cids[2:4], payloads, form))
        if answer:  # blocks of version 1.0.0 are of other CIDs
            found.append(answer[decode_uvarint(answer)[1] :])
    return [*found, found[0] + found[3]]


def bitswap_message(data: bytes) -> object:
    """The shortcut for blocks gives what protobuf itself gives."""
    message = decode_message(data)
    plain = Message.FromString(data)
    expected = [(one.prefix, one.data) for one in plain.payload]
    found = [tuple(one) for one in message.payloads if one not in _of_blocks(plain)]
    assert sorted(found) == sorted(one for one in expected if BlockPayload(*one) not in _of_blocks(plain))
    assert len(message.payloads) == len(plain.payload) + len(plain.blocks)
    assert message.is_full == plain.wantlist.full
    return message


def _of_blocks(plain: Message) -> list[BlockPayload]:
    return [BlockPayload(b"\x00\x70\x12\x20", block) for block in plain.blocks]


class _Stock:
    """Some blocks, for everybody."""

    def __init__(self) -> None:
        self.blocks = {sha256_multihash(block): block for block in HELD[:4]}

    def size_for(self, peer: PeerId, multihash: bytes) -> int | None:
        block = self.blocks.get(multihash)
        return None if block is None else len(block)


def _serve(server: BitswapServer, stock: _Stock, now: float) -> list[SendAnswer]:
    """Until it has nothing more to do; peers take all that they are sent."""
    sent: list[SendAnswer] = []
    for _ in range(10_000):
        actions = server.poll_actions(now)
        for action in actions:
            if isinstance(action, ReadBlock):
                server.handle_block(action.read, stock.blocks.get(action.multihash), now)
            elif isinstance(action, SendAnswer):
                sent.append(action)
                encode_answer(action.haves, action.absent, action.payloads, WireForm.PRESENCES)
                server.handle_sent(action.answer, now)
        if not actions and not server.has_more:
            return sent
    raise AssertionError("it never comes to rest")


def bitswap_server(data: bytes) -> object:
    """What a stranger wants costs nothing once it was answered, and another peer gets its block."""
    message = decode_message(data)
    stock = _Stock()
    server = BitswapServer(BitswapConfig(), stock)
    for _ in range(2):
        server.handle_message(ANN, message, NOW)
        sent = _serve(server, stock, NOW)
        for answer in sent:
            for payload in answer.payloads:
                assert payload.data in HELD
        assert (server.want_count, server.outstanding_bytes) == (0, 0), "it counts what is gone"
    want = BlockWant(_cid(HELD[0]), sha256_multihash(HELD[0]))
    server.handle_message(BOB, BitswapMessage(wants=[want]), NOW)
    (answer,) = _serve(server, stock, NOW)
    assert (answer.peer, [one.data for one in answer.payloads]) == (BOB, [HELD[0]]), (
        "nobody is served any more"
    )
    return len(message.wants)


def bitswap_client(data: bytes) -> object:
    """Each ask has one outcome, with the right bytes if it has any; another peer's answer still counts."""
    client = BitswapClient(BitswapConfig())
    asked = {
        client.ask(ANN, _cid(block), NOW, DEADLINE, only_presence=at == 1): block
        for at, block in enumerate(HELD)
    }
    other = client.ask(BOB, _cid(HELD[0]), NOW, DEADLINE)
    client.poll_sends()
    fault = None
    try:
        client.handle_message(ANN, decode_message(data), NOW)
    except PeerFault as error:
        fault = error
    outcomes = client.poll_outcomes()
    client.handle_message(BOB, BitswapMessage(payloads=[BlockPayload(PREFIX, HELD[0])]), NOW)
    assert BlockSent(other, HELD[0]) in client.poll_outcomes(), "another peer is not heard any more"
    client.handle_timer(DEADLINE)
    outcomes += client.poll_outcomes()
    assert sorted(one.ask for one in outcomes) == sorted(asked), "an ask without an outcome, or with two"
    assert all(one.block == asked[one.ask] for one in outcomes if isinstance(one, BlockSent)), "not verified"
    assert client.ask_count == 0
    if fault is not None:
        raise fault
    return len(outcomes)


# -- a fetch


@cache
def _file() -> tuple[Blocks, Cid, bytes]:
    blocks, data = Blocks(), bytes(range(200))
    return blocks, blocks.file(data, chunk=32, width=3), data


class _HostileRun(FetchRun):
    """The first holder answers as its bytes tell: with other blocks, twice, late, or not."""

    def __init__(self, script: bytes, fetch: Fetch, blocks: Blocks, data: bytes) -> None:
        holders = [VirtualHolder(1, price=0, rtt_s=0.001), VirtualHolder(2, price=1, rtt_s=0.05)]
        super().__init__(fetch, blocks.blocks, holders, source=data)
        self._script = script
        self._read_bytes = 0

    def _next(self, count: int) -> bytes:
        self._read_bytes += count
        return self._script[self._read_bytes - count : self._read_bytes]

    def _serve(self, holder: VirtualHolder, ask: Ask) -> None:
        how = self._next(1)
        if holder.key != 1 or not how:
            super()._serve(holder, ask)
            return
        others = [*self.blocks.values()]
        block = self.blocks[ask.cid]
        choice = how[0] % 8
        if choice == 0:
            self._at_once("_deliver", ask, block[: how[0] >> 3] + self._next(8))
        elif choice == 1:
            self._at_once("_deliver", ask, others[how[0] % len(others)])
        elif choice == 2:
            self._at_once("_deliver", ask, self._next(40))
        elif choice == 3:
            self._at_once("_miss", ask)
        elif choice == 4:
            self._at_once("_fail", ask, [*AskFailure][how[0] % len(AskFailure)])
        elif choice == 5:  # twice, and for requests that there are not
            self._at_once("_deliver", ask, block)
            self._at_once("_deliver", ask, block)
            self.fetch.handle_block(ask.request + 1000, block, self.now)
        elif choice == 6:
            super()._serve(holder, ask)

    def _deliver(self, ask: Ask, block: bytes) -> None:
        """May come behind the lie that ended its holder: then it counts for nothing."""
        self.open.pop(ask.request, None)
        self.fetch.handle_block(ask.request, block, self.now)

    def _at_once(self, method: str, *args: object) -> None:
        self._at(0.001, method, *args)


def fetch_answers(data: bytes) -> object:
    """The file is whole, by the honest holder, whatever the other one sent."""
    blocks, root, whole = _file()
    run_ = _HostileRun(data, Fetch(root, FetchConfig(), START), blocks, whole)
    end = run_.start().run()
    assert isinstance(end, FetchFinished), f"the honest holder was not enough: {end}"
    assert bytes(run_.file) == whole
    return len(end.holders)


# -- over HTTP


def _feed(responses: HttpResponses, raw: bytes, size: int) -> list[HttpResponse]:
    found = []
    for at in range(0, len(raw), size):
        piece = raw[at : at + size]
        while piece:
            buffer = responses.buffer()
            assert len(buffer), "no room for what comes"
            count = min(len(buffer), len(piece))
            buffer[:count] = piece[:count]
            piece = piece[count:]
            if (response := responses.handle_received(count)) is not None:
                found.append(response)
    return found


def _outcome(data: bytes, size: int) -> tuple[list[HttpResponse], str]:
    responses = HttpResponses()
    responses.expect(MOST_BYTES)
    try:
        return _feed(responses, data, size), ""
    except PeerFault as fault:
        return [], type(fault).__name__
    finally:
        responses.close()


def http_response(data: bytes) -> object:
    """A response is read alike in one piece and byte by byte, if no bytes follow it; bodies have a bound."""
    whole, fault = _outcome(data, 1 << 20)
    pieces, fault_in_pieces = _outcome(data, 1)
    for one in (*whole, *pieces):
        assert len(one.body) <= MOST_BYTES
        assert not one.body or one.status == 200
        retry_after_s(one.retry_after, NOW, 60.0)
    if not fault and not fault_in_pieces:
        assert whole == pieces, f"{whole!r:.200} is not {pieces!r:.200}"
    if fault:
        raise PeerFault(fault)
    return len(whole)


def _responses() -> list[bytes]:
    block = HELD[3]
    chunked = (
        head("200 OK", "Transfer-Encoding: chunked") + b"5;a=b\r\n" + block[:5] + b"\r\n0\r\nT: 1\r\n\r\n"
    )
    return [
        ok(block),
        chunked,
        head("103 Early Hints", "Link: x") + ok(block),
        head("429 Too Many", "Retry-After: Wed, 21 Oct 2099 07:28:00 GMT", "Content-Length: 3") + b"abc",
        head("503 Busy", "Retry-After: 120", "Content-Length: 0"),
        head("301 Moved", "Location: http://x", "Content-Length: 0"),
        head("204 No Content"),
        head("404 Not Found", "Content-Length: 99999999999999999999"),
        head("200 OK", "Content-Encoding: gzip", "Content-Length: 5") + b"abcde",
        head("200 OK", "Content-Length: 5", "Connection: close") + b"abcde",
        head("200 OK", *(f"X-{at}: {'y' * 60}" for at in range(40)), "Content-Length: 0"),
    ]


def http_holder(data: bytes) -> object:
    """A buyer of real parts: one gateway answers each request with these bytes, another is honest."""
    blocks, root, whole = _file()

    async def hostile(cid: str, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if len(data) % 2:
            writer.close()

    async def fetch() -> bytes:
        holders = HolderConfig(search_timeout_s=2.0, progress_interval_s=0.0)
        quick = FetchConfig(first_timeout_s=0.05, min_timeout_s=0.05, first_pause_s=0.001)
        async with buying(root, [(hostile, 0), (blocks.blocks, 1)], config=quick, holders=holders) as bench:
            return (await bench.fetch(FetchOrder(root))).data

    found = run(asyncio.wait_for(fetch(), 20.0))
    assert found == whole, "not what was asked for"
    return found


def _blocks_over_http() -> list[bytes]:
    blocks, root, _ = _file()
    return [*_responses()[:8], ok(blocks.blocks[root.raw]), ok(next(iter(blocks.blocks.values())))]


def _target(
    name: str,
    entry: str,
    seeds: Callable[[], Sequence[bytes]],
    check: Callable[[bytes], object],
    shape: Shape,
) -> Target:
    return Target(name, f"fastmarket.{entry}", seeds, check, (PeerFault, Refused), shape, spare_bytes=4 << 20)


TARGETS: tuple[Target, ...] = (
    _target(
        "bitswap-message",
        "exchange.bitswap.message.decode_message",
        _messages,
        bitswap_message,
        Shape.PROTOBUF,
    ),
    _target(
        "bitswap-server", "exchange.bitswap.server.BitswapServer", _messages, bitswap_server, Shape.PROTOBUF
    ),
    _target(
        "bitswap-client", "exchange.bitswap.client.BitswapClient", _messages, bitswap_client, Shape.PROTOBUF
    ),
    _target(
        "fetch-answers",
        "exchange.fetching.fetch.Fetch.handle_block",
        lambda: [bytes(range(at, at + 60)) for at in range(8)],
        fetch_answers,
        Shape.BYTES,
    ),
    _target(
        "http-response", "net.fetching.http_response.HttpResponses", _responses, http_response, Shape.HTTP
    ),
    _target("http-holder", "net.fetching.http_holder.HttpHolder", _blocks_over_http, http_holder, Shape.HTTP),
)
