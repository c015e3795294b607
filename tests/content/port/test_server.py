"""The whole content port over real sockets, with clients of others."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from fastmarket.config import ContentConfig
from fastmarket.content.place import Place
from fastmarket.content.port import server as server_module
from fastmarket.content.port import shell as shell_module
from fastmarket.content.port.channels import PlainChannel
from fastmarket.content.port.cold import SliceCold, SliceReaders, check_in_memory
from fastmarket.content.port.pieces import FileSlice
from fastmarket.content.port.server import ContentServer
from fastmarket.errors import CallerFault
from fastmarket.faults import Faults
from fastmarket.formats.block import verify_block
from fastmarket.formats.cid import Cid
from tests.certificates import Authority
from tests.conftest import Run
from tests.content.port.asking import cids_of
from tests.content.port.conftest import TEXT
from tests.content.port.shop import Shop
from tests.net.loopback import until

CONFIG = ContentConfig(
    port=0, max_connections=6, max_connections_per_ip=6, max_turned_away=2, stop_grace_s=0.2
)
LOOK_S = 0.02
SOON = replace(CONFIG, request_timeout_s=0.1, unread_timeout_s=0.1, keep_alive_s=0.1)
PROBE = b"GET /ipfs/bafkqaaa?format=raw HTTP/1.1\r\nHost: x\r\n\r\n"
SLOW_BYTES = 6 << 20
ELSEWHERE = "127.0.0.9"
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def serving(shop: Shop, config: ContentConfig = CONFIG) -> AsyncIterator[tuple[ContentServer, int]]:
    server = ContentServer(shop, config, sweep_s=LOOK_S)
    port = await server.start()
    try:
        yield server, port
    finally:
        await server.stop()
        assert server.tally.open_connections == 0
        assert server.tally.running == 0


async def connect(port: int, sent: bytes = b"", host: str = "127.0.0.1") -> Stream:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(host, 0))
    writer.write(sent)
    return reader, writer


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What comes before the end, of either kind."""
    parts = []
    try:
        while part := await reader.read(1 << 16):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


async def read_slowly(sock: socket.socket, most: int, pause_s: float) -> int:
    """Bytes up to the end. Raises ConnectionError if that is not in order."""
    got, loop = 0, asyncio.get_running_loop()
    while part := await loop.sock_recv(sock, most):
        got += len(part)
        await asyncio.sleep(pause_s)
    return got


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """More than the buffers of a socket take."""
    path = tmp_path / "big.bin"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    return path


def small_buffers(port: int, sent: bytes) -> socket.socket:
    """A client that reads when it likes."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    sock.sendall(sent)
    sock.setblocking(False)
    return sock


def test_a_client_fetches_block_car_and_file(run: Run[Any], shop: Shop, file: Path) -> None:
    root = shop.sell(file)

    async def main() -> None:
        async with (
            serving(shop) as (server, port),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
        ):
            for cid in (root, *shop.leaves):
                got = await client.get(f"/ipfs/{cid}?format=raw")
                assert verify_block(cid, got.content)
            got = await client.get(f"/ipfs/{root}?format=car")
            assert cids_of(got.content) == [str(root), *map(str, shop.leaves)]
            got = await client.get(f"/ipfs/{root}")
            assert got.content == TEXT
            got = await client.get(f"/ipfs/{root}", headers={"Range": "bytes=262140-262150"})
            assert (got.status_code, got.content) == (206, TEXT[262140:262151])
            got = await client.head(f"/ipfs/{root}")
            assert (got.headers["content-length"], got.content) == (str(len(TEXT)), b"")
            assert server.tally.connections == 1
            assert server.tally.requests == {200: 8, 206: 1}
            assert sum(server.tally.take_sent().values()) == 3 * len(TEXT) + 11
            assert server.tally.take_sent() == {}

    run(main())


def test_it_runs_on_the_standard_loop(shop: Shop, file: Path) -> None:
    root = shop.sell(file)

    async def main() -> None:
        async with serving(shop) as (_, port), httpx.AsyncClient() as client:
            got = await client.get(f"http://127.0.0.1:{port}/ipfs/{root}?format=car")
            assert len(cids_of(got.content)) == 5

    asyncio.run(main())


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_curl_resumes_a_file(run: Run[Any], shop: Shop, file: Path, tmp_path: Path) -> None:
    root = shop.sell(file)
    part = tmp_path / "part"
    part.write_bytes(TEXT[:300_000])

    async def main() -> None:
        async with serving(shop) as (_, port):
            command = [
                "curl",
                "-sS",
                "--fail",
                "-C",
                "-",
                "-o",
                str(part),
                f"http://127.0.0.1:{port}/ipfs/{root}",
            ]
            done = await asyncio.to_thread(
                subprocess.run, command, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr

    run(main())
    assert part.read_bytes() == TEXT


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_curl_notices_a_car_that_is_cut(run: Run[Any], shop: Shop, file: Path, tmp_path: Path) -> None:
    root = shop.sell(file)
    shop.forget(shop.leaves[-1].multihash)

    async def main() -> None:
        async with serving(shop) as (server, port):
            url = f"http://127.0.0.1:{port}/ipfs/{root}?format=car"
            command = ["curl", "-sS", "--fail", "-o", str(tmp_path / "cut.car"), url]
            done = await asyncio.to_thread(
                subprocess.run, command, capture_output=True, text=True, check=False
            )
            assert done.returncode != 0
            assert server.tally.aborted == 1

    run(main())


def test_a_file_that_changes_under_way_is_cut(run: Run[Any], shop: Shop, big: Path) -> None:
    root = shop.sell(big)

    async def main() -> None:
        async with serving(shop) as (server, port):
            sock = small_buffers(port, f"GET /ipfs/{root} HTTP/1.1\r\n\r\n".encode())
            await until(lambda: server.tally.bytes_sent)
            with big.open("r+b") as writer:
                writer.write(b"changed")
            with pytest.raises(ConnectionResetError):
                await read_slowly(sock, 1 << 20, 0)
            sock.close()
            await until(lambda: server.tally.aborted == 1)

    run(main())


def out_of_memory(path: Path) -> None:
    """Leaves the file on the disk alone."""
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def is_cold(path: Path) -> bool:
    """Whether the system says that it would have to read the file's end."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        check_in_memory(descriptor, FileSlice(None, 0, size))  # type: ignore[arg-type]
    except SliceCold:
        return True
    finally:
        os.close(descriptor)
    return False


@pytest.mark.parametrize("way", ["plain", "http/1.1", "h2"])
def test_what_is_not_in_memory_is_read_beside_the_loop(
    run: Run[Any], shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    data = Random(1).randbytes(3 << 20)
    path = tmp_path / "cold.bin"
    path.write_bytes(data)
    root = shop.sell(path)
    probe = tmp_path / "probe.bin"
    probe.write_bytes(data)
    out_of_memory(probe)
    tells = is_cold(probe)  # to ask has the kernel begin to read: not of the file itself
    authority = Authority(tmp_path)
    config = CONFIG if way == "plain" else secured(tmp_path, authority)
    reads: list[FileSlice] = []

    class Readers(SliceReaders):
        def read(self, piece: FileSlice, done: Callable[[], None]) -> None:
            reads.append(piece)
            super().read(piece, done)

    monkeypatch.setattr(shell_module, "SliceReaders", Readers)

    async def main() -> None:
        async with (
            serving(shop, config) as (_, port),
            httpx.AsyncClient(http2=way == "h2", verify=trusting(authority)) as client,
        ):
            url = f"{'http' if way == 'plain' else 'https'}://localhost:{port}/ipfs"
            for query in ("?filename=a.bin", "?format=car"):
                reads.clear()
                while tells and not reads:  # pages in use are not left out
                    await asyncio.to_thread(out_of_memory, path)
                    got, other = await asyncio.gather(
                        client.get(f"{url}/{root}{query}"), client.get(f"{url}/bafkqaaa?format=raw")
                    )
                    assert other.status_code == 200
                    if "car" in query:
                        assert len(cids_of(got.content)) == 13
                    else:
                        assert got.content == data
            reads.clear()
            assert (await client.get(f"{url}/{root}")).content == data
            assert not reads

    run(main())


# --- bounds


@pytest.mark.parametrize("sent", [b"", PROBE[:-2], b"GET /", PROBE + b"GET /"])
def test_who_does_not_finish_a_request_is_disconnected(run: Run[Any], shop: Shop, sent: bytes) -> None:
    async def main() -> None:
        async with serving(shop, replace(SOON, keep_alive_s=60.0)) as (_, port):
            reader, writer = await connect(port, sent)
            await rest(reader)
            writer.close()

    run(main())


def test_a_byte_now_and_then_is_not_enough(run: Run[Any], shop: Shop) -> None:
    async def main() -> None:
        async with serving(shop, SOON) as (_, port):
            reader, writer = await connect(port)
            ended = asyncio.ensure_future(rest(reader))
            for byte in PROBE * 100:
                if ended.done() or writer.is_closing():
                    break
                writer.write(bytes((byte,)) if byte not in b"\r\n" else b"x")
                await asyncio.sleep(0.01)
            await ended
            writer.close()

    run(main())


def test_an_idle_connection_ends_in_order(run: Run[Any], shop: Shop) -> None:
    async def main() -> None:
        async with serving(shop, replace(SOON, request_timeout_s=60.0)) as (_, port):
            reader, writer = await connect(port, PROBE)
            assert (await rest(reader)).startswith(b"HTTP/1.1 200 OK\r\n")
            writer.close()

    run(main())


def test_who_does_not_read_is_disconnected(run: Run[Any], shop: Shop, big: Path) -> None:
    root = shop.sell(big)

    async def main() -> None:
        async with serving(shop, SOON) as (server, port):
            sock = small_buffers(port, f"GET /ipfs/{root} HTTP/1.1\r\n\r\n".encode())
            await until(lambda: server.tally.aborted == 1)
            sock.close()

    run(main())


def test_who_reads_too_slowly_is_disconnected(run: Run[Any], shop: Shop, big: Path) -> None:
    root = shop.sell(big)

    async def main() -> None:
        config = replace(SOON, min_rate_bytes=1 << 40)
        async with serving(shop, config) as (server, port):
            sock = small_buffers(port, f"GET /ipfs/{root} HTTP/1.1\r\n\r\n".encode())
            with pytest.raises(ConnectionError):
                await read_slowly(sock, 4096, 0.01)
            assert server.tally.aborted == 1
            sock.close()

    run(main())


def test_who_reads_is_not_disconnected(run: Run[Any], shop: Shop, big: Path) -> None:
    """However slowly the buffer of the socket empties: it is writable again only in between."""
    os.truncate(big, SLOW_BYTES)
    root = shop.sell(big)

    async def main() -> None:
        async with serving(shop, replace(SOON, min_rate_bytes=1)) as (server, port):
            sock = small_buffers(port, f"GET /ipfs/{root} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
            assert await read_slowly(sock, 1 << 18, 0.002) > SLOW_BYTES
            assert server.tally.aborted == 0
            sock.close()

    run(main())


def test_an_answer_has_an_end(run: Run[Any], shop: Shop, big: Path) -> None:
    root = shop.sell(big)

    async def main() -> None:
        config = replace(CONFIG, answer_timeout_s=0.2, rate_bytes=100_000)
        async with serving(shop, config) as (server, port):
            reader, writer = await connect(port, f"GET /ipfs/{root} HTTP/1.1\r\n\r\n".encode())
            await rest(reader)
            await until(lambda: server.tally.aborted == 1)
            writer.close()

    run(main())


def test_idle_connections_give_way(run: Run[Any], shop: Shop) -> None:
    async def main() -> None:
        async with serving(shop) as (server, port):
            idle = [await connect(port) for _ in range(CONFIG.max_connections)]
            await until(lambda: server.tally.open_connections == CONFIG.max_connections)
            reader, writer = await connect(port, PROBE, ELSEWHERE)
            assert (await head_of(reader)).startswith(b"HTTP/1.1 200 OK\r\n")
            assert await rest(idle[0][0]) == b""
            assert server.tally.turned_away == 1
            for _, one in (*idle, (reader, writer)):
                one.close()

    run(main())


def test_when_all_are_busy_others_are_told_to_wait(run: Run[Any], shop: Shop, big: Path) -> None:
    root = shop.sell(big)

    async def main() -> None:
        async with serving(shop) as (server, port):
            ask = f"GET /ipfs/{root} HTTP/1.1\r\n\r\n".encode()
            busy = [small_buffers(port, ask) for _ in range(CONFIG.max_connections)]
            await until(lambda: server.tally.running == CONFIG.max_connections)
            reader, writer = await connect(port, PROBE, ELSEWHERE)
            answer = await rest(reader)
            assert answer.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
            assert b"\r\nRetry-After: 5\r\n" in answer
            writer.close()
            waiting = [await connect(port, b"", ELSEWHERE) for _ in range(CONFIG.max_turned_away + 1)]
            assert await rest(waiting[-1][0]) == b""  # beyond those, at once
            for sock in busy:
                sock.close()
            await until(lambda: server.tally.running == 0)
            for _, one in waiting:
                one.close()
            reader, writer = await connect(port, PROBE)
            assert (await head_of(reader)).startswith(b"HTTP/1.1 200 OK\r\n")
            writer.close()

    run(main())


def test_the_rate_is_that_of_all_together(run: Run[Any], shop: Shop, big: Path) -> None:
    root = shop.sell(big)
    rate = 2_000_000

    async def main() -> None:
        async with serving(shop, replace(CONFIG, rate_bytes=rate)) as (server, port):
            ask = f"GET /ipfs/{root} HTTP/1.1\r\n\r\n".encode()
            streams = [await connect(port, ask) for _ in range(3)]
            loop = asyncio.get_running_loop()
            began = loop.time()
            got = await asyncio.gather(*(reader.readexactly(300_000) for reader, _ in streams))
            took = loop.time() - began
            assert all(len(part) == 300_000 for part in got)
            # 0.9 MB at 2 MB/s, of which a tenth of a second's worth may come at once; never faster.
            assert server.tally.bytes_sent <= rate * (took + 0.2)
            assert took > 0.3
            for _, writer in streams:
                writer.close()

    run(main())


def test_requests_are_read_to_the_end_of_the_answer(run: Run[Any], shop: Shop) -> None:
    """What a client still sends must not destroy the answer that tells it why nobody listens."""

    async def main() -> None:
        async with serving(shop) as (_, port):
            ask = b"POST /ipfs/bafkqaaa HTTP/1.1\r\nContent-Length: 60000\r\n\r\n"
            for _ in range(20):
                reader, writer = await connect(port, ask + bytes(30_000))
                writer.write(bytes(30_000))
                assert (await rest(reader)).startswith(b"HTTP/1.1 405 ")
                writer.close()

    run(main())


def test_a_client_that_goes_away_costs_nothing(run: Run[Any], shop: Shop, big: Path) -> None:
    root = shop.sell(big)

    async def main() -> None:
        async with serving(shop) as (server, port):
            for _ in range(10):
                sock = small_buffers(port, f"GET /ipfs/{root} HTTP/1.1\r\n\r\n".encode())
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
            await until(lambda: server.tally.connections == 10 and not server.tally.open_connections)

    run(main())


def test_stopping_lets_answers_end_and_waits_for_nobody_else(run: Run[Any], shop: Shop, file: Path) -> None:
    root = shop.sell(file)

    async def main() -> None:
        server = ContentServer(shop, replace(CONFIG, stop_grace_s=60.0))
        port = await server.start()
        idle, idle_writer = await connect(port, PROBE)
        await head_of(idle)
        reader, writer = await connect(port, f"GET /ipfs/{root} HTTP/1.1\r\n\r\n".encode())
        head = await head_of(reader)
        stopping = asyncio.ensure_future(server.stop())
        assert await rest(reader) == TEXT
        assert b"200 OK" in head
        await stopping
        await server.stop()
        assert await rest(idle) == b""
        for one in (writer, idle_writer):
            one.close()
        with pytest.raises(ConnectionError):
            await connect(port)

    run(main())


def test_stopping_ends_what_does_not_end(run: Run[Any], shop: Shop, big: Path) -> None:
    root = shop.sell(big)

    async def main() -> None:
        async with serving(shop) as (server, port):
            sock = small_buffers(port, f"GET /ipfs/{root} HTTP/1.1\r\n\r\n".encode())
            await until(lambda: server.tally.running == 1)
        sock.close()

    run(main())


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_all_addresses_are_those_of_both_families(run: Run[Any], shop: Shop) -> None:
    async def main() -> None:
        async with serving(shop, replace(CONFIG, host="::")) as (_, port), httpx.AsyncClient() as client:
            for host in ("127.0.0.1", "[::1]"):
                assert (await client.get(f"http://{host}:{port}/ipfs/bafkqaaa")).status_code == 200

    run(main())


def test_a_port_in_use_is_named(run: Run[Any], shop: Shop) -> None:
    async def main() -> None:
        async with serving(shop) as (_, port):
            with pytest.raises(CallerFault) as caught:
                await ContentServer(shop, replace(CONFIG, port=port)).start()
            assert caught.value.field == "content-port"

    run(main())


# --- bugs


class Broken(Shop):
    """A shop with a bug: one file cannot be looked for."""

    def __init__(self, shop: Shop, *wrong: Cid) -> None:
        super().__init__()
        self.__dict__.update(shop.__dict__)
        self._wrong = {cid.multihash for cid in wrong}

    def find(self, multihash: bytes) -> Place | None:
        if multihash in self._wrong:
            raise ZeroDivisionError
        return super().find(multihash)


class Told(Faults):
    """Keeps what it is told to itself."""

    def tell(self, place: str, error: BaseException, what: object = "") -> None:
        self.count += 1


def test_a_bug_costs_one_connection(run: Run[Any], shop: Shop, file: Path) -> None:
    root = shop.sell(file)
    faults = Told()

    async def main() -> None:
        server = ContentServer(Broken(shop, shop.leaves[0]), CONFIG, faults=faults)
        port = await server.start()
        ask = f"GET /ipfs/{shop.leaves[0]}?format=raw HTTP/1.1\r\n\r\n".encode()
        for what in (ask, PROBE + ask, f"GET /ipfs/{root}?format=car HTTP/1.1\r\n\r\n".encode()):
            reader, writer = await connect(port, what)
            await rest(reader)
            writer.close()
        assert faults.count == 3
        reader, writer = await connect(port, PROBE)
        assert (await head_of(reader)).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()
        await server.stop()
        assert server.tally.running == 0

    run(main())


def test_a_bug_while_others_wait_for_a_turn_costs_one_connection(
    run: Run[Any], shop: Shop, file: Path
) -> None:
    root = shop.sell(file)
    faults = Told()

    async def main() -> None:
        config = replace(CONFIG, rate_bytes=2_000_000)
        server = ContentServer(Broken(shop, shop.leaves[-1]), config, faults=faults)
        port = await server.start()
        bad = await connect(port, f"GET /ipfs/{root}?format=car HTTP/1.1\r\n\r\n".encode())
        good = await connect(port, f"GET /ipfs/{root} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        broken, whole = await asyncio.gather(rest(bad[0]), rest(good[0]))
        assert faults.count == 1
        assert not broken.endswith(b"0\r\n\r\n")
        assert whole.endswith(TEXT)
        for _, writer in (bad, good):
            writer.close()
        await server.stop()

    run(main())


def test_connections_are_taken_after_a_bug(
    run: Run[Any], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Told()

    async def main() -> None:
        server = ContentServer(shop, CONFIG, faults=faults)
        port = await server.start()
        with monkeypatch.context() as wrong:
            wrong.setattr(PlainChannel, "__init__", None)
            reader, writer = await connect(port)
            assert await rest(reader) == b""
            writer.close()
        assert faults.count == 1
        reader, writer = await connect(port, PROBE)
        assert (await head_of(reader)).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()
        await server.stop()

    run(main())


def test_connections_are_taken_when_there_are_descriptors_again(
    run: Run[Any], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "ACCEPT_PAUSE_S", 0.01)

    async def main() -> None:
        async with serving(shop) as (server, port):
            reader, writer = await connect(port, PROBE)  # of ours; what follows is the server's alone
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            sock = socket.create_connection(("127.0.0.1", port))
            next_free = os.dup(sock.fileno())
            os.close(next_free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (next_free, before[1]))
            try:
                sock.sendall(PROBE)
                sock.setblocking(False)
                await until(lambda: server._pause is not None)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
            answer = await asyncio.get_running_loop().sock_recv(sock, 1000)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            sock.close()
            writer.close()
            await rest(reader)

    run(main())


# --- TLS


def secured(folder: Path, authority: Authority, name: str = "server") -> ContentConfig:
    pair = authority.issue(name)
    return replace(CONFIG, cert=str(pair.cert), key=str(pair.key))


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.ca))


@pytest.mark.parametrize("http2", [True, False])
def test_under_tls(run: Run[Any], shop: Shop, file: Path, tmp_path: Path, http2: bool) -> None:
    root = shop.sell(file)
    authority = Authority(tmp_path)

    async def main() -> None:
        async with (
            serving(shop, secured(tmp_path, authority)) as (server, port),
            httpx.AsyncClient(http2=http2, verify=trusting(authority)) as client,
        ):
            url = f"https://localhost:{port}/ipfs"
            got = await asyncio.gather(*(client.get(f"{url}/{cid}?format=raw") for cid in shop.leaves))
            for cid, one in zip(shop.leaves, got, strict=True):
                assert one.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
                assert verify_block(cid, one.content)
            assert (await client.get(f"{url}/{root}")).content == TEXT
            car = await client.get(f"{url}/{root}?format=car")
            assert len(cids_of(car.content)) == 5
            assert (await client.head(f"{url}/bafkqaaa?format=raw")).status_code == 200
            assert sum(server.tally.take_sent().values()) == 3 * len(TEXT)

    run(main())


def test_a_cut_answer_under_tls_is_an_error(run: Run[Any], shop: Shop, file: Path, tmp_path: Path) -> None:
    root = shop.sell(file)
    shop.forget(shop.leaves[-1].multihash)
    authority = Authority(tmp_path)

    async def main() -> None:
        async with serving(shop, secured(tmp_path, authority)) as (_, port):
            for http2 in (True, False):
                async with httpx.AsyncClient(http2=http2, verify=trusting(authority)) as client:
                    with pytest.raises(httpx.HTTPError):
                        await client.get(f"https://localhost:{port}/ipfs/{root}?format=car")

    run(main())


def test_certificates_are_renewed_without_a_restart(run: Run[Any], shop: Shop, tmp_path: Path) -> None:
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    config = secured(tmp_path, old)

    async def main() -> None:
        async with serving(shop, config) as (server, port):
            url = f"https://localhost:{port}/ipfs/bafkqaaa?format=raw"
            async with httpx.AsyncClient(verify=trusting(old)) as kept:
                assert (await kept.get(url)).status_code == 200
                await asyncio.to_thread(Path(config.key).write_text, "half a key")
                with pytest.raises(CallerFault):
                    server.reload()
                async with httpx.AsyncClient(verify=trusting(old)) as other:
                    assert (await other.get(url)).status_code == 200
                new.issue("server")
                server.reload()
                async with httpx.AsyncClient(verify=trusting(new)) as client:
                    assert (await client.get(url)).status_code == 200
                async with httpx.AsyncClient(verify=trusting(old)) as client:
                    with pytest.raises(httpx.ConnectError):
                        await client.get(url)
                assert (await kept.get(url)).status_code == 200  # what is open goes on

    run(main())


def test_a_changed_certificate_is_noticed(run: Run[Any], shop: Shop, tmp_path: Path) -> None:
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    config = secured(tmp_path, old)

    async def main() -> None:
        async with serving(shop, config) as (_, port):
            new.issue("server")
            while True:
                async with httpx.AsyncClient(verify=trusting(new)) as client:
                    try:
                        await client.get(f"https://localhost:{port}/ipfs/bafkqaaa")
                    except httpx.ConnectError:
                        await asyncio.sleep(LOOK_S)
                    else:
                        return

    run(main())


@pytest.mark.parametrize("wrong", ["cert", "key", "missing", "pair", "open"])
def test_files_that_tls_cannot_be_served_with(run: Run[Any], shop: Shop, tmp_path: Path, wrong: str) -> None:
    authority = Authority(tmp_path)
    config = secured(tmp_path, authority)
    field = "content-key"
    if wrong == "cert":
        Path(config.cert).write_text("nothing")
        field = "content-cert"
    elif wrong == "key":
        config = replace(config, key="")
    elif wrong == "missing":
        config = replace(config, cert=str(tmp_path / "missing"))
        field = "content-cert"
    elif wrong == "pair":
        config = replace(config, key=str(authority.issue("other").key))
    else:
        Path(config.key).chmod(0o644)

    async def main() -> None:
        with pytest.raises(CallerFault) as caught:
            await ContentServer(shop, config).start()
        assert caught.value.field == field

    run(main())


@pytest.mark.parametrize("sent", [b"", PROBE, bytes(5000), b"\x16\x03\x01"])
def test_who_speaks_no_tls_is_disconnected(run: Run[Any], shop: Shop, tmp_path: Path, sent: bytes) -> None:
    config = replace(secured(tmp_path, Authority(tmp_path)), request_timeout_s=0.1)

    async def main() -> None:
        async with serving(shop, config) as (_, port):
            reader, writer = await connect(port, sent)
            assert b"HTTP" not in await rest(reader)
            writer.close()

    run(main())


def test_who_does_not_read_under_tls_is_disconnected(
    run: Run[Any], shop: Shop, big: Path, tmp_path: Path
) -> None:
    root = shop.sell(big)
    authority = Authority(tmp_path)
    config = replace(secured(tmp_path, authority), unread_timeout_s=0.1)

    async def main() -> None:
        async with serving(shop, config) as (server, port):
            for protocol in ("h2", "http/1.1"):
                context = trusting(authority)
                context.set_alpn_protocols([protocol])
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", port, ssl=context, server_hostname="localhost", limit=1024
                )
                if protocol == "h2":
                    writer.write(h2_request(f"/ipfs/{root}"))
                else:
                    writer.write(f"GET /ipfs/{root} HTTP/1.1\r\n\r\n".encode())
                before = server.tally.aborted
                await until(lambda before=before: server.tally.aborted == before + 1)
                writer.close()

    run(main())


def h2_request(path: str) -> bytes:
    import h2.connection

    client = h2.connection.H2Connection()
    client.initiate_connection()
    pseudo = [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", path)]
    client.send_headers(1, pseudo, end_stream=True)
    return client.data_to_send()
