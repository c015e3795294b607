"""Requests over HTTP: of buyers to the port of contents, of pages and programs to that of the page, whole and
in pieces."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from random import Random

import h2.config
import h2.connection
from hpack import Encoder

from fastmarket.content.port.desk import AnswerDesk
from fastmarket.content.port.gateway import Gateway
from fastmarket.content.port.http1 import Http1Speaker
from fastmarket.content.port.http2 import Http2Speaker
from fastmarket.content.port.messages import RequestRefused
from fastmarket.content.port.pieces import AnswerCut, FileSlice, read_slice
from fastmarket.content.port.speaker import Speaker
from fastmarket.content.port.tally import PortTally
from fastmarket.content.port.targets import parse_target
from fastmarket.errors import CallerFault
from fastmarket.web.filters import Filters
from tests.content.port.shop import Shop
from tests.fuzz import live
from tests.fuzz.target import Shape, Target, as_text
from tests.fuzz.values import ADDRS, ED25519

MAX_HEAD = 16 << 10
MAX_TURNS = 20_000  # pieces of all answers to one input
DATE = 1_800_000_000.0


# -- the port of contents, without its sockets


class _Stall:
    """A shop with a file, a directory and blocks, and a gateway to it."""

    def __init__(self) -> None:
        self._home = tempfile.TemporaryDirectory()
        path = Path(self._home.name) / "file.bin"
        path.write_bytes(Random(7).randbytes(300_000))
        self.data = path.read_bytes()
        self.shop = Shop()
        self.file = self.shop.sell(path)
        small = Path(self._home.name) / "small"
        small.write_bytes(b"small")
        self.directory = self.shop.directory(file=self.file, small=self.shop.sell(small))
        self.gateway = Gateway(self.shop)


@cache
def _stall() -> _Stall:
    return _Stall()


def _desk() -> AnswerDesk:
    return AnswerDesk(_stall().gateway, PortTally(), 1000, lambda: DATE)


def _sent(speaker: Speaker) -> bytes:
    """All that it has to send now."""
    parts: list[bytes] = []
    for _ in range(MAX_TURNS):
        piece = speaker.next_piece()
        if piece is None:
            return b"".join(parts)
        parts.append(read_slice(piece) if isinstance(piece, FileSlice) else bytes(piece))
    raise AssertionError("answers without end")


def _answers(speaker: Speaker, data: bytes, sizes: Sequence[int]) -> bytes:
    """To a stream in pieces of these sizes, round and round."""
    at, found, turn = 0, [], 0
    while at < len(data) and not speaker.is_closing:
        size = sizes[turn % len(sizes)]
        turn += 1
        try:
            speaker.receive(data[at : at + size])
            found.append(_sent(speaker))
        except AnswerCut:
            break
        at += size
    speaker.receive_end()
    found.append(_sent(speaker))
    assert not speaker.is_busy, "an answer is left"
    speaker.drop()
    return b"".join(found)


def content_http1(data: bytes) -> object:
    """However a stream is cut, it is answered alike; answers end, and no request is left."""
    desk = _desk()
    whole = _answers(Http1Speaker(desk, MAX_HEAD), data, [1 << 20])
    pieces = _answers(Http1Speaker(desk, MAX_HEAD), data, [1, 7, 64])
    assert whole == pieces, f"in pieces: {pieces[:200]!r}, whole: {whole[:200]!r}"
    assert desk.tally.running == 0, "an answer is counted for ever"
    assert 500 not in desk.tally.requests
    return _judged(desk)


def _judged(desk: AnswerDesk) -> object:
    codes = sorted(desk.tally.requests)
    if not codes or codes[-1] >= 400:
        raise live.Refused(str(codes))
    return codes


def _requests() -> list[bytes]:
    stall = _stall()
    lines = (
        f"GET /ipfs/{stall.file} HTTP/1.1",
        f"GET /ipfs/{stall.file}?format=car&dag-scope=block&car-dups=y HTTP/1.1",
        f"GET /ipfs/{stall.directory}/small?entity-bytes=1:*&dag-scope=entity&format=car HTTP/1.1",
        f"GET /ipfs/{stall.directory}/?format=raw HTTP/1.1",
        f"HEAD /ipfs/{stall.directory}/file?filename=a%20b&download=true HTTP/1.0",
        f"OPTIONS http://host/ipfs/{stall.file} HTTP/1.1",
        f"GET /ipfs/{stall.directory}/%66ile HTTP/1.1",
    )
    fields = (
        'Range: bytes=5-9,100-,-5\r\nIf-Range: "x"\r\nHost: a',
        f'If-None-Match: W/"{stall.file}", "x", *\r\nAccept: text/html, */*;q=0.1\r\nHost: [::1]:80',
        "Accept: application/vnd.ipld.car; version=1; order=dfs; dups=n, application/vnd.ipld.raw\r\nHost: a",
        "Cache-Control: only-if-cached\r\nConnection: keep-alive\r\nHost: a",
        "Range: bytes=0-0\r\nTransfer-Encoding: chunked\r\nHost: a",
    )
    end = "\r\n\r\n"
    one = [f"{line}\r\n{field}{end}".encode() for line in lines for field in fields]
    return [*one, b"".join(one[:3]), one[0][:40], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]


def content_http2(data: bytes) -> object:
    """Frames in two ways of cutting; whatever they are, answers end."""
    codes: list[object] = []
    for sizes in ([1 << 20], [9, 100]):
        desk = _desk()
        _answers(Http2Speaker(desk, MAX_HEAD), data, sizes)
        assert desk.tally.running == 0, "an answer is counted for ever"
        codes.append(sorted(desk.tally.requests))
    return _judged(desk)


def _frames() -> list[bytes]:
    stall = _stall()
    found = []
    for path in (f"/ipfs/{stall.file}", f"/ipfs/{stall.directory}/small?format=car", "/x"):
        client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        client.initiate_connection()
        for stream in (1, 3):
            head = [(":method", "GET"), (":path", path), (":scheme", "https"), (":authority", "a")]
            client.send_headers(stream, [*head, ("range", "bytes=1-5")], end_stream=True)
        client.increment_flow_control_window(1 << 20)
        client.ping(b"12345678")
        client.reset_stream(3)
        found.append(client.data_to_send())
    for path in (b"/ipfs/x", b"/ipfs/\xff", b"/ipfs/%ff", b""):
        scheme = [(b":method", b"GET"), (b":path", path), (b":scheme", b"https"), (b":authority", b"a")]
        fields = Encoder().encode([*scheme, (b"range", b"bytes=\xff"), (b"x", b"y" * 300)])
        frame = len(fields).to_bytes(3, "big") + b"\x01\x05" + (5).to_bytes(4, "big") + fields
        found.append(found[0] + frame)
    return [*found, found[0][:24]]


def content_target(data: bytes) -> object:
    target = parse_target(data.decode("utf-8", "replace"))  # a speaker refuses what is not UTF-8
    assert not {"", ".", ".."} & set(target.segments)
    return target.segments


def filters(data: bytes) -> object:
    addrs, _, protocols = as_text(data).partition("\n")
    made = Filters.parse(addrs, protocols, 1024)
    kept = made.addrs(ADDRS)
    if kept is None:
        raise live.Refused("no address passes")
    assert set(kept) <= set(ADDRS)
    return len(kept)


# -- whole ports


def _at(port: Callable[[live.LiveNode], int], data: bytes) -> object:
    node = live.live()
    return node.judged(node.http(port(node), data))


def still_works(data: bytes) -> None:
    """All ports answer as before, and no bug was met."""
    live.live().works()


def _page_requests() -> list[bytes]:
    cid, peer = str(_stall().file), str(ED25519[1].peer_id)
    gets = (
        *(
            "/",
            "/status.json",
            "/search?q=x",
            "/market",
            "/market/goods?after=",
            "/market/gets",
            "/market/get/x",
        ),
        *(f"/routing/v1/providers/{cid}?filter-addrs=tcp,!udp&filter-protocols=unknown", "/routing/v1/x"),
        *(f"/routing/v1/peers/{peer}", f"/routing/v1/dht/closest/peers/{cid}", f"/routing/v1/ipns/{peer}"),
    )
    posts = {
        "/market/sell": {"path": "/nowhere", "price": "3", "name": "x", "each_file": True, "watch": False},
        "/market/unsell": {"content": cid},
        "/market/paths": {"in": "/nowhere"},
        "/market/plan": {"content": f"{cid}/a", "max_price": "1", "max_cost": "2"},
        "/market/get": {"content": cid, "name": "a", "max_price": "1", "max_cost": "2"},
        "/market/get/x/stop": {},
    }
    fields = (
        "Host: 127.0.0.1\r\nAccept: application/x-ndjson, application/json;q=0.5\r\nConnection: close\r\n"
    )
    found = [f"GET {path} HTTP/1.1\r\n{fields}\r\n".encode() for path in gets]
    for path, body in posts.items():
        text = json.dumps(body)
        kind = f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n"
        found.append(f"POST {path} HTTP/1.1\r\n{fields}{kind}\r\n{text}".encode())
    record = "Content-Type: application/vnd.ipfs.ipns-record\r\nContent-Length: 3\r\n"
    found.append(f"PUT /routing/v1/ipns/{peer} HTTP/1.1\r\n{fields}{record}\r\nabc".encode())
    found.append(b"GET / HTTP/1.1\r\nHost: evil.example\r\nSec-Fetch-Site: cross-site\r\n\r\n")
    return found


def page_json(data: bytes) -> object:
    """Bodies of the page's requests; the first byte says of which."""
    paths = ("sell", "unsell", "paths", "plan", "get")
    path, body = paths[(data[0] if data else 0) % len(paths)], data[1:]
    head = f"POST /market/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return _at(lambda node: node.page_port, (head + kind).encode() + body)


def _bodies() -> list[bytes]:
    cid = str(_stall().file)
    sell = {"path": "/nowhere", "price": "3", "name": "x", "each_file": True, "watch": False}
    bodies: tuple[object, ...] = (
        sell,
        {"content": cid},
        {"in": "/nowhere"},
        {"content": cid, "max_price": "18446744073709551615", "max_cost": "9" * 29},
        {"content": f"{cid}/a", "name": "a\nb", "max_price": 5},
        [sell],
    )
    found = [bytes((at,)) + json.dumps(body).encode() for at in range(5) for body in bodies]
    return [
        *found,
        b"\x00" + b"[" * 3000,
        b'\x03{"content":"\\ud800"}',
        b'\x00{"path":"\\u0000","price":"0"}',
    ]


def _live(
    name: str, entry: str, seeds: Callable[[], Sequence[bytes]], check: Callable[[bytes], object]
) -> Target:
    shape = Shape.JSON if name == "page-json" else Shape.HTTP
    return Target(
        name,
        f"fastmarket.{entry}",
        seeds,
        check,
        (live.Refused,),
        shape,
        after=still_works,
        reset=live.reset,
        first=name == "content-port",
        spare_bytes=8 << 20,
    )


TARGETS: tuple[Target, ...] = (
    Target(
        "content-http1",
        "fastmarket.content.port.http1.Http1Speaker",
        _requests,
        content_http1,
        (live.Refused,),
        Shape.HTTP,
        spare_bytes=16 << 20,
    ),
    Target(
        "content-http2",
        "fastmarket.content.port.http2.Http2Speaker",
        _frames,
        content_http2,
        (live.Refused,),
        Shape.BYTES,
        spare_bytes=16 << 20,
    ),
    Target(
        "content-target",
        "fastmarket.content.port.targets.parse_target",
        lambda: [line.split(b" ")[1] for line in _requests()[:35]],
        content_target,
        (RequestRefused,),
        Shape.TEXT,
    ),
    Target(
        "routing-filters",
        "fastmarket.web.filters.Filters.parse",
        lambda: [b"tcp,!udp, quic-v1\nunknown,transport-bitswap", b"," * 50],
        filters,
        (CallerFault, live.Refused),
        Shape.TEXT,
    ),
    _live(
        "content-port",
        "content.port.server.ContentServer",
        _requests,
        partial(_at, lambda node: node.content_port),
    ),
    _live("page-port", "web.server.WebServer", _page_requests, partial(_at, lambda node: node.page_port)),
    _live(
        "metrics-port",
        "web.metrics.metrics_routes",
        lambda: [b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /readyz HTTP/1.0\r\n\r\n"],
        partial(_at, lambda node: node.metrics_port),
    ),
    _live("page-json", "web.market_api.MarketApi", _bodies, page_json),
)
