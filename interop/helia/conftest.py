"""Helia from npm, with the Node that it needs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
NODE = HERE / "node_modules" / "node" / "bin" / "node"  # a newer one than many machines have
INSTALLED = HERE / "node_modules" / ".installed"
BUILD_DEADLINE_S = 600.0  # half a GiB of packages
MAX_LINE_BYTES = 256 << 20


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    """What the lock file names, in node_modules."""
    if shutil.which("npm") is None:
        pytest.skip("no npm here, so no Helia from it")
    wanted = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    if INSTALLED.is_file() and INSTALLED.read_text() == wanted:
        return
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"],
        cwd=HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    INSTALLED.write_text(wanted)


class Helia:
    """A running node, told what to do as its program describes."""

    def __init__(self, process: asyncio.subprocess.Process, said: Mapping[str, Any]) -> None:
        self._process = process
        self.said = said

    @property
    def address(self) -> str:
        """Where to dial it, if it has libp2p."""
        return str(self.said["listen"][0])

    async def call(self, op: str, **arguments: Any) -> dict[str, Any]:
        """What it answers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"op": op, **arguments}).encode() + b"\n")
        answer: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return answer

    async def cat(self, cid: object, **arguments: Any) -> bytes:
        """A file, fetched."""
        answer = await self.call("cat", cid=str(cid), **arguments)
        assert "data" in answer, answer
        return b64decode(answer["data"])


@asynccontextmanager
async def helia(
    program: str = "node.mjs", *arguments: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Helia]:
    """A fresh node."""
    process = await asyncio.create_subprocess_exec(
        NODE,
        program,
        *arguments,
        cwd=HERE,
        env={**os.environ, **(environment or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=MAX_LINE_BYTES,
    )
    try:
        assert process.stdout is not None
        yield Helia(process, json.loads(await process.stdout.readline()))
    finally:
        process.kill()
        await process.wait()
