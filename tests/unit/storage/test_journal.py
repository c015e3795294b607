"""Group commit, with a real database."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from fastmarket.config import StorageConfig
from fastmarket.errors import StorageFault
from fastmarket.formats.cid import sha256_multihash
from fastmarket.offers.changes import Change
from fastmarket.offers.metadata import FileMetadata
from fastmarket.offers.model import Offer, OfferTerms, sign_offer
from fastmarket.storage.database import FILE, OfferDatabase
from fastmarket.storage.journal import Journal
from tests.conftest import Run
from tests.net.loopback import until
from tests.unit.offers.memory import identity

NOW = 1_800_000_000.0


def offer(name: str, previous: Offer | None = None, *, withdrawn: bool = False) -> Offer:
    terms = OfferTerms(sha256_multihash(name.encode()), b"u", "bob", FileMetadata("192.0.2.1", 80, 5))
    return sign_offer(identity(1), terms, NOW, previous=previous, withdrawn=withdrawn)


@asynccontextmanager
async def journal(directory: Path, config: StorageConfig | None = None) -> AsyncIterator[Journal]:
    made = Journal(OfferDatabase(directory), config or StorageConfig(), lambda: NOW)
    try:
        yield made
    finally:
        await made.close()


def held(directory: Path) -> set[bytes]:
    database = OfferDatabase(directory)
    try:
        return {signed for signed, _ in database.offers()}
    finally:
        database.close()


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow: what a full disk does to a writer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_many_registrations_share_a_commit(run: Run[None], tmp_path: Path) -> None:
    async def main() -> None:
        async with journal(tmp_path) as made:
            offers = [offer(str(number)) for number in range(100)]
            await asyncio.gather(*(made.keep([Change(one, True)]) for one in offers))
            assert held(tmp_path) == {one.envelope for one in offers}
            assert made.commits <= 3, "the first, and those that gathered meanwhile"

    run(main())


def test_the_latest_version_counts_and_what_others_offer_is_written_behind(
    run: Run[None], tmp_path: Path
) -> None:
    async def main() -> None:
        first = offer("a")
        tombstone = offer("a", first, withdrawn=True)
        other = offer("b")
        async with journal(tmp_path, StorageConfig(write_behind_s=3600.0)) as made:
            behind = made.keep([Change(other, False)])
            await made.keep([Change(first, True), Change(tombstone, True)])
            assert behind.done(), "the same commit"
            assert held(tmp_path) == {tombstone.envelope, other.envelope}
            late = offer("c")
            made.keep([Change(late, False)])
        assert held(tmp_path) == {tombstone.envelope, other.envelope, late.envelope}, "written at the end"

    run(main())


def test_a_full_disk_is_told_and_the_offer_written_when_there_is_room(run: Run[None], tmp_path: Path) -> None:
    async def main() -> None:
        async with journal(tmp_path, StorageConfig(retry_s=0.01)) as made:
            before, during = offer("before"), offer("during")
            await made.keep([Change(before, True)])
            with full_disk(), pytest.raises(StorageFault, match=FILE):
                await made.keep([Change(during, True)])
            commits = made.commits
            await until(lambda: made.commits > commits)
            assert held(tmp_path) == {before.envelope, during.envelope}

    run(main())


def test_changes_by_others_that_wait_are_bounded(run: Run[None], tmp_path: Path) -> None:
    async def main() -> None:
        config = StorageConfig(write_behind_s=3600.0, max_unwritten=2)
        async with journal(tmp_path, config) as made:
            offers = [offer(str(number)) for number in range(4)]
            for one in offers[:3]:
                made.keep([Change(one, False)])
            await made.keep([Change(offers[3], True)])
            assert held(tmp_path) == {offers[0].envelope, offers[1].envelope, offers[3].envelope}

    run(main())
