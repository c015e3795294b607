"""What a buyer's processors do for a GiB from one seller: node and command together; beside `ipfs get`, and
beside what nobody can do without."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path

from bench.get import kubo
from bench.get.commands import processor_s, run
from bench.get.nodes import get
from bench.get.row import rounded, row, share
from bench.get.setting import Setting
from bench.local_network import Report

OF_KUBO, OF_BARE = 0.25, 2.0
DEADLINE_S = 600.0


def measure(setting: Setting) -> Report:
    """In turns."""
    ours: list[float] = []
    commands: list[float] = []
    sellers: list[float] = []
    bare: list[float] = []
    theirs: list[float] = []
    why_not = ""
    with setting.network() as network:
        seller, cid = network.seller(setting.path)
        buyer = network.start()
        output = network.directory / "got"
        for _ in range(setting.turns):
            bare.append(_bare_s(f"{seller.ready['content']}/ipfs/{cid}", output))
            setting.check_got(output)
            before, sold = processor_s(buyer.process.pid), processor_s(seller.process.pid)
            ended = get(buyer, cid, output)
            ours.append(processor_s(buyer.process.pid) - before + ended.cpu_s)
            commands.append(ended.cpu_s)
            sellers.append(processor_s(seller.process.pid) - sold)
            setting.check_got(output)
        network.check_logs()
    try:
        for _ in range(setting.turns):
            theirs.append(_of_kubo(setting))
    except kubo.NoKubo as reason:
        why_not = str(reason)
    figures: dict[str, object] = {
        "ours, node and command, CPU-s/GiB": rounded(map(setting.per_gib, ours)),
        "of these the command's, CPU-s": rounded(commands),
        "our seller meanwhile, CPU-s/GiB": rounded(map(setting.per_gib, sellers)),
        "receive + SHA-256 + write, CPU-s/GiB": rounded(map(setting.per_gib, bare)),
        "ipfs get, daemon and command, CPU-s/GiB": rounded(map(setting.per_gib, theirs)),
    }
    marks = [share("buyer CPU, of receive + SHA-256 + write", min(ours) / min(bare), OF_BARE)]
    if theirs:
        marks.append(share("buyer CPU, of ipfs get", min(ours) / min(theirs), OF_KUBO))
    return row("buyer CPU per GiB, one seller", figures, marks, why_not)


def _bare_s(url: str, output: Path) -> float:
    ended = run([sys.executable, "-m", "bench.get.reader", url, str(output)], DEADLINE_S)
    return float(json.loads(ended.stdout)["cpu_s"])


def _of_kubo(setting: Setting) -> float:
    """With a daemon that has nothing yet, and is connected with the one that has it. Raises NoKubo."""
    with ExitStack() as stack:
        kubos = stack.enter_context(setting.kubos())
        seller = kubos.start(provides=False)
        cid = kubo.sell(seller, setting.path)
        buyer = kubos.start(provides=False)
        kubo.connect(buyer, seller)
        output = buyer.repository / "got"
        before = processor_s(buyer.pid)
        ended = kubo.ipfs_get(buyer, cid, output)
        used = processor_s(buyer.pid) - before + ended.cpu_s
        setting.check_got(output)
    return used
