"""What a seller's processor does for a GiB: the content port beside other HTTP servers with the same bytes.

    python -m bench.bench_content_port [--mib 256] [--turns 3] [--only ours,uvicorn]
    pytest bench/bench_content_port.py       ours beside a loop of sendfile, by ratio

Counted are the CPU-seconds of the server's processes as the kernel has them; the client is the same for all.
The others are given bytes by a smallest ASGI application that does no work for a content: no CIDs, no
catalogue, a file by 64 KiB at a time (granian, by its own extension, from the path).

Seen on two cores of a busy machine (29 November 2026, CPython 3.11, 256 MiB in memory, the least of 7 turns;
CPU-seconds of the server per GiB):

                          file   raw blocks of 256 KiB   CAR
    recv and sendfile     0.19           0.17
    ours                  0.23           0.44            0.33   with catalogue, all headers, and stat calls
    uvicorn, httptools    0.24           0.29
    granian               0.31           0.53
    hypercorn             0.32           0.79

So ours costs no more for files than the cheapest of the others, and for blocks what is done for each of them:
three looks at the file, a line of SQLite, 15 headers. And no other sends a file without copying it, aborts an
answer that must not look complete, or ends with a stranger who does not read. Under TLS, a file or a CAR by
ours: 0.7 to 0.85 by HTTP/1.1, 0.95 by HTTP/2.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.processes import Served, started
from bench.ratio import report

ROOT = Path(__file__).parent.parent
BLOCK_BYTES = 256 * 1024
CHUNK_BYTES = 64 * 1024
GIB = 1 << 30
STALL_S = 30.0
SERVERS = ("bare", "ours", "uvicorn", "hypercorn", "granian")
BARE = "a loop of recv and sendfile"

# --- the servers, each a process of its own


def _say(**line: object) -> None:
    print(json.dumps(line), flush=True)


async def _end_of_input() -> None:
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def _ours(path: Path) -> None:
    from fastmarket.config import ContentConfig
    from fastmarket.content.port.server import ContentServer
    from fastmarket.formats.cid import Cid
    from fastmarket.formats.unixfs.node import FileNode, read_node
    from tests.content.shop import shop

    with tempfile.TemporaryDirectory() as folder, shop(Path(folder)) as store:
        good = await store.sold(path)
        root = Cid.from_text(str(good.cid))

        def leaves(cid: Cid) -> list[str]:
            block = store.catalogue.read(cid.multihash)
            assert block is not None
            node = read_node(cid.codec, block)
            assert isinstance(node, FileNode)
            below = [one for child in node.children for one in leaves(Cid.from_bytes(child.cid))]
            return below or [f"/ipfs/{cid}?format=raw"]

        server = ContentServer(store.catalogue, ContentConfig(port=0))
        port = await server.start()
        paths = {"file": [f"/ipfs/{root}"], "blocks": leaves(root), "car": [f"/ipfs/{root}?format=car"]}
        _say(port=port, paths=paths)
        await _end_of_input()
        await server.stop()


def _others_paths(path: Path) -> dict[str, list[str]]:
    count = -(-path.stat().st_size // BLOCK_BYTES)
    return {"file": ["/file"], "blocks": [f"/block/{number}" for number in range(count)]}


def make_app(path: str) -> Callable[[Any, Any, Any], Awaitable[None]]:
    """An ASGI application that gives out a file, and pieces of it."""
    descriptor = os.open(path, os.O_RDONLY)
    size = os.fstat(descriptor).st_size
    fields = [(b"content-type", b"application/vnd.ipld.raw"), (b"access-control-allow-origin", b"*")]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        kind, _, number = scope["path"].lstrip("/").partition("/")
        start = int(number) * BLOCK_BYTES if kind == "block" else 0
        length = min(BLOCK_BYTES, size - start) if kind == "block" else size
        headers = [*fields, (b"content-length", b"%d" % length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if kind == "block":
            await send({"type": "http.response.body", "body": os.pread(descriptor, length, start)})
        elif "http.response.pathsend" in (scope.get("extensions") or {}):
            await send({"type": "http.response.pathsend", "path": path})
        else:
            for at in range(0, size, CHUNK_BYTES):
                body = os.pread(descriptor, CHUNK_BYTES, at)
                await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    return app


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


async def _uvicorn(path: Path) -> None:
    import uvicorn

    port = _free_port()
    config = uvicorn.Config(
        make_app(str(path)), port=port, http="httptools", access_log=False, log_config=None, lifespan="off"
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    _say(port=port, paths=_others_paths(path))
    await _end_of_input()
    server.should_exit = True
    await serving


async def _hypercorn(path: Path) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    port, config = _free_port(), Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.accesslog = config.errorlog = None
    config.keep_alive_max_requests = 1 << 30
    stop = asyncio.Event()
    app: Any = make_app(str(path))
    serving = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]
    _say(port=port, paths=_others_paths(path))
    await _end_of_input()
    stop.set()
    await serving


async def _granian(path: Path) -> None:
    from granian.constants import Interfaces
    from granian.server.embed import Server

    port = _free_port()
    server = Server(
        make_app(str(path)), address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_enabled=False
    )
    serving = asyncio.create_task(server.serve())
    _say(port=port, paths=_others_paths(path))
    await _end_of_input()
    server.stop()
    await asyncio.wait([serving], timeout=2)
    os._exit(0)


async def _bare(path: Path) -> None:
    """The least that any server has to do: one thread, one request after the other."""
    descriptor = os.open(path, os.O_RDONLY)
    size = os.fstat(descriptor).st_size
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            sock, _ = listening.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while request := sock.recv(4096):
                kind, _, number = request.split(b" ", 2)[1][1:].partition(b"/")
                start = int(number) * BLOCK_BYTES if kind == b"block" else 0
                end = min(start + BLOCK_BYTES, size) if kind == b"block" else size
                head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (end - start)
                sock.send(head, socket.MSG_MORE)
                while start < end:
                    start += os.sendfile(sock.fileno(), descriptor, start, end - start)

    loop = asyncio.get_running_loop()
    loop.run_in_executor(None, serve)
    _say(port=listening.getsockname()[1], paths=_others_paths(path))
    await _end_of_input()
    os._exit(0)


_KINDS = {"bare": _bare, "ours": _ours, "uvicorn": _uvicorn, "hypercorn": _hypercorn, "granian": _granian}

# --- the client


def _processor_s(pid: int) -> float:
    """Of all its threads, to the nanosecond; /proc/PID/stat counts in hundredths of a second."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def _connected(port: int) -> socket.socket:
    """Some servers say that they are ready before they listen."""
    until = time.monotonic() + STALL_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


class Client:
    """Asks on one connection, and reads answers into the same memory."""

    def __init__(self, port: int) -> None:
        self._sock = _connected(port)
        self._sock.settimeout(STALL_S)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._memory = memoryview(bytearray(1 << 20))

    def get(self, path: str) -> int:
        """Bytes of the answer's body, or of its chunks."""
        self._sock.sendall(b"GET %b HTTP/1.1\r\nHost: bench\r\n\r\n" % path.encode())
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._sock.recv(CHUNK_BYTES)
        head, body = data[:end].lower(), len(data) - end - 4
        assert head.startswith(b"http/1.1 200"), head
        if b"content-length: " not in head:
            return self._to_last_chunk(body, data)
        length = int(head.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
        while body < length:
            got = self._sock.recv_into(self._memory)
            assert got, "the server went away"
            body += got
        return length

    def _to_last_chunk(self, body: int, tail: bytes) -> int:
        while not tail.endswith(b"\r\n0\r\n\r\n"):
            got = self._sock.recv_into(self._memory)
            assert got, "the server went away"
            body, tail = body + got, (tail + bytes(self._memory[max(got - 16, 0) : got]))[-16:]
        return body


@contextmanager
def serving(kind: str, path: Path) -> Iterator[Served]:
    """A server in a process of its own."""
    command = [sys.executable, "-m", "bench.bench_content_port", "--serve", kind, "--file", str(path)]
    with started(command, ROOT) as process:
        yield process


def measured(server: Served, what: str) -> float:
    """CPU-seconds of the server per GiB."""
    client = Client(server.hello["port"])
    paths = server.hello["paths"][what]
    client.get(paths[0])  # what is loaded with the first request is not counted
    before, total = _processor_s(server.pid), 0
    for path in paths:
        total += client.get(path)
    return (_processor_s(server.pid) - before) / total * GIB


@contextmanager
def random_file(mib: int) -> Iterator[Path]:
    """In memory, if there is a file system in memory: the disk is not what is measured."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as folder:
        path = Path(folder) / "random.bin"
        with path.open("wb") as file:
            for _ in range(mib):
                file.write(os.urandom(1 << 20))
        yield path


@pytest.mark.parametrize("what", ["file", "blocks"])
def test_cpu_of_a_gib(benchmark: BenchmarkFixture, what: str) -> None:
    found: list[tuple[float, float]] = []
    with random_file(128) as path, serving("ours", path) as ours, serving("bare", path) as bare:
        benchmark.pedantic(
            lambda: found.append((measured(ours, what), measured(bare, what))), rounds=3, iterations=1
        )
    report(benchmark, min(one for one, _ in found), min(other for _, other in found), BARE)


def main() -> None:
    """Prints a table, or serves one of the kinds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", default=",".join(SERVERS))
    parser.add_argument("--serve", choices=SERVERS)
    parser.add_argument("--file", type=Path)
    arguments = parser.parse_args()
    if arguments.serve:
        import uvloop

        uvloop.run(_KINDS[arguments.serve](arguments.file))
        return
    names = arguments.only.split(",")
    with random_file(arguments.mib) as path, ExitStack() as stack:
        servers = {name: stack.enter_context(serving(name, path)) for name in names}
        print(f"CPU-seconds of the server per GiB, the least of {arguments.turns}")
        for name, server in servers.items():
            best = {
                what: min(measured(server, what) for _ in range(arguments.turns))
                for what in server.hello["paths"]
            }
            print(f"{name:10}", *(f"{what} {seconds:.2f}" for what, seconds in best.items()), sep="  ")


if __name__ == "__main__":
    main()
