"""How long the whole takes from four sellers at once; beside `ipfs get` from four nodes of Kubo."""

from __future__ import annotations

from contextlib import ExitStack

from bench.get import kubo
from bench.get.nodes import get
from bench.get.row import rounded, row, share
from bench.get.setting import Setting
from bench.local_network import Report

SELLERS = 4
LIMIT = 0.2


def measure(setting: Setting) -> Report:
    """From the start of the command to its end, the file being on disk."""
    ours: list[float] = []
    theirs: list[float] = []
    why_not = ""
    with setting.network() as network:
        cids = {network.seller(setting.path)[1] for _ in range(SELLERS)}
        (cid,) = cids
        buyer = network.start()
        output = network.directory / "got"
        for _ in range(setting.turns):
            ours.append(get(buyer, cid, output).wall_s)
            setting.check_got(output)
        network.check_logs()
    try:
        for _ in range(setting.turns):
            theirs.append(_of_kubo(setting))
    except kubo.NoKubo as reason:
        why_not = str(reason)
    figures: dict[str, object] = {"ours, s": rounded(ours), "ipfs get, s": rounded(theirs)}
    marks = [share("wall time, 4 sellers, of ipfs get", min(ours) / min(theirs), LIMIT)] if theirs else []
    return row("wall time, 4 sellers", figures, marks, why_not)


def _of_kubo(setting: Setting) -> float:
    """With a daemon that has nothing yet, and is connected with all that have it. Raises NoKubo."""
    with ExitStack() as stack:
        kubos = stack.enter_context(setting.kubos())
        sellers = [kubos.start(provides=False) for _ in range(SELLERS)]
        (cid,) = {kubo.sell(seller, setting.path) for seller in sellers}
        buyer = kubos.start(provides=False)
        for seller in sellers:
            kubo.connect(buyer, seller)
        output = buyer.repository / "got"
        took = kubo.ipfs_get(buyer, cid, output).wall_s
        setting.check_got(output)
    return took
