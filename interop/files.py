"""What is sold in the tests with other programs."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

MIB = 1 << 20
PROFILES = ("unixfs-v0-2015", "unixfs-v1-2025")

# Of so many names of so many bytes a directory is a HAMT: beyond 256 KiB, however they are counted.
MANY = 1000
LONG_NAME = 230


def some(size: int, seed: str = "") -> bytes:
    """Bytes that nothing else has."""
    return hashlib.shake_128(f"{seed}{size}".encode()).digest(size)


def put(path: Path, data: bytes) -> Path:
    """Writes a file, and the directories above it; its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def put_music(path: Path) -> Path:
    """Writes a directory with directories in it, an empty file and a name that is not ASCII."""
    for name in ("a/1.ogg", "a/2.ogg", "b/c/3.ogg", "b/\u00e4 \u00f6.txt"):
        put(path / name, some(300_000, name))
    put(path / "empty", b"")
    return path


def put_many(path: Path) -> list[str]:
    """Writes a directory that is a HAMT, each file of which holds its own name; the names."""
    names = [f"{number:03}".ljust(LONG_NAME, "x") for number in range(MANY)]
    for name in names:
        put(path / name, name.encode())
    return names


def tree(path: Path) -> dict[str, bytes]:
    """The files below a directory."""
    return {str(one.relative_to(path)): one.read_bytes() for one in path.rglob("*") if one.is_file()}


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on, most likely for some seconds more."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
