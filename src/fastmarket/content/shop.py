"""Ties what is sold to its offers: imports, registers, and withdraws what can no longer be served."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

from fastmarket.config import ContentConfig
from fastmarket.content.address import ContentPlace
from fastmarket.content.allowed import AllowedPaths, shown_path
from fastmarket.content.catalogue import Catalogue
from fastmarket.content.following import Followers
from fastmarket.content.goods import Good, GoodState, SellOrder
from fastmarket.content.importing import GoodEnded, Importer, ImportProgress, PathRefused
from fastmarket.content.keeping import GoodsKeeper
from fastmarket.content.records import GoodPut
from fastmarket.content.sale import Sale, SaleEvent, SaleProgress
from fastmarket.content.sent import SentBytes
from fastmarket.content.watching import check_watching
from fastmarket.content.withdrawing import Withdrawals
from fastmarket.errors import CallerFault, FastmarketError, Forbidden, NoSuchGood, QuorumFailed
from fastmarket.faults import Faults
from fastmarket.formats.cid import named
from fastmarket.formats.identity import PeerId
from fastmarket.formats.unixfs.profile import CidProfile
from fastmarket.kad.outcome import Outcome
from fastmarket.offers.model.metadata import MAX_FILE_NAME_BYTES, FileMetadata, Way, check_text
from fastmarket.offers.model.offer import Offer, OfferTerms
from fastmarket.repeating import Repeating

logger = logging.getLogger(__name__)

REGISTER_S = 10.0  # for the quorum of offers, unless the caller's deadline is nearer
SLICE = 256  # goods registered together: the offers of one signature
PAGE = 1000  # goods read from the catalogue at a time


class OfferRegistry(Protocol):
    """The part of a node's `Dht` that the shop needs."""

    @property
    def peer_id(self) -> PeerId: ...

    async def register_offers(self, many: Sequence[OfferTerms], deadline_s: float) -> Sequence[Outcome]: ...

    async def withdraw_offer(self, content: bytes, user_id: bytes, deadline_s: float) -> Outcome: ...

    def own_offer(self, content: bytes, user_id: bytes) -> Offer | None: ...

    def own_offers(self) -> Iterable[Offer]: ...


class Shop:
    """What a node sells. It runs in the event loop; reading and hashing happen in threads."""

    def __init__(
        self,
        catalogue: Catalogue,
        importer: Importer,
        keeper: GoodsKeeper,
        allowed: AllowedPaths,
        registry: OfferRegistry,
        place: Callable[[], ContentPlace],
        take_sent: Callable[[], Mapping[str, int]],
        config: ContentConfig,
        faults: Faults,
    ) -> None:
        """`place` tells where buyers find the content port at that moment, `take_sent` what it has sent out
        of each file since the last call."""
        self._catalogue = catalogue
        self._importer = importer
        self._keeper = keeper
        self._allowed = allowed
        self._registry = registry
        self._place = place
        self._take_sent = take_sent
        self._sent = SentBytes()
        self._offered_at: ContentPlace | None = None
        self.changed_count = 0
        """Goods found not to be as they were imported, since the start."""
        self._offering = Repeating("offering what is sold", lambda: config.look_s, self.offer_all, faults)
        self._tasks = (
            Repeating("looking after what is sold", lambda: config.look_s, self._follow_changes, faults),
            self._offering,
            Repeating("continuing imports", lambda: config.look_s, self._continue_imports, faults),
            Repeating("following what is sold", lambda: config.look_s, self._update_followers, faults),
        )
        self._followers = Followers(config, self._sell_again, faults)
        self._withdrawals = Withdrawals(registry, self._is_sold)

    def start(self) -> None:
        """Offers what was sold before, and continues what was being imported; returns at once."""
        for task in self._tasks:
            task.start(at_once=True)

    def on_place_changed(self) -> None:
        """Buyers find the content port elsewhere: what is sold is offered there, soon."""
        self._offering.soon()

    async def stop(self) -> None:
        """Offers stay registered; the bytes are no longer served."""
        self._keeper.close()
        await asyncio.gather(*(task.stop() for task in self._tasks))
        await self._followers.stop()
        await self._withdrawals.close()

    # --- for callers

    @property
    def allowed(self) -> AllowedPaths:
        """What may be sold."""
        return self._allowed

    def orders(
        self,
        paths: Sequence[str],
        *,
        price_per_mb: int,
        user_id: bytes,
        user_name: str,
        profile: CidProfile,
        each_file: bool,
        watched: bool,
        from_here: bool,
    ) -> list[SellOrder]:
        """What a caller wants sold. Callers on other machines (not `from_here`) may sell only from
        directories that the operator allows. Raises CallerFault naming the field, Forbidden, NoSuchGood."""
        if watched:
            check_watching()
        if not from_here and not self._allowed.directories:
            reason = "may not be sold by callers on other machines without --allow-path"
            raise Forbidden("paths", f"{shown_path(paths[0])} {reason}")
        user = user_id or user_name.encode() or str(self._registry.peer_id).encode()
        return [
            SellOrder(self._allowed.check(path), price_per_mb, user, user_name, profile, each_file, watched)
            for path in paths
        ]

    async def sell(
        self, orders: Sequence[SellOrder], deadline_s: float | None = None
    ) -> AsyncGenerator[SaleEvent, None]:
        """Imports, serves and offers what the orders name, one after the other; a fault ends only its path.

        What is imported at the end of the generator stays sold, and a later call continues."""
        register_s = REGISTER_S if deadline_s is None else min(REGISTER_S, deadline_s)
        for order in orders:
            try:
                async with aclosing(self._sell(order, register_s)) as events:
                    async for event in events:
                        yield event
            except FastmarketError as fault:
                yield Sale(shown_path(order.path), fault=fault)
        await self._update_followers()

    async def unsell(self, content: str, deadline_s: float | None = None) -> list[str]:
        """Stops selling a content, or what is sold from an absolute path; returns the CIDs. Raises
        CallerFault ("content"), NoSuchGood."""
        if content.startswith("/") and not content.startswith("/ipfs/"):
            goods = await asyncio.to_thread(self._catalogue.remove, path=content)
        else:
            try:
                multihash = named(content).multihash
            except CallerFault as fault:
                raise CallerFault("content", fault.reason) from None
            goods = await asyncio.to_thread(self._catalogue.remove, multihash=multihash)
        if not goods:
            raise NoSuchGood("content", f"{shown_path(content)} is not sold here")
        await self._update_followers()
        await self._withdraw(goods, REGISTER_S if deadline_s is None else min(REGISTER_S, deadline_s))
        return list(dict.fromkeys(str(good.cid) for good in goods if good.cid is not None))

    def goods(self, page_token: str, count: int, *, with_paths: bool = True) -> tuple[Good, ...]:
        """Goods by path, behind those of the page with that token. Raises CallerFault ("page_token").

        Without `with_paths` a token names no path, and one that does is refused: the answers to a few of
        these would tell the path of any good.
        """
        return self._catalogue.goods(self._place_of(page_token, with_paths), count)

    def sent_bytes(self, good: Good) -> int:
        """Sent of it since the start."""
        self._sent.add(self._take_sent())
        return self._sent.of(good)

    def page_token(self, last: Good, *, with_paths: bool = True) -> str:
        """For the page behind `last`. With its path the page is found after `last` has gone, too."""
        return f"{last.id}:{shown_path(last.path)}" if with_paths else str(last.id)

    # --- within

    def _place_of(self, page_token: str, with_paths: bool) -> tuple[str, int] | None:
        if not page_token:
            return None
        number, colon, path = page_token.partition(":")
        if not number.isdecimal() or len(number) > 18 or bool(colon) is not with_paths:
            raise CallerFault("page_token", "not issued by this server")
        if with_paths:
            return path, int(number)
        known = self._catalogue.path_of(int(number))
        if known is None:
            raise CallerFault("page_token", "the last good of that page is no longer sold; begin again")
        return known, int(number)

    async def _sell(self, order: SellOrder, register_s: float) -> AsyncGenerator[SaleEvent, None]:
        put: list[GoodPut] = []
        async with aclosing(self._importer.sell(order)) as events:
            async for event in events:
                if isinstance(event, GoodPut):
                    put.append(event)
                elif isinstance(event, PathRefused):
                    yield Sale(shown_path(event.path), fault=CallerFault("paths", event.reason))
                elif isinstance(event, GoodEnded):
                    await self._withdraw([event.good], register_s)
                else:
                    yield _progress(event)
                if len(put) >= SLICE:
                    for sale in await self._offer(put, register_s):
                        yield sale
                    put = []
        for sale in await self._offer(put, register_s):
            yield sale

    async def _offer(self, put: Sequence[GoodPut], register_s: float) -> list[Sale]:
        """Registers offers of goods, and withdraws those of the contents they had before."""
        outcomes = await self._register([one.good for one in put], register_s)
        await self._withdraw([one.before for one in put if one.before is not None], register_s)
        return [
            Sale(shown_path(one.good.path), str(one.good.cid), one.good.size, outcome, _missed(outcome))
            for one, outcome in zip(put, outcomes, strict=True)
        ]

    async def _register(self, goods: Sequence[Good], register_s: float) -> Sequence[Outcome]:
        if not goods:
            return []
        place = self._place()
        return await self._registry.register_offers([_terms(good, place) for good in goods], register_s)

    async def _withdraw(self, goods: Iterable[Good], register_s: float) -> None:
        """Offers of contents that this node no longer sells in that user's name."""
        await self._withdrawals.withdraw(
            ((good.cid.multihash, good.user_id) for good in goods if good.cid is not None), register_s
        )

    def _is_sold(self, content: bytes, user_id: bytes) -> bool:
        return any(
            other.user_id == user_id and other.state is GoodState.SELLING
            for other in self._catalogue.goods_of(content)
        )

    async def _follow_changes(self) -> None:
        async with aclosing(self._keeper.changes()) as changes:
            async for goods in changes:
                broken = [one for one in goods if one.state is not GoodState.SELLING]
                self.changed_count += len(broken)
                await self._withdraw(broken, REGISTER_S)
                await self._register([one for one in goods if one.state is GoodState.SELLING], REGISTER_S)

    async def offer_all(self) -> None:
        """Registers what is sold and not offered, or offered at another place: after a restart, or when the
        node's address has changed."""
        place = self._place()
        if place == self._offered_at:
            return
        after: tuple[str, int] | None = None
        while page := self._catalogue.goods(after, PAGE):
            after = page[-1].path, page[-1].id
            unlike = [
                good for good in page if good.state is GoodState.SELLING and self._is_unlike(good, place)
            ]
            for at in range(0, len(unlike), SLICE):
                await self._register(unlike[at : at + SLICE], REGISTER_S)
        if self._offered_at is None:
            await self._withdraw_unsold(place)
        self._offered_at = place

    async def _withdraw_unsold(self, place: ContentPlace) -> None:
        """Offers of what is no longer served at this place: an earlier run may have been killed before it had
        withdrawn all of them."""
        unsold = []
        for number, offer in enumerate(list(self._registry.own_offers())):
            if not number % SLICE:
                await asyncio.sleep(0)
            if offer.withdrawn or not _is_at(offer, place):
                continue
            if self._catalogue.find(offer.content) is None:
                unsold.append((offer.content, offer.user_id))
        await self._withdrawals.withdraw(unsold, REGISTER_S)

    def _is_unlike(self, good: Good, place: ContentPlace) -> bool:
        terms = _terms(good, place)
        offer = self._registry.own_offer(terms.content, terms.user_id)
        return offer is None or offer.withdrawn or offer.metadata != terms.metadata

    async def _continue_imports(self) -> bool:
        """Orders that an earlier run did not finish; those that are followed start by themselves."""
        for order, is_finished in await asyncio.to_thread(self._catalogue.orders):
            if not is_finished and not order.watched:
                await self._sell_again(order)
        return True

    async def _update_followers(self) -> None:
        orders = await asyncio.to_thread(self._catalogue.orders)
        self._followers.update(order for order, _ in orders)

    async def _sell_again(self, order: SellOrder) -> None:
        async with aclosing(self.sell([order])) as events:
            async for event in events:
                if isinstance(event, Sale) and event.fault is not None:
                    logger.warning("cannot sell %s: %s", event.path, event.fault)


def _progress(event: ImportProgress) -> SaleProgress:
    return SaleProgress(event.done, event.total, shown_path(event.path))


def _terms(good: Good, place: ContentPlace) -> OfferTerms:
    assert good.cid is not None, "a good that is sold has a name"
    # What costs nothing; the place says so if it takes payments over Bitswap.
    ways = place.ways | (Way.BITSWAP if good.price_per_mb == 0 else 0)
    metadata = FileMetadata(
        place.ip, place.port, good.price_per_mb, good.size, _file_name(good.name), ways, place.url
    )
    return OfferTerms(good.cid.multihash, good.user_id, good.user_name, metadata, good.cid.form)


def _is_at(offer: Offer, place: ContentPlace) -> bool:
    """Whether it is an offer of ours; those that somebody registers by hand tell no ways."""
    here = offer.metadata
    is_ours = bool(here.ways) and here.ways & place.ways == place.ways
    return is_ours and (here.ip, here.port, here.url) == (place.ip, place.port, place.url)


def _file_name(name: str) -> str | None:
    """None for a name that no offer can state."""
    try:
        check_text("name", name, MAX_FILE_NAME_BYTES)
    except CallerFault:
        return None
    return name


def _missed(outcome: Outcome) -> QuorumFailed | None:
    if outcome.is_reached:
        return None
    return QuorumFailed(outcome.acknowledged, outcome.asked, outcome.wanted, outcome.why)
