"""What a seller's processors do for a GiB: the file over HTTP, all of its raw blocks, a CAR; beside Kubo."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.get import kubo
from bench.get.commands import processor_s
from bench.get.reader import Reader, leaves_of
from bench.get.row import rounded, row, share
from bench.get.setting import Setting
from bench.local_network import Report

LIMIT = 0.25  # of Kubo's
OURS, KUBO = "ours", "Kubo"


@dataclass(frozen=True)
class _Seller:
    """A process that serves the file."""

    pid: int
    url: str
    paths: dict[str, list[str]]  # to ask for, by kind of work

    def cpu_s(self, kind: str) -> float:
        """Seconds of its processors for all of them."""
        reader = Reader(self.url)
        paths = self.paths[kind]
        before = processor_s(self.pid)
        for path in paths:
            reader.get(path)
        used = processor_s(self.pid) - before
        reader.close()
        return used


def _work(cid: str, leaves: list[str]) -> dict[str, list[str]]:
    return {
        "file over HTTP": [f"/ipfs/{cid}"],
        "raw blocks": [f"/ipfs/{leaf}?format=raw" for leaf in leaves],
        "CAR": [f"/ipfs/{cid}?format=car"],
    }


def measure(setting: Setting) -> Report:
    """In turns, so that what else the machine does counts for both."""
    why_not = ""
    with ExitStack() as stack:
        node, cid = stack.enter_context(setting.network()).seller(setting.path)
        url = node.ready["content"]
        paths = _work(cid, leaves_of(url, cid))
        sellers = {OURS: _Seller(node.process.pid, url, paths)}
        try:
            theirs = stack.enter_context(setting.kubos()).start(provides=False)
            assert kubo.sell(theirs, setting.path) == cid
            gateway = f"http://{urlsplit(theirs.gateway).netloc}"
            sellers[KUBO] = _Seller(theirs.pid, gateway, paths)
        except kubo.NoKubo as reason:
            why_not = str(reason)
        found: dict[tuple[str, str], list[float]] = {}
        for _ in range(setting.turns):
            for kind in paths:
                for name, seller in sellers.items():
                    found.setdefault((name, kind), []).append(setting.per_gib(seller.cpu_s(kind)))
    best = {key: min(values) for key, values in found.items()}
    figures: dict[str, object] = {
        f"{name}, {kind}, CPU-s/GiB": rounded(values) for (name, kind), values in found.items()
    }
    marks = [
        share(f"seller CPU, {kind}, of Kubo's", best[OURS, kind] / best[KUBO, kind], LIMIT)
        for kind in paths
        if (KUBO, kind) in best
    ]
    return row("seller CPU per GiB", figures, marks, why_not)
