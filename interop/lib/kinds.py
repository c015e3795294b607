"""The implementations: what builds them, what runs them, and why one is skipped."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from lib.process import Program

INTEROP = Path(__file__).resolve().parent.parent
BUILD_S = 1800.0  # a first build of all crates on a small machine
OURS = "fastmarket"


class Skipped(Exception):
    """An implementation that cannot be built here; the text says why."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One implementation. `sources` decide whether a build is stale where the build tool does not itself."""

    name: str
    tools: tuple[str, ...]
    build: tuple[tuple[str, ...], ...]
    run: tuple[str, ...]
    stamp: str = ""  # a file that holds the digest of `sources` once they are installed
    sources: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()

    @property
    def folder(self) -> Path:
        """Where it lives."""
        return INTEROP / self.name

    @property
    def program(self) -> Program:
        """How to run it."""
        return Program(self.run, self.folder, dict(self.env))


_PYTHONPATH = str(INTEROP.parent / "src")

KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "fastmarket",
            (),
            (),
            (sys.executable, "peer.py"),
            env=(("PYTHONPATH", _PYTHONPATH),),
        ),
        Kind("go", ("go",), (("go", "build", "-o", "peer", "."),), ("./peer",)),
        Kind(
            "rust",
            ("cargo",),
            (("cargo", "build", "--release", "--locked"),),
            ("target/release/peer",),
        ),
        Kind(
            "js",
            ("node", "npm"),
            (("npm", "ci", "--no-audit", "--no-fund"),),
            ("node", "peer.mjs"),
            stamp="node_modules/.installed",
            sources=("package-lock.json",),
        ),
        Kind(
            "py",
            (),
            (
                (sys.executable, "-m", "venv", ".venv"),
                (".venv/bin/python", "-m", "pip", "install", "-q", "-r", "requirements.txt"),
            ),
            (".venv/bin/python", "peer.py"),
            stamp=".venv/.installed",
            sources=("requirements.txt",),
        ),
    )
}


async def build(kind: Kind, log: Path) -> None:
    """Builds it unless that was done. Raises Skipped."""
    missing = [tool for tool in kind.tools if shutil.which(tool) is None]
    if missing:
        raise Skipped(f"no {' and no '.join(missing)} on this machine")
    if not kind.folder.is_dir():
        raise Skipped(f"no folder {kind.folder}")
    stamp = kind.folder / kind.stamp
    digest = _digest(kind)
    if kind.stamp and stamp.is_file() and stamp.read_text() == digest:
        return
    with log.open("wb") as output:
        for command in kind.build:
            process = await asyncio.create_subprocess_exec(
                *command, cwd=kind.folder, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
            )
            try:
                async with asyncio.timeout(BUILD_S):
                    code = await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            if code:
                raise Skipped(f"{' '.join(command)} failed: {_last_line(log)} (all of it in {log})")
    if kind.stamp:
        stamp.write_text(digest)


def _last_line(log: Path) -> str:
    return " ".join(log.read_text(errors="replace").strip().splitlines()[-1:])


def _digest(kind: Kind) -> str:
    return hashlib.sha256(b"".join((kind.folder / name).read_bytes() for name in kind.sources)).hexdigest()
