"""One peer: a process that is told what to do on its stdin and answers on its stdout (../README.md)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

READY_S = 60.0  # a machine that builds something else beside us starts node slowly
DEFAULT_TIMEOUT_S = 20.0  # of a command
GRACE_S = 5.0  # after its own time limit a peer has this long to say so
MAX_LINE_BYTES = 16 << 20
LOG_TAIL_LINES = 6

Result = dict[str, Any]


class PeerFailed(Exception):
    """A command was answered with an error, or not at all."""


class Unsupported(Exception):
    """The library of that peer cannot do it; the text says what."""


@dataclass(frozen=True, slots=True)
class Program:
    """How a peer is started, without the arguments that differ from test to test."""

    command: tuple[str, ...]
    cwd: Path
    env: dict[str, str]


class Peer:
    """A running peer. Leaves nothing behind once `kill` was awaited."""

    def __init__(self, name: str, kind: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.kind = kind
        self.peer_id = ""
        self.listen: list[str] = []
        self.version = ""
        self.implementation = ""
        self.can: frozenset[str] = frozenset()
        self._process = process
        self._log = log
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Result]] = {}
        self._reader: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, name: str, kind: str, program: Program, args: Sequence[str], log: Path) -> Peer:
        """Returns when it says that it is ready. Raises PeerFailed."""
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *program.command,
                *args,
                cwd=program.cwd,
                env={**os.environ, **program.env},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                limit=MAX_LINE_BYTES,
                start_new_session=True,  # an interrupt is for the runner, which then kills all of them
            )
        peer = cls(name, kind, process, log)
        try:
            async with asyncio.timeout(READY_S):
                await peer._meet()
        except BaseException:
            await peer.kill()
            raise
        return peer

    @property
    def addr(self) -> str:
        """Where to dial it, /p2p included."""
        return self.listen[0]

    async def call(self, op: str, /, timeout_s: float = DEFAULT_TIMEOUT_S, **arguments: Any) -> Result:
        """The result of a command. Raises PeerFailed, Unsupported."""
        number = next(self._numbers)
        line = json.dumps({"id": number, "op": op, "timeout_s": timeout_s, **arguments})
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            async with asyncio.timeout(timeout_s + GRACE_S):
                answer = await future
        except TimeoutError:
            raise PeerFailed(f"{self.name}: {op}: no answer within {timeout_s + GRACE_S:g} s") from None
        finally:
            self._waiting.pop(number, None)
        if answer.get("unsupported"):
            raise Unsupported(f"{self.implementation} has no {op}")
        if not answer["ok"]:
            raise PeerFailed(f"{self.name}: {op}: {answer.get('error')}")
        result: Result = answer.get("result") or {}
        return result

    async def end(self) -> int:
        """Ends its stdin; the exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(DEFAULT_TIMEOUT_S):
            return await self._process.wait()

    def freeze(self) -> None:
        """From now on it does nothing, while its kernel keeps its connections."""
        self._process.send_signal(signal.SIGSTOP)

    async def kill(self) -> None:
        """At once, with all it may have started; harmless when it is over."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    def log_tail(self) -> str:
        """The last lines of its stderr."""
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])

    async def _meet(self) -> None:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise PeerFailed(f"{self.name} did not start: {self.log_tail()}")
        ready = json.loads(line)
        self.peer_id = ready["peer_id"]
        self.listen = ready["listen"]
        self.implementation = ready["implementation"]
        self.version = ready["version"]
        self.can = frozenset(ready["can"])
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            answer = json.loads(line)
            waiting = self._waiting.get(answer["id"])
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result({"ok": False, "error": "the process has ended"})
