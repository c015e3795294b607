"""A real server under all attacks at once, and honest callers beside them: what it costs them, and in memory.

    python -m bench.attacked [--json FILE] [--share 1.0] [--seconds 30] [--only deaf,callers,silent]   (make
    attacked)

Peers that ask and never read, callers with hundreds of streams each, connections to each port that say
nothing (`bench.attackers`); each kind in processes of its own, from other addresses than the honest caller's,
and niced: attackers are on other machines. The same is measured before, idle. `--share`: of the attackers'
number.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.attackers import SEARCHED
from bench.local_network import FREE_PORTS, Mark, Report, percentile, register_all, show, write
from bench.processes import rss_mb
from fastmarket.cli.processes import ServerProcess

ROOT = Path(__file__).parent.parent
DEAF, CALLERS, STREAMS, SILENT = 700, 16, 200, 1000
CALLER_PROCESSES = 2
SETTLE_S = 3.0  # between the last attacker's word and the honest caller's first call
HARMLESS_NICE = "15"
MIB = 1 << 20

MAX_RSS_MIB, MAX_FIND_RATIO, MAX_FIND_MS, MAX_REGISTER_MS = 512.0, 3.0, 100.0, 1000.0


@dataclass
class Phase:
    """What an honest caller saw for a while, and the server's memory."""

    ms: dict[str, list[float]]
    failures: dict[str, int]
    peak_rss_mib: float
    held: dict[str, float] = field(default_factory=dict)

    def figures(self, name: str) -> dict[str, Any]:
        """Each kind of call by its percentiles."""
        found: dict[str, Any] = {f"{name}: peak RSS MiB": self.peak_rss_mib}
        for kind, ms in self.ms.items():
            if ms:
                p50, p99 = percentile(ms, 0.5), percentile(ms, 0.99)
                found[f"{name}: {kind} p50 / p99 / worst ms"] = f"{p50:.1f} / {p99:.1f} / {max(ms):.1f}"
        found[f"{name}: failed calls"] = self.failures or 0
        if self.held:
            found[f"{name}: held and refused"] = self.held
        return found


class Attackers:
    """Processes that attack until they are left."""

    def __init__(self, stack: ExitStack, log: Path) -> None:
        self._stack = stack
        self._log = log
        self._made: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> None:
        """Does not wait."""
        stderr = self._stack.enter_context(self._log.open("a"))
        command = ["nice", "-n", HARMLESS_NICE, sys.executable, "-m", "bench.attackers", *arguments]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, cwd=ROOT, text=True
        )
        self._stack.callback(_end, process)
        self._made.append(process)

    def wait(self) -> list[dict[str, Any]]:
        """What each said when it was under way."""
        return [_line(process) for process in self._made]


def _line(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args!r} ended with status {process.wait()}")
    found: dict[str, Any] = json.loads(line)
    return found


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def sampled(pid: int) -> Iterator[list[float]]:
    """Its RSS in MiB, ten times a second, until left."""
    seen, over = list[float](), threading.Event()

    def sample() -> None:
        while not over.wait(0.1):
            seen.append(rss_mb(pid) * 1e6 / MIB)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def honest(server: ServerProcess, seconds: float) -> tuple[dict[str, Any], list[float]]:
    """What an honest caller sees in so many seconds."""
    command = [
        sys.executable,
        "-m",
        "bench.attackers",
        "honest",
        server.ready["grpc"],
        server.ready["metrics"],
    ]
    with sampled(server.process.pid) as rss:
        process = subprocess.Popen([*command, str(seconds)], stdout=subprocess.PIPE, cwd=ROOT, text=True)
        _line(process)
        told = _line(process)
        process.wait()
    return told, rss


def held(server: ServerProcess) -> dict[str, float]:
    """What the server says that it holds, refused and closed."""
    with urllib.request.urlopen(f"http://{server.ready['metrics']}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    wanted = (
        "fastmarket_held",
        "fastmarket_reservation",
        "fastmarket_connections",
        "fastmarket_connection_ref",
    )
    return {
        name.removeprefix("fastmarket_"): float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if line.startswith(wanted))
        if float(value)
    }


@dataclass(frozen=True)
class Size:
    """How much of each attack."""

    share: float
    seconds: float
    only: Sequence[str]

    def of(self, number: int) -> str:
        """So many of that number."""
        return str(max(1, int(number * self.share)))


def attack(server: ServerProcess, size: Size, attackers: Attackers) -> list[dict[str, Any]]:
    """Returns when all are under way."""
    ready = server.ready
    if "silent" in size.only:
        listen = f"127.0.0.1:{ready['listen'][0].split('/')[4]}"
        content = ready["content"].removeprefix("http://").rstrip("/")
        for port in (listen, ready["grpc"], ready["http"], ready["metrics"], content):
            attackers.start("silent", size.of(SILENT), port)
    if "callers" in size.only:
        each = str(max(1, int(CALLERS * size.share) // CALLER_PROCESSES))
        for _ in range(CALLER_PROCESSES):
            attackers.start("callers", ready["grpc"], each, str(STREAMS))
    if "deaf" in size.only:
        attackers.start("deaf", ready["listen"][0], size.of(DEAF))
    return attackers.wait()


def run(size: Size, server_options: Sequence[str] = ()) -> tuple[Phase, Phase, Mapping[str, Any]]:
    """Idle, attacked, and what the attackers said."""
    options = (*FREE_PORTS, "--content-port", "0", "--http-port", "0", "--metrics-port", "0", *server_options)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        server = stack.enter_context(ServerProcess("attacked", options, directory))
        server.wait_ready()
        asyncio.run(register_all(server, [SEARCHED, *(f"known {number}" for number in range(200))]))
        idle = _phase(*honest(server, size.seconds / 3))
        with ExitStack() as attacking, sampled(server.process.pid) as rss:
            attackers = Attackers(attacking, directory / "attackers.log")
            try:
                said = attack(server, size, attackers)
            except RuntimeError:
                print((directory / "attackers.log").read_text()[-2000:], file=sys.stderr)
                raise
            time.sleep(SETTLE_S)
            told, _ = honest(server, size.seconds)
            attacked = _phase(told, rss)
            try:
                attacked.held = held(server)
            except OSError as error:
                attacked.failures[f"metrics: {error}"] = 1
        after = _phase(*honest(server, 3.0))
        log = server.log()
        status = server.terminate()
        more = {
            "attackers": said,
            "log lines": log.count("\n"),
            "tracebacks": log.count("Traceback"),
            "exit status": status,
            "after: RSS MiB": after.peak_rss_mib,
            "after: find p99 ms": percentile(after.ms["find"], 0.99),
            "after: failed calls": after.failures or 0,
        }
        if "Traceback" in log:
            print(log[log.index("Traceback") - 300 :][:3000], file=sys.stderr)
        print((directory / "attackers.log").read_text()[-2000:], file=sys.stderr)
    return idle, attacked, more


def _phase(told: Mapping[str, Any], rss: Sequence[float]) -> Phase:
    return Phase(told["ms"], told["failures"], max(rss))


def report(size: Size, server_options: Sequence[str] = ()) -> Report:
    """Measures, and compares with the marks."""
    idle, attacked, more = run(size, server_options)
    find = percentile(attacked.ms["find"], 0.99)
    ill = sum(count for what, count in attacked.failures.items() if what.startswith("health"))
    failed = sum(attacked.failures.values()) - ill
    marks = [
        Mark("peak RSS under attack", attacked.peak_rss_mib, MAX_RSS_MIB, "MiB"),
        Mark("honest find p99 beside idle", find / percentile(idle.ms["find"], 0.99), MAX_FIND_RATIO, "x"),
        Mark("honest find p99", find, MAX_FIND_MS, "ms"),
        Mark("honest register, slowest", max(attacked.ms["register"]), MAX_REGISTER_MS, "ms"),
        Mark("health checks without 200", ill, 0, ""),
        Mark("other honest calls that failed", failed, 0, ""),
    ]
    figures = {**idle.figures("idle"), **attacked.figures("attacked"), **more}
    return Report("attacked", figures, marks)


def main() -> int:
    """Returns 1 when a mark was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there, too")
    parser.add_argument("--share", type=float, default=1.0, help="of the attackers' number")
    parser.add_argument("--seconds", type=float, default=30.0, help="under attack; a third of it idle before")
    parser.add_argument("--only", default="deaf,callers,silent", help="kinds of attack")
    parser.add_argument("server", nargs="*", help="further options of the server, after --")
    given = parser.parse_args()
    found = report(Size(given.share, given.seconds, given.only.split(",")), given.server)
    show(found)
    if given.json is not None:
        write(found, given.json)
    return 0 if all(mark.holds for mark in found.marks) else 1


if __name__ == "__main__":
    sys.exit(main())
