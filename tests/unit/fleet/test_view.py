"""What a fleet's server makes of the store: whose offer counts, and how much of it is remembered."""

from __future__ import annotations

import asyncio

import pytest

from fastmarket.errors import PeerFault, StorageFault
from fastmarket.fleet.fields import Letter, mark_row, offer_row, read_mark
from fastmarket.fleet.view import FleetView, RecentFinds, ViewCache, ViewReader, read_view
from fastmarket.formats.cid import new_cidv0
from fastmarket.formats.identity import Identity
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import Offer, OfferTerms, sign_offer
from fastmarket.offers.wire.verifying import open_offer
from tests.conftest import Run

NOW = 1_800_000_000.0
CONTENT = new_cidv0(b"some bytes").multihash
SERVERS = [Identity.from_seed(bytes([number]) * 32) for number in range(3)]


def offer(
    server: int, at: float = NOW, user: bytes = b"ann", content: bytes = CONTENT, **more: bool
) -> Offer:
    terms = OfferTerms(content, user, user.decode(), FileMetadata("192.0.2.1", 9000, 3))
    return sign_offer(SERVERS[server], terms, at, **more)


def test_of_a_user_s_offers_the_newest_counts_whichever_server_took_it() -> None:
    old, new, other = offer(0), offer(1, NOW + 1), offer(0, user=b"bob")
    view = FleetView([old, new, other])
    assert view.live(NOW + 2) == [new, other]
    assert view.hides(old)
    assert not view.hides(new)


def test_a_withdrawal_by_the_server_that_was_left_does_not_hide_the_new_offer() -> None:
    new, tombstone = offer(1, NOW + 1), offer(0, NOW + 2, withdrawn=True)
    assert FleetView([tombstone, new]).live(NOW + 3) == [new]


def test_a_mark_hides_what_was_before_it_and_nothing_after() -> None:
    old, new = offer(0), offer(1, NOW + 2)
    marked = FleetView([old], {b"ann": old.seq})
    assert marked.live(NOW + 3) == []
    assert FleetView([old, new], {b"ann": old.seq}).live(NOW + 3) == [new]


def test_a_stranger_with_the_same_user_id_is_never_hidden() -> None:
    view = FleetView([offer(0, NOW + 5)], {b"ann": 2**62})
    assert not view.hides(offer(2))


def test_who_else_announces_an_offer() -> None:
    mine, theirs = offer(0), offer(1)
    view = FleetView([mine, theirs, offer(2, user=b"bob")])
    assert view.by_others(b"ann", SERVERS[0].peer_id, NOW) == [theirs]


def test_fields_are_read_as_they_were_written() -> None:
    signed, marked = offer(0), mark_row(CONTENT, b"bob", 77, int(NOW) + 10, NOW)
    over = mark_row(CONTENT, b"eve", 5, int(NOW) - 10, NOW - 20)
    rows = (offer_row(signed, NOW), marked, over)
    fields = {row.field: row.value for row in rows} | {b"o?": b"rubbish", b"m?": b"", b"": b""}
    view = read_view(CONTENT, fields, lambda raw: open_offer(raw, NOW), NOW)
    assert view.offers == (signed,)
    assert view.over == [over.field]
    assert read_mark(marked.value) == (b"bob", 77, int(NOW) + 10)


def test_an_expired_offer_is_to_be_swept() -> None:
    row = offer_row(offer(0), NOW)
    later = NOW + 49 * 3600
    view = read_view(CONTENT, {row.field: row.value}, lambda raw: open_offer(raw, later), later)
    assert (view.offers, view.over) == ((), [row.field])


def test_letters() -> None:
    letter = Letter(CONTENT, b"ann", 2**60)
    raw = letter.encode()
    assert Letter.decode(raw) == letter
    for cut in range(len(raw)):
        with pytest.raises(PeerFault):
            Letter.decode(raw[:cut])


class Store:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.open = asyncio.Event()
        self.away = False
        self.now = 0.0
        self.view = FleetView([offer(0)])

    async def read(self, content: bytes) -> FleetView:
        self.asked += 1
        await self.open.wait()
        if self.away:
            raise StorageFault("away")
        return self.view


def test_many_who_ask_at_once_share_one_read(run: Run[None]) -> None:
    async def main() -> None:
        store = Store()
        cache = ViewCache(store.read, 2.0, (10, 10), lambda: store.now)
        asking = [asyncio.ensure_future(cache.get(CONTENT)) for _ in range(5)]
        asking[0].cancel()
        await asyncio.sleep(0)
        store.open.set()
        views = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(views[0], asyncio.CancelledError)
        assert views[1:] == [store.view] * 4
        assert store.asked == 1
        store.now = 1.9
        assert await cache.get(CONTENT) is store.view
        assert store.asked == 1
        store.now = 2.0
        await cache.get(CONTENT)
        assert store.asked == 2, "never staler than that"

    run(main())


def test_what_changes_during_a_read_is_not_kept_stale(run: Run[None]) -> None:
    async def main() -> None:
        store = Store()
        cache = ViewCache(store.read, 2.0, (10, 10), lambda: store.now)
        asking = asyncio.ensure_future(cache.get(CONTENT))
        await asyncio.sleep(0)
        cache.forget(CONTENT)
        store.open.set()
        await asking
        assert len(cache) == 0
        await cache.get(CONTENT)
        assert (store.asked, len(cache)) == (2, 1)

    run(main())


def test_a_store_that_is_away_is_no_error(run: Run[None]) -> None:
    async def main() -> None:
        store = Store()
        store.away = True
        store.open.set()
        cache = ViewCache(store.read, 2.0, (10, 10), lambda: store.now)
        assert not (await cache.get(CONTENT)).known
        assert cache.answers["away"] == 1
        store.away = False
        assert (await cache.get(CONTENT)).known

    run(main())


def test_the_memory_is_bounded_in_contents_and_in_offers(run: Run[None]) -> None:
    async def main() -> None:
        store = Store()
        store.open.set()
        cache = ViewCache(store.read, 2.0, (3, 100), lambda: store.now)
        for number in range(10):
            await cache.get(b"%d" % number)
        assert (len(cache), cache.offers) == (3, 3)
        store.view = FleetView([offer(0), offer(1), offer(2)])
        cache = ViewCache(store.read, 2.0, (100, 7), lambda: store.now)
        for number in range(10):
            await cache.get(b"%d" % number)
        assert (len(cache), cache.offers) == (2, 6)

    run(main())


def test_recent_finds_are_bounded_and_short_lived() -> None:
    now = [0.0]
    recent = RecentFinds(2.0, (3, 4), lambda: now[0])
    recent.put(b"a", [offer(0)], 0.0)
    assert recent.get(b"a") == (offer(0),)
    recent.put(b"b", [offer(0), offer(1), offer(2), offer(0, user=b"bob")], 0.5)
    assert recent.get(b"a") is None, "it gave way"
    assert recent.get(b"b") is not None
    now[0] = 2.5
    assert recent.get(b"b") is None
    for number in range(9):
        recent.put(b"%d" % number, [], 2.0)
    assert [recent.get(b"%d" % number) is not None for number in range(9)] == [False] * 6 + [True] * 3
    recent.forget(b"8")
    recent.forget(b"never there")
    assert recent.get(b"8") is None


OTHER = new_cidv0(b"other bytes").multihash


def put_wrong() -> dict[str, tuple[bytes, bytes]]:
    """What somebody may put into the hash of CONTENT that does not belong there."""
    elsewhere = offer_row(offer(0, content=OTHER), NOW)
    mine = offer_row(offer(0), NOW)
    marked = mark_row(CONTENT, b"bob", 77, int(NOW) + 10, NOW)
    lasting = mark_row(CONTENT, b"bob", 77, int(NOW) + 10**8, NOW)
    return {
        "an offer for another content": (elsewhere.field, elsewhere.value),
        "an offer in the place of another": (offer_row(offer(1), NOW).field, mine.value),
        "an offer once more": (mine.field[:-1] + b"?", mine.value),
        "a mark in the place of another": (mark_row(CONTENT, b"eve", 1, 1, NOW).field, marked.value),
        "a mark that outlives every offer": (lasting.field, lasting.value),
        "a kind nobody knows": (b"x" + mine.field[1:], mine.value),
        "an offer in the place of a mark": (marked.field, mine.value),
        "a mark in the place of an offer": (mine.field, marked.value),
    }


@pytest.mark.parametrize("what", put_wrong())
def test_what_does_not_belong_there_is_left_out(what: str) -> None:
    field, value = put_wrong()[what]
    reader = ViewReader(CONTENT, lambda raw: open_offer(raw, NOW), NOW)
    right = offer_row(offer(2), NOW)
    reader.read([(field, value), (right.field, right.value)])
    view = reader.view()
    assert view.offers == (offer(2),)
    assert (reader.wrong, list(view.over)) == (1, [])
    assert FleetView([offer(1, user=b"bob")], view._marks).live(NOW), "no mark counts"
