"""Group commit, with a real database."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest

from fastmarket.config import StorageConfig
from fastmarket.errors import StorageFault
from fastmarket.formats.cid import sha256_multihash
from fastmarket.native.batch import SignedBatch
from fastmarket.offers.model.batch import contents
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import Offer, OfferTerms, Signing, sign_offer, sign_offers
from fastmarket.offers.store.changes import AnyChange, BatchChange, Change, Displaced
from fastmarket.offers.wire.verifying import read_offer
from fastmarket.storage.database import FILE, OfferDatabase
from fastmarket.storage.journal import Journal
from tests.conftest import Run
from tests.net.loopback import until
from tests.virtual import identity

NOW = 1_800_000_000.0


def terms(name: str) -> OfferTerms:
    return OfferTerms(sha256_multihash(name.encode()), b"u", "bob", FileMetadata("192.0.2.1", 80, 5))


def offer(name: str, previous: Offer | None = None, *, withdrawn: bool = False) -> Offer:
    return sign_offer(identity(1), terms(name), NOW, previous=previous, withdrawn=withdrawn)


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


def test_a_full_disk_at_the_end_is_told_and_nothing_is_tried_after_it(
    run: Run[None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        made = Journal(OfferDatabase(tmp_path), StorageConfig(retry_s=0.0), lambda: NOW)
        with full_disk():
            under_way = made.keep([Change(offer("a"), True)])
            await asyncio.sleep(0)  # its write has begun
            behind = made.keep([Change(offer("b"), True)])
            await made.close()
        for done in (under_way, behind, made.keep([Change(offer("c"), True)])):
            with pytest.raises(StorageFault):
                await done
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert held(tmp_path) == set()

    run(main())
    assert "the journal failed" not in caplog.text


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


def batch(names: str, previous: dict[str, Offer] | None = None) -> BatchChange:
    """Offers under one signature, one a letter, in the places of what is told."""
    before = previous or {}
    signings = [Signing(terms(name), before.get(name), False) for name in names]
    offers = sorted(sign_offers(identity(1), signings, NOW), key=lambda one: one.slot)
    signed = offers[0].signed
    assert isinstance(signed, SignedBatch)
    return BatchChange(signed, offers, True, list(before.values()))


def kept(directory: Path) -> tuple[set[bytes], set[bytes]]:
    """Contents of single offers, and of those in batches that are not dead."""
    database = OfferDatabase(directory)
    try:
        single = {read_offer(signed).content for signed, _ in database.offers()}
        batches = [
            (index, content, dead)
            for row, dead in database.batches()
            for index, content in enumerate(contents(SignedBatch(row.signed)))
        ]
        return single, {content for index, content, dead in batches if index not in dead}
    finally:
        database.close()


def names(*letters: str) -> set[bytes]:
    return {terms(letter).content for letter in letters}


def in_place(change: BatchChange, name: str) -> Offer:
    return next(one for one in change.offers if one.content == terms(name).content)


@pytest.mark.parametrize("at_once", [True, False])
def test_what_replaces_an_offer_of_a_batch_leaves_the_others_alone(
    run: Run[None], tmp_path: Path, at_once: bool
) -> None:
    async def main() -> None:
        async with journal(tmp_path) as made:
            first = batch("abc")
            old = in_place(first, "b")
            gone = offer("b", old, withdrawn=True)
            changes: list[AnyChange] = [first, Change(gone, True, old)]
            for together in [changes] if at_once else [[one] for one in changes]:
                await made.keep(together)
            assert kept(tmp_path) == (names("b"), names("a", "c"))
            second = batch("bc", {"b": gone, "c": in_place(first, "c")})
            await made.keep([second])
            assert kept(tmp_path) == (set(), names("a", "b", "c"))
            await made.keep(
                [batch("abc", {"a": in_place(first, "a"), **{n: in_place(second, n) for n in "bc"}})]
            )
            assert kept(tmp_path) == (set(), names("a", "b", "c"))
            with closing(OfferDatabase(tmp_path)) as database:
                assert [row.number for row, _ in database.batches()] == [3]
                assert database.next_number() == 4

    run(main())


def test_batches_of_an_earlier_life_are_taken_up_with_their_dead(run: Run[None], tmp_path: Path) -> None:
    async def main() -> None:
        first = batch("abc")
        async with journal(tmp_path) as made:
            await made.keep([first])
            await made.keep([Change(offer("a", in_place(first, "a")), True, in_place(first, "a"))])
        async with journal(tmp_path) as made:
            with closing(OfferDatabase(tmp_path)) as database:
                ((row, dead),) = database.batches()
            again = SignedBatch(row.signed)
            made.took_up(again, row, dead)
            others = [one._replace(signed=again) for one in first.offers if one.content not in names("a")]
            await made.keep([Change(offer("b", others[0]), True, others[0])])
            made.forget([others[1]])
            await made.keep([Change(offer("d"), True)])
            single, together = kept(tmp_path)
            assert (len(single), together) == (3, set())

    run(main())


def test_a_full_disk_costs_no_own_batch_and_leaves_no_stale_offer(run: Run[None], tmp_path: Path) -> None:
    async def main() -> None:
        async with journal(tmp_path, StorageConfig(retry_s=0.01)) as made:
            single, first = offer("a"), batch("bc")
            await made.keep([Change(single, True)])
            with full_disk():
                for change in (first, batch("ab", {"a": single, "b": in_place(first, "b")})):
                    with pytest.raises(StorageFault, match=FILE):
                        await made.keep([change])
                with pytest.raises(StorageFault, match=FILE):
                    await made.keep([batch("xy")._replace(own=False), Change(offer("z"), True)])
            commits = made.commits
            await until(lambda: made.commits > commits)
            assert kept(tmp_path) == (names("z"), names("a", "b", "c"))

    run(main())


def test_batches_of_others_count_by_their_offers(run: Run[None], tmp_path: Path) -> None:
    async def main() -> None:
        config = StorageConfig(write_behind_s=3600.0, max_unwritten=3)
        async with journal(tmp_path, config) as made:
            for part in ("ab", "cd", "ef"):
                made.keep([batch(part)._replace(own=False)])
            await made.keep([batch("gh")])
            assert kept(tmp_path) == (set(), names(*"abcdgh"))

    run(main())


def test_a_version_that_could_not_be_written_does_not_come_back_behind_its_batch(
    run: Run[None], tmp_path: Path
) -> None:
    """The single offer fails, and while it does a batch with its next version comes."""

    async def main() -> None:
        async with journal(tmp_path, StorageConfig(retry_s=3600.0)) as made:
            single = offer("a")
            with full_disk():
                failing = made.keep([Change(single, True)])
                later = made.keep([batch("ab", {"a": single})])
                for done in (failing, later):
                    with pytest.raises(StorageFault):
                        await done
            await made.keep([Change(offer("c"), True)])
            assert kept(tmp_path) == (names("c"), names("a", "b"))

    run(main())


@pytest.mark.parametrize("written", [True, False], ids=["on disk", "still to be written"])
def test_what_was_displaced_is_on_no_disk(run: Run[None], tmp_path: Path, written: bool) -> None:
    """Else a store that takes ever new offers in the place of others would fill the disk."""

    async def main() -> None:
        async with journal(tmp_path) as made:
            alone, whole = offer("s"), batch("abc")
            changes: list[AnyChange] = [
                Change(alone, False),
                whole._replace(own=False),
                Change(offer("t"), False),
            ]
            if written:
                await made.keep([*changes, Change(offer("own"), True)])
            gone: list[AnyChange] = [Displaced([alone]), Displaced(whole.offers)]
            await made.keep([*([] if written else changes), *gone, Change(offer("later"), True)])
            single, batched = kept(tmp_path)
            assert names("t", "later") <= single
            assert not (single | batched) & names("s", "a", "b", "c")

    run(main())


def test_what_was_replaced_is_on_no_disk_though_there_is_no_room_for_what_replaces_it(
    run: Run[None], tmp_path: Path
) -> None:
    """Else a flood while an offer is withdrawn would bring it back after a restart."""

    async def main() -> None:
        config = StorageConfig(write_behind_s=3600.0, max_unwritten=1)
        async with journal(tmp_path, config) as made:
            alone, whole = offer("s"), batch("abc")
            for change in (Change(alone, False), whole._replace(own=False)):
                await made.keep([change, Change(offer("own"), True)])
            assert kept(tmp_path) == (names("s", "own"), names("a", "b", "c"))
            withdrawn = Change(offer("s", alone, withdrawn=True), False, alone)
            newer = batch("ab", {"a": in_place(whole, "a"), "b": in_place(whole, "b")})._replace(own=False)
            await made.keep([Change(offer("flood"), False), withdrawn, newer, Change(offer("later"), True)])
            assert kept(tmp_path) == (names("own", "flood", "later"), names("c"))

    run(main())
