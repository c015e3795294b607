"""`register DIR --recursive`: files are hashed while others are registered."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fastmarket.cli.actions import Desk
from fastmarket.cli.content import path_of
from fastmarket.cli.registered import RegisteredList, Stamp
from fastmarket.cli.render import clean, counted, size_text
from fastmarket.errors import CallerFault, FastmarketError, NetworkFault

if TYPE_CHECKING:
    from fastmarket.market.grpc_client import Listing, MarketClient

BATCH = 1000  # files a message: what the node signs and stores together
BATCH_WAIT_S = 0.5  # a batch that is not full by then is sent: large files take their time
HASHED_TOGETHER = 128  # files one thread takes at a time
HASHED_TOGETHER_BYTES = 32 * 1024 * 1024  # ... fewer, where they have so much together
BATCHES_AHEAD = 2  # such batches for each thread, hashed or being so, before their turn
MAX_FAULTS_TOLD = 10
HASHERS = min(8, os.cpu_count() or 1)


@dataclass(slots=True)
class Tally:
    """How far it is."""

    registered: int = 0
    skipped: int = 0
    failed: int = 0
    size: int = 0  # bytes of those registered
    faults: list[str] = field(default_factory=list)  # the first few

    def fault(self, path: Path, reason: str) -> None:
        """One more that could not be registered."""
        self.failed += 1
        if len(self.faults) < MAX_FAULTS_TOLD:
            self.faults.append(f"{path}: {reason}")

    @property
    def seen(self) -> int:
        """Files that are done, one way or another."""
        return self.registered + self.skipped + self.failed


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class _Hashed:
    path: Path
    stamp: Stamp
    listing: Listing


def register(desk: Desk, argument: str, *, again: bool) -> None:
    """Offer every file under a directory; raises NetworkFault when some could not be."""
    root = path_of(argument)
    if not root.is_dir():
        raise CallerFault(argument, "is no directory; --recursive needs one")
    desk.profile.wanted_price()
    tally, began = Tally(), time.perf_counter()
    try:
        with _progress(desk, root, tally) as told:
            desk.link.call(lambda client: _register_all(desk, client, root, again, tally, told))
    except KeyboardInterrupt:
        desk.screen.trouble(f"interrupted; {_summary(tally)}. The same command goes on from here.")
        raise
    took_s = time.perf_counter() - began
    if desk.as_json:
        desk.screen.json(
            {
                "registered": tally.registered,
                "skipped": tally.skipped,
                "failed": tally.failed,
                "bytes": tally.size,
                "faults": tally.faults,
                "ms": round(took_s * 1000, 3),
            }
        )
    else:
        desk.screen.line(f"{_summary(tally)} ({took_s:.1f} s)")
    if tally.failed:
        for fault in tally.faults:
            desk.screen.trouble(clean(fault))
        raise NetworkFault(f"{counted(tally.failed, 'file')} could not be registered")


def _summary(tally: Tally) -> str:
    skipped = f", {tally.skipped} were before" if tally.skipped else ""
    return f"{counted(tally.registered, 'file')} ({size_text(tally.size)}) registered{skipped}"


def files_under(root: Path) -> Iterator[Path]:
    """Regular files, in the order of their names; links to directories are not followed."""
    for directory, directories, names in os.walk(root):
        directories.sort()
        for name in sorted(names):
            path = Path(directory, name)
            if path.is_file():
                yield path


async def _register_all(
    desk: Desk, client: MarketClient, root: Path, again: bool, tally: Tally, told: Callable[[], None]
) -> None:
    """May be called again after it failed: what is registered is in the list by then."""
    user_id = desk.profile.user_id().encode()
    node = (await client.get_node()).peer_id
    sent: deque[list[_Hashed]] = deque()
    tally.skipped = tally.failed = 0
    tally.faults.clear()
    with (
        closing(RegisteredList(desk.profile.data_dir, node, user_id)) as done,
        ThreadPoolExecutor(HASHERS, "hash") as pool,
    ):

        async def batches() -> AsyncGenerator[list[Listing], None]:
            async with aclosing(_batches(_hashed(desk, root, done, again, tally, pool))) as hashed:
                async for batch in hashed:
                    sent.append(batch)
                    yield [file.listing for file in batch]

        async with aclosing(client.register_many(batches())) as answers:
            async for outcomes in answers:
                batch = sent.popleft()
                kept = []
                for file, outcome in zip(batch, outcomes, strict=True):
                    if outcome.message:
                        tally.fault(file.path, outcome.message)
                    else:
                        kept.append((file.stamp, outcome.cid))
                        tally.registered += 1
                        tally.size += file.stamp.size
                done.add(kept)
                told()


async def _batches(files: AsyncGenerator[_Hashed, None]) -> AsyncGenerator[list[_Hashed], None]:
    """As full as they get in BATCH_WAIT_S."""
    batch: list[_Hashed] = []
    end = time.monotonic() + BATCH_WAIT_S
    async with aclosing(files):
        async for file in files:
            batch.append(file)
            if len(batch) >= BATCH or time.monotonic() >= end:
                yield batch
                batch, end = [], time.monotonic() + BATCH_WAIT_S
    if batch:
        yield batch


async def _hashed(
    desk: Desk, root: Path, done: RegisteredList, again: bool, tally: Tally, pool: ThreadPoolExecutor
) -> AsyncGenerator[_Hashed, None]:
    """Those to register, in order; a bounded number is hashed ahead."""
    loop = asyncio.get_running_loop()
    hashing: deque[tuple[list[_File], asyncio.Future[list[_Hashed | FastmarketError]]]] = deque()
    wanted = _wanted(desk, files_under(root), done, again, tally)
    more = True
    while more or hashing:
        while more and len(hashing) < BATCHES_AHEAD * HASHERS:
            files = _some(wanted)
            more = bool(files)
            if files:
                hashing.append((files, loop.run_in_executor(pool, _hash, desk, files)))
        if hashing:
            files, future = hashing.popleft()
            for file, hashed in zip(files, await future, strict=True):
                if isinstance(hashed, _Hashed):
                    yield hashed
                else:
                    tally.fault(file.path, str(hashed))


def _wanted(
    desk: Desk, paths: Iterable[Path], done: RegisteredList, again: bool, tally: Tally
) -> Iterator[_File]:
    """Those that were not registered as they are now."""
    profile = desk.profile
    terms = repr((profile.price, profile.client_ip, profile.client_port, profile.username))
    for path in paths:
        stamp = _stamp(path, terms, tally)
        if stamp is None:
            continue
        if not again and done.holds(stamp):
            tally.skipped += 1
        else:
            yield _File(path, stamp)


def _some(files: Iterator[_File]) -> list[_File]:
    """The next that one thread takes together; none: there are no more."""
    some: list[_File] = []
    size = 0
    for file in files:
        some.append(file)
        size += file.stamp.size
        if len(some) >= HASHED_TOGETHER or size >= HASHED_TOGETHER_BYTES:
            break
    return some


def _stamp(path: Path, terms: str, tally: Tally) -> Stamp | None:
    try:
        status = path.stat()
    except OSError as error:
        tally.fault(path, error.strerror or str(error))
        return None
    return Stamp(os.fsencode(path.absolute()), status.st_size, status.st_mtime_ns, terms)


def _hash(desk: Desk, files: list[_File]) -> list[_Hashed | FastmarketError]:
    from fastmarket.hashing import cids_of_files

    hashed: list[_Hashed | FastmarketError] = []
    user_id = desk.profile.user_id().encode()
    for file, cid in zip(files, cids_of_files([file.path for file in files], threads=1), strict=True):
        try:
            hashed.append(cid if isinstance(cid, CallerFault) else _listed(desk, user_id, file, cid))
        except CallerFault as fault:
            hashed.append(fault)
    return hashed


def _listed(desk: Desk, user_id: bytes, file: _File, cid: str) -> _Hashed:
    from fastmarket.market.grpc_client import Listing
    from fastmarket.offers.metadata import FileMetadata

    profile = desk.profile
    name = file.path.name.encode("utf-8", "replace").decode()
    if not name.isprintable():
        name = "".join(map(_shown, name))
    metadata = FileMetadata(
        profile.client_ip, profile.client_port, profile.wanted_price(), file.stamp.size, name
    )
    return _Hashed(file.path, file.stamp, Listing(cid, metadata, user_id, profile.username))


def _shown(character: str) -> str:
    """A file name may hold what an offer must not."""
    return character if character.isprintable() else "?"


@contextmanager
def _progress(desk: Desk, root: Path, tally: Tally) -> Iterator[Callable[[], None]]:
    """A bar on a terminal; elsewhere nothing."""
    if not desk.screen.people or desk.as_json:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    total = sum(1 for _ in files_under(root))
    columns = (
        "[bold]registering",
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:>7.0f} files/s"),
        TimeRemainingColumn(),
    )
    began = time.perf_counter()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("registering", total=total, rate=0.0)

        def told() -> None:
            rate = tally.registered / max(time.perf_counter() - began, 1e-3)
            bar.update(task, completed=tally.seen, rate=rate)

        yield told
