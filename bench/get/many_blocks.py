"""A node that sells four million blocks, a file of 1 TiB, beside one that sells a single block: its memory,
and what questions cost.

    python -m bench.get.many_blocks DATA_DIRECTORY FILE        makes the catalogue; prints some leaves

The file is a hole, and all its blocks would be the same. So random digests stand for what hashing would find;
everything else is the importer's own: the tree above the leaves, the index, the goods.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from bench.get.commands import processor_s, run
from bench.get.nodes import Network
from bench.get.reader import Reader
from bench.get.row import rounded, row, share
from bench.get.setting import Setting
from bench.local_network import Mark, Report, percentile
from bench.processes import rss_mb
from fastmarket.config import ContentConfig
from fastmarket.content import import_files
from fastmarket.content.allowed import AllowedPaths
from fastmarket.content.catalogue import Catalogue
from fastmarket.content.goods import SellOrder
from fastmarket.content.importing import Importer
from fastmarket.formats.cid import Cid, Codec
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, CidProfile

MAX_MB = 50.0
MAX_RATIO = 2.0
MIB = 1 << 20
PART_BYTES = 64 * MIB
ASKED = 2000  # questions of each kind a turn
SMALL_BYTES = 1000
DEADLINE_S = 1800.0
RAW = "?format=raw"


@dataclass
class _Store:
    """A node, what it has, and what was seen of it."""

    pid: int
    url: str
    here: list[str]
    mb: float = 0.0
    hit_us: float = 0.0
    miss_us: float = 0.0


def measure(setting: Setting) -> Report:
    """Questions are HEAD: what a block's bytes cost is the same in both."""
    chunk = UNIXFS_V0_2015.chunk_bytes
    with setting.network() as network:
        empty = _start(network, "empty", SMALL_BYTES)
        many = _start(network, "many", setting.blocks * chunk)
        figures: dict[str, object] = {"blocks": setting.blocks}
        found: dict[str, list[float]] = {}
        for _ in range(setting.turns):
            for name, store in (("one block", empty), ("many", many)):
                for kind, paths in (("hit", _hits(store)), ("404", _misses())):
                    cpu, median = _asked(store, paths, 200 if kind == "hit" else 404)
                    found.setdefault(f"{name}, {kind}, CPU us", []).append(cpu)
                    found.setdefault(f"{name}, {kind}, median us", []).append(median)
        memory = {"one block": rss_mb(empty.pid), "many": rss_mb(many.pid)}
        network.check_logs()
    figures |= {f"{name}, MB": round(amount, 1) for name, amount in memory.items()}
    figures |= {name: rounded(values) for name, values in found.items()}
    marks = [Mark("memory of a node that sells them", memory["many"] - memory["one block"], MAX_MB, "MB")]
    for kind in ("404", "hit"):
        for what in ("CPU us", "median us"):
            ratio = min(found[f"many, {kind}, {what}"]) / min(found[f"one block, {kind}, {what}"])
            marks.append(share(f"a {kind}, {what.split()[0]}, of that in an empty store", ratio, MAX_RATIO))
    return row("selling 4,000,000 blocks", figures, marks)


def _start(network: Network, name: str, size: int) -> _Store:
    home, path = network.directory / name, network.directory / f"{name}.bin"
    home.mkdir(mode=0o700)
    path.touch()
    os.truncate(path, size)
    words = [sys.executable, "-m", "bench.get.many_blocks", str(home), str(path)]
    leaves = json.loads(run(words, DEADLINE_S).stdout)
    node = network.start("--content-port", "0", "--data-dir", str(home))
    return _Store(node.process.pid, node.ready["content"], leaves)


def _hits(store: _Store) -> list[str]:
    return [random.choice(store.here) for _ in range(ASKED)]


def _misses() -> list[str]:
    return [_text(os.urandom(32)) for _ in range(ASKED)]


def _asked(store: _Store, cids: Sequence[str], status: int) -> tuple[float, float]:
    """Microseconds a question: of the node's processors, and until it is answered."""
    reader = Reader(store.url)
    took = []
    before = processor_s(store.pid)
    for cid in cids:
        began = time.perf_counter()
        assert reader.head(f"/ipfs/{cid}{RAW}") == status
        took.append(time.perf_counter() - began)
    cpu = processor_s(store.pid) - before
    reader.close()
    return cpu / len(cids) * 1e6, percentile(took, 0.5) * 1e6


def _text(digest: bytes) -> str:
    return str(Cid.from_bytes(b"\x12\x20" + digest))


# --- the catalogue, made in a process of its own


class _Digests:
    """Instead of hashing."""

    def __init__(self) -> None:
        self.some: list[bytes] = []

    def parts(
        self, descriptor: int, path: str, start: int, size: int, profile: CidProfile, threads: int
    ) -> Generator[tuple[int, bytes], None, None]:
        """See `content.leaves.leaf_parts`."""
        while start < size:
            length = min(PART_BYTES, size - start)
            digests = os.urandom(-(-length // profile.chunk_bytes) * 32)
            self.some.append(digests[:32])
            yield length, digests
            start += length


async def _import(home: Path, path: Path) -> list[str]:
    digests = _Digests()
    import_files.leaf_parts = digests.parts  # type: ignore[assignment]
    config = ContentConfig(port=0)
    catalogue = Catalogue(home, config)
    importer = Importer(catalogue, config, AllowedPaths(()))
    async with aclosing(importer.sell(SellOrder(str(path), 0, b"", "", UNIXFS_V0_2015))) as events:
        async for _ in events:
            pass
    (good,) = catalogue.goods()
    importer.close()
    catalogue.close()
    assert good.cid is not None
    assert good.cid.codec == Codec.DAG_PB
    return [_text(digest) for digest in digests.some] or [str(good.cid)]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_import(Path(sys.argv[1]), Path(sys.argv[2])))))
