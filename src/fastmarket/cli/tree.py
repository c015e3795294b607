"""`register DIR --recursive`: files are hashed while others are registered; what is no more is withdrawn."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastmarket.cli.content import path_of
from fastmarket.cli.context import Context
from fastmarket.cli.offered import Offered, Terms, offered
from fastmarket.cli.registered import Entry, RegisteredList, exact, state_text
from fastmarket.cli.tally import Tally, progress, told, troubles_of
from fastmarket.cli.walking import WalkedFile, files_under, reason_of
from fastmarket.cli.withdrawing import gone, withdraw_old
from fastmarket.errors import CallerFault
from fastmarket.hashing import FileState, HashedFile, hashed_files

if TYPE_CHECKING:
    from fastmarket.market.grpc_client import Listing, MarketClient

BATCH = 1000  # files a message: what the node signs and stores together
BATCH_WAIT_S = 0.5  # a batch that is not full by then is sent: large files take their time
HASHED_TOGETHER = 128  # files one thread takes at a time
HASHED_TOGETHER_BYTES = 32 * 1024 * 1024  # ... fewer, where they have so much together
BATCHES_AHEAD = 2  # such batches for each thread, hashed or being so, before their turn
HASHERS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class _File:
    """`before`: what was registered from there. `cid`: known without hashing, for it is as it was then."""

    path: str
    state: FileState
    seen_ns: int
    before: Entry | None
    cid: str | None

    @property
    def key(self) -> bytes:
        return os.fsencode(self.path)


@dataclass(frozen=True, slots=True)
class _Hashed:
    entry: Entry
    size: int
    listing: Listing


@dataclass(frozen=True, slots=True)
class _Run:
    """One run over a tree: what it knows, and what it adds up."""

    desk: Context
    root: str
    user_id: bytes
    done: RegisteredList
    offered: Offered
    again: bool
    tally: Tally

    @property
    def terms(self) -> str:
        return Terms.of(self.desk.profile).text


def register(desk: Context, argument: str, *, again: bool, keep: bool) -> None:
    """Offer every file under a directory; raises NetworkFault when a part of it could not be.

    What a file held before, and what went since, is withdrawn, but with `keep`.
    """
    root = root_of(argument)
    _check_directory(argument, root)
    desk.profile.wanted_price()
    tally = Tally()
    with told(desk, tally), progress(desk, root, tally) as report:
        desk.link.call(lambda client: _register_all(desk, client, root, (again, keep), tally, report))


def root_of(argument: str) -> str:
    """The directory an argument means, by whatever links it is named. Raises CallerFault for an empty one.

    A script whose variable is not set does not mean where it stands.
    """
    if not argument:
        raise CallerFault("DIR", "is empty")
    return os.path.realpath(path_of(argument))


def _check_directory(argument: str, root: str) -> None:
    try:
        if os.path.isdir(root):
            return
        os.stat(root)
    except (OSError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "holds a null byte"
        raise CallerFault(argument, f"{reason}; --recursive needs a directory") from None
    raise CallerFault(argument, "is no directory; --recursive needs one")


async def _register_all(
    desk: Context,
    client: MarketClient,
    root: str,
    how: tuple[bool, bool],
    tally: Tally,
    report: Callable[[], None],
) -> None:
    """May be called again after it failed: what is registered is in the list by then."""
    again, keep = how
    user_id = desk.profile.user_id().encode()
    node = (await client.get_node()).peer_id
    tally.begin()
    with RegisteredList(desk.profile.kept_in(), node, user_id) as done:
        at_node = await offered(client, user_id, desk.profile)
        await _register_wanted(_Run(desk, root, user_id, done, at_node, again, tally), client, report)
        if not keep:
            done.drop(gone(done.under(os.fsencode(root)), tally))
            await withdraw_old(client, done, root, user_id, tally, report)


async def _register_wanted(run: _Run, client: MarketClient, report: Callable[[], None]) -> None:
    sent: deque[list[_Hashed]] = deque()
    tally = run.tally
    with ThreadPoolExecutor(HASHERS, "hash") as pool:

        async def batches() -> AsyncGenerator[list[Listing], None]:
            async with aclosing(_batches(_hashed(run, pool))) as hashed:
                async for batch in hashed:
                    # Whatever becomes of this run, a later one knows what to withdraw.
                    run.done.add([file.entry.sent() for file in batch])
                    sent.append(batch)
                    yield [file.listing for file in batch]

        async with aclosing(client.register_many(batches())) as answers:
            async for outcomes in answers:
                batch = sent.popleft()
                kept = []
                for file, outcome in zip(batch, outcomes, strict=True):
                    if outcome.message:
                        tally.file(os.fsdecode(file.entry.path), outcome.message)
                    else:
                        kept.append(file.entry)
                        tally.registered += 1
                        tally.size += file.size
                run.done.add(kept)
                report()


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


async def _hashed(run: _Run, pool: ThreadPoolExecutor) -> AsyncGenerator[_Hashed, None]:
    """Those to register, in order; a bounded number is hashed ahead."""
    loop = asyncio.get_running_loop()
    hashing: deque[tuple[list[_File], asyncio.Future[list[_Hashed | CallerFault]]]] = deque()
    wanted = _wanted(run, files_under(run.root, troubles_of(run.tally)))
    more = True
    while more or hashing:
        while more and len(hashing) < BATCHES_AHEAD * HASHERS:
            files = _some(wanted)
            more = bool(files)
            if files:
                hashing.append((files, loop.run_in_executor(pool, _hash, run, files)))
        if hashing:
            files, future = hashing.popleft()
            alike = []
            for file, hashed in zip(files, await future, strict=True):
                if isinstance(hashed, CallerFault):
                    run.tally.file(file.path, hashed.reason)
                elif _stands(run, file, hashed.entry):
                    alike.append(hashed.entry)
                else:
                    yield hashed
            if alike:  # other times, the same bytes
                run.done.add(alike)
                run.tally.skipped += len(alike)


def _wanted(run: _Run, found: Iterable[WalkedFile]) -> Iterator[_File]:
    """Those that are not offered as they are now."""
    for path, state in found:
        before = run.done.entry(os.fsencode(path))
        same = before is not None and before.state == exact(state) and not run.again
        file = _File(path, state, time.time_ns(), before, before.cid if same and before is not None else None)
        if same and before is not None and _stands(run, file, before):
            run.tally.skipped += 1
        else:
            yield file


def _stands(run: _Run, file: _File, entry: Entry) -> bool:
    """Whether the node offers just that."""
    before = file.before
    return (
        before is not None
        and not run.again
        and (before.cid, before.terms) == (entry.cid, run.terms)
        and entry.cid in run.offered
    )


def _some(files: Iterator[_File]) -> list[_File]:
    """The next that one thread takes together; none: there are no more."""
    some: list[_File] = []
    size = 0
    for file in files:
        some.append(file)
        size += file.state.size if file.cid is None else 0
        if len(some) >= HASHED_TOGETHER or size >= HASHED_TOGETHER_BYTES:
            break
    return some


def _hash(run: _Run, files: list[_File]) -> list[_Hashed | CallerFault]:
    """In a thread: what each is to be registered as."""
    found = hashed_files([file.path for file in files if file.cid is None], threads=1)
    hashed: list[_Hashed | CallerFault] = []
    for file in files:
        named = next(found) if file.cid is None else file.cid
        try:
            hashed.append(_listed(run, file, named))
        except CallerFault as fault:
            hashed.append(fault)
    return hashed


def _listed(run: _Run, file: _File, named: str | HashedFile | CallerFault) -> _Hashed:
    from fastmarket.market.grpc_client import Listing
    from fastmarket.offers.model.metadata import FileMetadata

    if isinstance(named, CallerFault):
        # It begins with the path, which is told anyhow.
        raise CallerFault("file", named.reason.removeprefix(file.path).lstrip(": "))
    try:
        state = FileState.of(os.stat(file.path))
    except OSError as error:
        raise CallerFault("file", reason_of(error)) from None
    if state != file.state:
        raise CallerFault("file", "changed while it was read")
    size, cid = (named.size, str(named.cid)) if isinstance(named, HashedFile) else (state.size, named)
    profile = run.desk.profile
    name = shown_name(os.path.basename(file.path))
    metadata = FileMetadata(profile.client_ip, profile.client_port, profile.wanted_price(), size, name)
    entry = Entry(file.key, state_text(state, file.seen_ns), run.terms, cid)
    return _Hashed(entry, size, Listing(cid, metadata, run.user_id, profile.username))


def shown_name(name: str) -> str:
    """A file name may hold what an offer must not."""
    name = name.encode("utf-8", "replace").decode()
    return name if name.isprintable() else "".join(c if c.isprintable() else "?" for c in name)
