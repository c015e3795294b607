"""The least that reading over HTTP can cost: one connection, answers received into the same memory.

python -m bench.get.reader URL FILE      receive, SHA-256, write: what any buyer has to do at least
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from fastmarket.formats.cid import Cid, Codec
from fastmarket.formats.dag_pb import decode_pb_node

STALL_S = 120.0
PIECE_BYTES = 256 * 1024
_LAST_CHUNK = b"\r\n0\r\n\r\n"


class Reader:
    """Asks for one thing after the other."""

    def __init__(self, url: str) -> None:
        """`url`: http://HOST:PORT."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._host = parts.netloc
        self._sock = socket.create_connection((parts.hostname, parts.port), STALL_S)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._memory = memoryview(bytearray(PIECE_BYTES))

    def close(self) -> None:
        """Ends the connection."""
        self._sock.close()

    def ask(self, path: str, method: str = "GET") -> tuple[int, int | None, bytes]:
        """Status, Content-Length and what came of the body with the head."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nUser-Agent: bench\r\n\r\n"
        self._sock.sendall(head.encode())
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            some = self._sock.recv(4096)
            assert some, "the server went away"
            data += some
        lines = data[:end].lower()
        length = None
        if b"content-length: " in lines:
            length = int(lines.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
        return int(lines.split(b" ", 2)[1]), length, data[end + 4 :]

    def receive(self, into: memoryview) -> int:
        """Some bytes of the body."""
        count = self._sock.recv_into(into)
        assert count, "the server went away"
        return count

    def head(self, path: str) -> int:
        """The status of the answer to HEAD."""
        return self.ask(path, "HEAD")[0]

    def get(self, path: str) -> int:
        """Bytes of the body, with the frames of its chunks if it has any; they are not looked at."""
        status, length, body = self.ask(path)
        assert status == 200, status
        if length is None:
            return self._to_last_chunk(body)
        left = length - len(body)
        while left:
            left -= self.receive(self._memory[:left])
        return length

    def block(self, cid: Cid) -> bytes:
        """A raw block."""
        status, length, body = self.ask(f"/ipfs/{cid}?format=raw")
        assert status == 200, status
        assert length is not None
        parts = bytearray(body)
        while len(parts) < length:
            count = self.receive(self._memory[: length - len(parts)])
            parts += self._memory[:count]
        return bytes(parts)

    def _to_last_chunk(self, body: bytes) -> int:
        size, tail = len(body), body[-16:]
        while not tail.endswith(_LAST_CHUNK):
            count = self.receive(self._memory)
            size += count
            tail = (tail + bytes(self._memory[max(count - 16, 0) : count]))[-16:]
        return size


def leaves_of(url: str, cid: str) -> list[str]:
    """CIDs of a file's leaves, in order, by asking for the nodes above them."""
    reader = Reader(url)
    try:
        return _below(reader, Cid.from_text(cid))
    finally:
        reader.close()


def _below(reader: Reader, cid: Cid) -> list[str]:
    links = [Cid.from_bytes(link.cid) for link in decode_pb_node(reader.block(cid)).links]
    if not links:
        return [str(cid)]
    if links[0].codec == Codec.RAW or not decode_pb_node(reader.block(links[0])).links:
        return [str(link) for link in links]
    return [leaf for link in links for leaf in _below(reader, link)]


def hash_and_write(url: str, path: Path) -> float:
    """Receives a body, hashes each 256 KiB of it and writes them; seconds of processors."""
    began = time.process_time()
    parts = urlsplit(url)
    reader = Reader(f"http://{parts.netloc}")
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    status, length, body = reader.ask(parts.path)
    assert status == 200, status
    assert length is not None
    piece = memoryview(bytearray(PIECE_BYTES))
    piece[: len(body)] = body
    filled, at = len(body), 0
    while at < length:
        wanted = min(length - at, PIECE_BYTES)
        while filled < wanted:
            filled += reader.receive(piece[filled:wanted])
        hashlib.sha256(piece[:wanted]).digest()
        os.pwrite(number, piece[:wanted], at)
        at, filled = at + wanted, 0
    os.close(number)
    reader.close()
    return time.process_time() - began


if __name__ == "__main__":
    print(json.dumps({"cpu_s": hash_and_write(sys.argv[1], Path(sys.argv[2]))}))
