"""A purchase during which either side is killed, again and again: `python -m tests.e2e.kills [--rounds 100]`.

In each round a file is fetched, and after a random time the seller or the buyer gets SIGKILL and is started
again. No receipt that the buyer knows as accepted may be missing at the seller; in the end, after a purchase
that nobody kills, both have the same sums, but for one window a kill. The seed of a run is told.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from fastmarket.cli.processes import ServerProcess, environment, executable
from fastmarket.config import PaymentConfig
from fastmarket.payments.rows import BuyerRow, SellerRow
from fastmarket.storage.tabs import TabDatabase
from tests.e2e.conftest import Servers

SIDES = ("seller", "buyer")
PRICE = "3"
SIZE = 48 << 20
LONGEST_S = 3.0  # from the start of the command to the kill
COMMAND_S = 120.0


class Pair:
    """Both nodes, and what they have on disk."""

    def __init__(self, directory: Path, servers: Servers) -> None:
        self.directory = directory
        self._servers = servers
        self.running: dict[str, ServerProcess] = {}
        for side in SIDES:
            self.start(side)
        path = directory / "sold.mkv"
        path.write_bytes(random.Random(2).randbytes(SIZE))
        self.path = path
        self.cid = self.command("seller", "sell", str(path), "--price", PRICE).strip()

    def start(self, side: str) -> None:
        content = ("--content-port", "0") if side == "seller" else ()
        other = next((node for name, node in self.running.items() if name != side), None)
        home = str(self.directory / side)
        self.running[side] = self._servers.start("--payments", "--data-dir", home, *content, join=other)

    def words(self, side: str, *words: str) -> list[str]:
        return [*executable("client"), "-p", self.running[side].port, *words]

    def command(self, side: str, *words: str) -> str:
        return subprocess.run(
            self.words(side, *words),
            cwd=self.directory,
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
            timeout=COMMAND_S,
        ).stdout

    def fetch_words(self) -> list[str]:
        return self.words("buyer", "get", self.cid, "-o", "got.mkv", "-y")

    def kill_during_fetch(self, side: str, after_s: float) -> bool:
        """Whether it was still fetching."""
        quiet = subprocess.DEVNULL
        with subprocess.Popen(
            self.fetch_words(), cwd=self.directory, env=environment(), stdout=quiet, stderr=quiet
        ) as client:
            try:
                client.wait(after_s)
            except subprocess.TimeoutExpired:
                is_early = False
            else:
                is_early = True
            self.running[side].process.send_signal(signal.SIGKILL)
            self.running[side].wait()
            client.kill()
            client.wait()
        self.start(side)
        (self.directory / "got.mkv").unlink(missing_ok=True)
        return not is_early

    def rows(self) -> tuple[SellerRow | None, BuyerRow | None]:
        """The buyer's first: the seller's only grows."""
        theirs, ours = TabDatabase(self.directory / "seller"), TabDatabase(self.directory / "buyer")
        try:
            bought = next(iter(ours.sellers()), None)
            return next(iter(theirs.buyers()), None), bought
        finally:
            theirs.close()
            ours.close()


def check_round(pair: Pair) -> None:
    """No receipt that counted is missing."""
    at_seller, at_buyer = pair.rows()
    if at_buyer is None or not at_buyer.seq:
        return
    least = at_buyer.seq if at_buyer.is_accepted else at_buyer.seq - 1
    assert at_seller is not None
    assert at_seller.seq >= least, f"the seller has receipt {at_seller.seq}, and the buyer knows {least}"
    assert at_seller.proof == ()


def check_end(pair: Pair, kills: int) -> dict[str, int]:
    """Both have the same sums; what is not in them is a window a kill at most."""
    at_seller, at_buyer = pair.rows()
    assert at_seller is not None
    assert at_buyer is not None
    assert (at_seller.seq, at_seller.paid_bytes, at_seller.paid_amount) == (
        at_buyer.seq,
        at_buyer.paid_bytes,
        at_buyer.paid_amount,
    )
    window = PaymentConfig().window(at_seller.paid_bytes)
    owed = sum(one.served + one.lost for one in at_seller.owed)
    assert owed <= kills * window
    assert at_buyer.unverified <= (kills + 1) * window
    told = {"receipts": at_seller.seq, "paid_bytes": at_seller.paid_bytes, "owed_bytes": owed}
    return told | {"unverified_bytes": at_buyer.unverified, "kills": kills}


def run(rounds: int, seed: int, directory: Path) -> dict[str, int]:
    chance, amid = random.Random(seed), 0
    with ExitStack() as stack:
        servers = Servers(directory, stack)
        pair = Pair(directory, servers)
        for number in range(rounds):
            side, after_s = chance.choice(SIDES), chance.uniform(0.3, LONGEST_S)
            amid += pair.kill_during_fetch(side, after_s)
            check_round(pair)
            print(f"{number + 1}: {side} after {after_s:.2f} s", file=sys.stderr, flush=True)
        pair.command("buyer", "get", pair.cid, "-o", "got.mkv", "-y")
        assert (directory / "got.mkv").read_bytes() == pair.path.read_bytes()
        assert [pair.running[side].terminate() for side in reversed(SIDES)] == [0, 0]
        servers.check_logs()
        return check_end(pair, rounds) | {"amid_a_fetch": amid}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    print(f"seed {given.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="fastmarket-kills-") as name:
        print(json.dumps(run(given.rounds, given.seed, Path(name))))
