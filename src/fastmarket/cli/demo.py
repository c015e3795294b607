"""The market in half a minute: three real nodes, two sellers, and a buyer that outlives one of them.

`python -m fastmarket.cli.demo [FILE]` (or `make demo FILE=path`). Exit status 0 if everything went as
described; 1 otherwise, with what was seen instead. No process outlives it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.text import Text

from fastmarket.cli import content
from fastmarket.cli.processes import ProcessFault, ServerProcess, environment, executable
from fastmarket.cli.render import Column, clean, draw, host_port, short, size_text
from fastmarket.wording import counted

PROG = "demo"
CHUNK_BYTES = 256 * 1024  # of a file, by the default profile
MADE_FILE_BYTES = 48 * 1024 * 1024 + 4242  # large enough that buying takes a visible time
# Bytes per second that a seller sends: a node on loopback would have sent it all before anybody could look.
SELLER_RATE = "12MB"
KILL_AT = 0.3  # of the file bought when a seller is killed
LOOK_S = 0.01  # between looks at how much of it is there
CLIENT_DEADLINE_S = 60.0  # includes hashing a very large FILE
TOOK_COLUMN = 76  # column at which the milliseconds end
OFFER_COLUMNS = (
    Column("$/MB", right=True, bold=True),
    Column("Holder"),
    Column("Address"),
    Column("File"),
    Column("Size", right=True),
    Column("Offer signed by"),
)


@dataclass(frozen=True, slots=True)
class Seller:
    """A seller of the file, and its node, which serves the bytes."""

    name: str
    node: str
    price: int


SELLERS = (Seller("alice", "A", 5), Seller("bob", "B", 3))
DOOMED, SURVIVOR = SELLERS
SHARE_COLUMNS = (
    Column("Seller"),
    Column("$/MB", right=True),
    Column("Bytes", right=True),
    Column("Cost", right=True, bold=True),
    Column("Ended", wraps=True),
)


class Unexpected(Exception):
    """The market did not answer as it should; the text describes what was seen."""


class Stage:
    """Where the demo runs: the processes, a directory for all their data, and the console."""

    def __init__(self, directory: Path, processes: ExitStack, console: Console) -> None:
        """`processes` ends every server that is started."""
        self.directory = directory
        self.nodes: dict[str, ServerProcess] = {}
        self._processes = processes
        self._console = console
        self._act = 0

    def open(self, title: str) -> None:
        """Print the title of the demo."""
        self._console.print(Text(title, "bold"))

    def act(self, title: str) -> None:
        """Begin the next part of the demo."""
        self._act += 1
        self._console.print(Text.assemble("\n", (f"{self._act}  ", "bold cyan"), (title, "bold")))

    def tell(self, text: str, took: str = "") -> None:
        """Print one line, with the time it took at the right."""
        line = Text(f"   {text}")
        if took:
            line.pad_right(max(2, TOOK_COLUMN - len(line.plain) - len(took)))
            line.append(took, "green")
        self._console.print(line, soft_wrap=True)

    def aside(self, text: str) -> None:
        """Print one line of detail."""
        self._console.print(Text(f"     {text}", "dim"), soft_wrap=True)

    def start(self, name: str, *more: str) -> None:
        """Start a node on free loopback ports, with `more` options; all but the first join through the
        first."""
        first = next(iter(self.nodes.values()), None)
        join = [] if first is None else ["--bootstrap", first.address]
        home = self.directory / f"node-{name}"
        arguments = ["--port", "0", "--listen", "/ip4/127.0.0.1/tcp/0", "--data-dir", str(home), *join, *more]
        started = time.perf_counter()
        node = ServerProcess(f"node {name}", arguments, self.directory)
        self.nodes[name] = self._processes.enter_context(node)
        ready = node.wait_ready()
        if first is not None and not ready["bootstrapped"]:
            raise Unexpected(f"node {name} serves, but did not join the network")
        how = "starts a network" if first is None else "joined by node A"
        self.tell(
            f"node {name}  {short(ready['peer_id'])}  {how}", milliseconds(time.perf_counter() - started)
        )

    def command(self, node: str, *arguments: str) -> list[str]:
        """`fastmarket-client ... --json` at a node."""
        command = [*executable("fastmarket-client"), "--port", self.nodes[node].port]
        return [*command, "--data-dir", str(self.directory / "buyer"), *arguments, "--json"]

    def client(self, node: str, *arguments: str) -> tuple[dict[str, Any], float]:
        """The JSON output of `fastmarket-client ... --json` at a node, and the seconds the command took."""
        command = self.command(node, *arguments)
        started = time.perf_counter()
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=CLIENT_DEADLINE_S,
                env=environment(),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unexpected(f"`{' '.join(command)}` did not end within {CLIENT_DEADLINE_S:g} s") from None
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip() or "nothing"
            raise Unexpected(
                f"`{' '.join(command)}` exited with status {done.returncode} and printed: {said}"
            )
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer, time.perf_counter() - started

    def sell(self, seller: Seller, file: Path) -> str:
        """Sells the file and returns its CID."""
        answer, took_s = self.client(
            seller.node,
            *("--username", seller.name, "--price", str(seller.price)),
            *("--data-dir", str(self.directory / seller.name), "sell", str(file)),
        )
        (sold,) = answer["sold"]
        self.tell(
            f"{seller.name} sells it at node {seller.node} for ${seller.price} per MB",
            f"{answer['ms']:.1f} ms",
        )
        self.aside(
            f"{sold['acknowledged']} of {sold['asked']} other nodes store its offer; hashing included, "
            f"the whole command took {milliseconds(took_s)}"
        )
        return str(sold["cid"])

    def buy(self, node: str, cid: str, size: int) -> None:
        """Fetches the file, kills a seller meanwhile, and compares what came with what was sold."""
        bought = self.directory / "bought"
        command = self.command(node, "get", cid, "--output", str(bought), "--yes")
        part = bought.with_name(bought.name + ".part")
        errors = self.directory / "get.log"
        with errors.open("w") as log:
            buying = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment()
            )
        try:
            self.wait_until_there(part, KILL_AT * size, buying)
            in_time = 0 < written(part) < size
            if in_time:
                self.tell(f"{size_text(written(part))} of {size_text(size)} are there")
            else:
                self.tell("it was bought before anybody could be killed")
            self.kill(DOOMED.node)
            told, _ = buying.communicate(timeout=CLIENT_DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise Unexpected(f"`{' '.join(command)}` did not end within {CLIENT_DEADLINE_S:g} s") from None
        finally:
            buying.kill()
            buying.wait()
        if buying.returncode != 0:
            raise Unexpected(f"`{' '.join(command)}` exited with {buying.returncode}: {errors.read_text()}")
        self.paid(json.loads(told), cid, bought, SELLERS if in_time else ())

    def paid(self, summary: dict[str, Any], cid: str, bought: Path, delivering: Sequence[Seller]) -> None:
        """Prints who delivered what at which price. Each of `delivering` must have delivered something, and
        the file must have the name it was bought by."""
        shares = {share["name"]: share for share in summary["holders"]}
        rows = [
            (
                clean(share["name"]),
                str(share["price"]),
                size_text(share["bytes"]),
                f"${share['cost']}",
                clean(share["ended"]),
            )
            for share in sorted(summary["holders"], key=lambda share: int(share["price"]))
        ]
        self.tell(
            f"all {size_text(summary['bytes'])} are there, every block verified, for ${summary['cost']}",
            f"{summary['took_s']:.1f} s",
        )
        self._console.print(draw("", SHARE_COLUMNS, rows))
        if any(shares.get(seller.name, {"bytes": 0})["bytes"] == 0 for seller in delivering):
            raise Unexpected(f"not every seller delivered: {shares}")
        if content.hash_file(bought).text != cid:
            raise Unexpected(f"{bought} is not {cid}")

    def wait_until_there(self, part: Path, wanted: float, buying: subprocess.Popen[bytes]) -> None:
        """Until so many bytes are in the file, or the purchase has ended."""
        deadline = time.monotonic() + CLIENT_DEADLINE_S
        while written(part) < wanted:
            if buying.poll() is not None:
                return
            if time.monotonic() > deadline:
                raise Unexpected(f"{size_text(written(part))} were bought within {CLIENT_DEADLINE_S:g} s")
            time.sleep(LOOK_S)

    def ask(self, node: str, cid: str) -> None:
        """Look the file up at a node and print the offers; all must be there, cheapest first."""
        answer, took_s = self.client(node, "check", cid)
        holders = answer["holders"]
        self.tell(
            f"node {node} finds {counted(len(holders), 'offer')} for {short(cid)}", f"{answer['ms']:.1f} ms"
        )
        self.aside(f"the whole command took {milliseconds(took_s)}")
        rows = [
            (
                str(holder["price"]),
                clean(holder["name"]),
                host_port(holder["ip"], holder["port"]),
                clean(holder["file_name"] or ""),
                size_text(holder["size"]),
                self.signer(holder["provider"]),
            )
            for holder in holders
        ]
        self._console.print(draw("", OFFER_COLUMNS, rows))
        wanted = [
            (seller.name, seller.price, self.nodes[seller.node].ready["peer_id"])
            for seller in sorted(SELLERS, key=lambda seller: seller.price)
        ]
        seen = [(h["name"], h["price"], h["provider"]) for h in holders]
        if seen != wanted:
            raise Unexpected(f"node {node} answered {seen}, not {wanted}")

    def signer(self, peer_id: str) -> str:
        """The name of the node with that peer id."""
        for name, node in self.nodes.items():
            if node.ready["peer_id"] == peer_id:
                gone = " (dead)" if node.process.returncode is not None else ""
                return f"node {name}{gone}"
        return short(peer_id)

    def kill(self, name: str) -> None:
        """SIGKILL: the node gets no chance to tell its peers."""
        self.nodes[name].process.send_signal(signal.SIGKILL)
        status = self.nodes[name].wait()
        self.tell(f"node {name} is gone (status {status})")

    def last_words(self) -> Iterator[str]:
        """The last log lines of each server."""
        for node in self.nodes.values():
            yield str(node.fault("status " + str(node.process.poll())))


def milliseconds(seconds: float) -> str:
    """`412 ms`."""
    return f"{seconds * 1000:.0f} ms"


def play(stage: Stage, given: Path | None) -> None:
    """Run the demo; raises Unexpected, ProcessFault."""
    stage.open("fastmarket: three nodes, two sellers, one buyer, and a seller that is killed")
    stage.act("Three nodes, each a process of its own")
    for seller in SELLERS:
        stage.start(seller.node, "--content-port", "0", "--content-rate", SELLER_RATE)
    stage.start("C")
    stage.act("One file, two sellers")
    file = given or make_file(stage.directory / "holiday.mkv")
    stage.tell(f"the file is {clean(file.name)}, {size_text(file.stat().st_size)}")
    names = {stage.sell(seller, file) for seller in SELLERS}
    if len(names) != 1:
        raise Unexpected(f"one file was given several names: {names}")
    cid = names.pop()
    stage.tell(f"its name, here and on IPFS: {cid}")
    stage.act("Node C, at which nothing is sold, looks the file up")
    stage.ask("C", cid)
    stage.act("Node C buys it from both at once, and node A is killed with SIGKILL meanwhile")
    stage.buy("C", cid, file.stat().st_size)
    stage.act("Node C looks the file up again")
    stage.ask("C", cid)
    stage.tell("Both offers outlived node A: the network stores them, not one server.")
    stage.act("Your own node")
    stage.tell('README.md, "Run a node", tells how to install it; then, in two terminals:')
    stage.tell("fastmarket-server --content-port 8070")
    stage.tell("fastmarket-client sell FILE --price 3")


def written(path: Path) -> int:
    """Bytes on disk of a file with holes; 0 if it is not there."""
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def make_file(path: Path) -> Path:
    """Create a file with unique content."""
    block = os.urandom(CHUNK_BYTES)
    with path.open("wb") as file:
        for at in range(0, MADE_FILE_BYTES, len(block)):
            # Every chunk differs in its first bytes, so no two blocks are the same.
            file.write((at.to_bytes(8, "big") + block[8:])[: MADE_FILE_BYTES - at])
    return path


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP interrupt the demo as Ctrl-C does, so that its processes are ended first."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, leave) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo. Returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    given = content.path_of(arguments[0]) if arguments else None
    if len(arguments) > 1 or (given is not None and not os.path.isfile(given)):
        missing = "is a directory; expects a file" if given is not None and given.is_dir() else "no such file"
        wrong = "expects at most one FILE" if len(arguments) > 1 else f"{given}: {missing}"
        print(f"{PROG}: {wrong}", file=sys.stderr)
        return 2
    console = Console(highlight=False)
    with (
        _ended_by_signals(),
        tempfile.TemporaryDirectory(prefix="fastmarket-demo-") as directory,
        ExitStack() as processes,
    ):
        stage = Stage(Path(directory), processes, console)
        try:
            play(stage, given)
        except (Unexpected, ProcessFault, OSError) as error:
            console.print("\n[bold red]The demo failed.[/]")
            for text in (str(error), *stage.last_words()):
                console.print(text, markup=False, soft_wrap=True)
            return 1
        except KeyboardInterrupt:
            console.print("\nInterrupted; stopping the nodes.")
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
