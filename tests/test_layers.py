"""Layers that import-linter cannot see: the kernels, and what is imported inside functions."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.sources import nodes_of

PACKAGE = Path(__file__).parent.parent / "src" / "fastmarket"
KERNELS = sorted(PACKAGE.rglob("*.pyx"))
SANS_IO = ("core", "kad", "offers", "libp2p", "formats", "exchange", "payments", "portmap")
VIRTUAL_TIME = ("sim",)  # as those, but it owns a seeded Random
AMBIENT = {"asyncio", "time", "socket", "random", "os", "grpc", "uvloop", "threading", "secrets"}

# Of datetime, which may format a time that was given.
READS_THE_CLOCK = {"utcnow", "today"}


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda path: path.stem)
def test_kernels_import_nothing_above_them(kernel: Path) -> None:
    imported = re.findall(r"^\s*(?:from|cimport|import)\s+([\w.]+)", kernel.read_text(), flags=re.MULTILINE)
    ours = [name for name in imported if name.startswith("fastmarket")]
    assert all(name.startswith(("fastmarket._", "fastmarket.native")) for name in ours), ours
    assert not AMBIENT & {name.partition(".")[0] for name in imported}


@pytest.mark.parametrize("package", SANS_IO + VIRTUAL_TIME)
def test_protocol_code_imports_no_clock_socket_or_task(package: str) -> None:
    forbidden = AMBIENT - {"random"} if package in VIRTUAL_TIME else AMBIENT
    found = []
    for source in sorted((PACKAGE / package).rglob("*.py")):
        for node in nodes_of(source):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            elif isinstance(node, ast.Attribute) and node.attr in READS_THE_CLOCK:
                names = [f"asyncio.{node.attr}"]
            found += [f"{source.name}: {name}" for name in names if name.partition(".")[0] in forbidden]
    assert not found


TRANSPORTS = sorted(
    path.name for path in (PACKAGE / "net" / "transports").iterdir() if (path / "link.py").exists()
)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_only_a_transport_knows_its_own_code(transport: str) -> None:
    """So that another one is a folder here, a folder there, and a row in the table."""
    own = {PACKAGE / "libp2p" / transport, PACKAGE / "net" / "transports" / transport}
    table = PACKAGE / "net" / "transports" / "table.py"
    names = (f"fastmarket.libp2p.{transport}", f"fastmarket.net.transports.{transport}")
    found = []
    for source in sorted(PACKAGE.rglob("*.py")):
        if source == table or own & {*source.parents}:
            continue
        for node in nodes_of(source):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(names):
                found.append(f"{source}: {node.module}")
    assert not found


def test_there_are_transports() -> None:
    assert "tcp" in TRANSPORTS


def test_there_are_kernels() -> None:
    assert {path.stem for path in KERNELS} >= {"_xor", "_kbucket", "sha256", "cid"}
