"""Kubo beside us: what the interoperability tests build, and its daemons as they start them."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.get.commands import Ended, run
from interop.kubo.conftest import Kubo, build_kubo

GET_DEADLINE_S = 600.0


class NoKubo(Exception):
    """It is not here and cannot be built; the text says why."""


def built_kubo() -> Path:
    """Its program, built now or earlier. Raises NoKubo."""
    if shutil.which("go") is None:
        raise NoKubo("no go here, so no Kubo")
    try:
        return build_kubo()
    except AssertionError as error:
        raise NoKubo(str(error).splitlines()[0]) from None


def sell(kubo: Kubo, path: Path) -> str:
    """Adds a file, as Kubo does by default; the CID."""
    return kubo.ipfs("add", "-Q", str(path), deadline_s=GET_DEADLINE_S).decode().strip()


def connect(kubo: Kubo, other: Kubo) -> None:
    """So that it asks the other one without a search."""
    kubo.ipfs("swarm", "connect", other.address)


def ipfs_get(kubo: Kubo, cid: str, output: Path) -> Ended:
    """`ipfs get`, through the daemon."""
    command = [str(kubo.program), "get", "--progress=false", "-o", str(output), cid]
    return run(command, GET_DEADLINE_S, {"IPFS_PATH": str(kubo.repository)})
