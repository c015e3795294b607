"""A fetch that is killed (SIGKILL) ten times, at random moments: what comes twice."""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.get.commands import CommandFailed
from bench.get.following import there, until_there
from bench.get.nodes import GET_DEADLINE_S, Network, begin_get, sent_bytes
from bench.get.row import row, share
from bench.get.setting import Setting
from bench.local_network import Report

KILLS = 10
LIMIT = 0.01
SEED = 17
MIB = 1 << 20


@dataclass(frozen=True)
class _Kill:
    """One of them: bytes written that it was to come at, those that there were, and those that were sent
    meanwhile and are not there."""

    wanted: float
    there: int
    lost: int


def measure(setting: Setting) -> Report:
    """Each time the command and the node that writes the file are killed, and started again.

    What is counted is what the seller has sent, beyond the file: also what was on its way, and what was here
    but not yet written.
    """
    numbers = random.Random(SEED)
    kills: list[_Kill] = []
    with setting.network() as network:
        seller, cid = network.seller(setting.path)
        output = network.directory / "got"
        before = sent_bytes(seller)
        for left in range(KILLS, 0, -1):
            here = there(output)
            # Evenly spread over what is missing, as all of them would be that are still to come.
            wanted = here + (setting.size - here) * (1 - numbers.random() ** (1 / left))
            sent = sent_bytes(seller)
            now = _killed_at(network, cid, output, wanted)
            if now is None:
                break
            kills.append(_Kill(wanted, now, sent_bytes(seller) - sent - (now - here)))
        if not output.exists():
            _whole(network, cid, output)
        setting.check_got(output)
        twice = sent_bytes(seller) - before - setting.size
        network.check_logs()
    figures: dict[str, object] = {
        "kills": len(kills),
        "MiB there at each": [round(kill.there / MIB) for kill in kills],
        "MiB sent and not there at each": [round(kill.lost / MIB, 2) for kill in kills],
        "MiB sent twice": round(twice / MIB, 2),
    }
    marks = [share("bytes fetched twice, of the file's", twice / setting.size, LIMIT)]
    return row("resume after SIGKILL at 10 random moments", figures, marks)


def _killed_at(network: Network, cid: str, output: Path, wanted: float) -> int | None:
    """Bytes written when it was killed; None: the fetch was over before."""
    with network.buyer() as buyer, tempfile.TemporaryFile() as log:
        command = begin_get(buyer, cid, output, log)
        until_there(output, wanted, command)
        buyer.process.kill()
        command.kill()
        command.wait(GET_DEADLINE_S)
        buyer.process.wait()
        return None if output.exists() else there(output)


def _whole(network: Network, cid: str, output: Path) -> None:
    with network.buyer() as buyer, tempfile.TemporaryFile() as log:
        status, _ = begin_get(buyer, cid, output, log).wait(GET_DEADLINE_S)
        if status != 0:
            log.seek(0)
            raise CommandFailed(log.read().decode(errors="replace"))
