"""Sellers for tests: gateways of real sockets, and the offers that lead to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from fastmarket.config import FetchConfig, HolderConfig
from fastmarket.exchange.fetching.order import FetchOrder, FetchPlan, FetchProgress, FetchReport, FetchSummary
from fastmarket.faults import Faults
from fastmarket.formats.cid import Cid
from fastmarket.net.clock import Clock
from fastmarket.net.fetching.fetcher import Fetcher
from fastmarket.net.fetching.http_dialer import HttpDialer
from fastmarket.net.fetching.sources import HolderReach, HolderSource, OfferSource
from fastmarket.net.pump import RunQueue
from fastmarket.net.resolver import Resolver
from fastmarket.offers.lookup.local_answers import LocalAnswer
from fastmarket.offers.model.metadata import FileMetadata, Way
from fastmarket.offers.model.offer import Offer, OfferTerms, Signing, sign_offers
from fastmarket.part_files import new_proof
from tests.net.fetching.gateway import Gateway, Reply, of_blocks, serving
from tests.net.loopback import identity

HOLDERS = HolderConfig(search_timeout_s=2.0, progress_interval_s=0.0)


@dataclass
class Offers:
    """A `Dht` as far as a fetch needs it: the offers come one by one, then the search ends."""

    offers: list[Offer] = field(default_factory=list)
    searches: int = 0

    def known_offers(self, content: bytes) -> LocalAnswer | None:
        return None

    async def find_offers(self, content: bytes, deadline_s: float) -> AsyncGenerator[Offer, None]:
        self.searches += 1
        for offer in tuple(self.offers):
            await asyncio.sleep(0)
            yield offer


def offer(root: Cid, port: int, price: int = 0, seed: int = 1, ways: int = Way.HTTP) -> Offer:
    """Signed by a peer of its own."""
    metadata = FileMetadata("127.0.0.1", port, price, ways=ways)
    return signed(OfferTerms(root.multihash, b"", f"seller {seed}", metadata), seed)


def signed(terms: OfferTerms, seed: int, *, withdrawn: bool = False) -> Offer:
    """One offer."""
    (made,) = sign_offers(identity(seed), [Signing(terms, None, withdrawn, 3600.0)], Clock().now(), 0)
    return made


def named(blocks: Mapping[bytes, bytes]) -> dict[str, bytes]:
    """Blocks by the text of their CIDs, as a gateway is asked for them."""
    return {str(Cid.from_bytes(cid)): block for cid, block in blocks.items()}


@dataclass
class Bench:
    """A buyer: the fetcher of a node, and the offers it finds."""

    dht: Offers
    fetcher: Fetcher
    dialer: HttpDialer
    faults: Faults
    gateways: list[Gateway]

    async def fetch(self, order: FetchOrder) -> Fetched:
        """To the end. Raises what the fetch raises."""
        return Fetched([report async for report in self.fetcher.fetch(order)])


@dataclass
class Fetched:
    """What a caller was told."""

    reports: Sequence[FetchReport]

    @property
    def data(self) -> bytes:
        return b"".join(report for report in self.reports if isinstance(report, bytes))

    @property
    def plans(self) -> list[FetchPlan]:
        return [report for report in self.reports if isinstance(report, FetchPlan)]

    @property
    def progress(self) -> list[FetchProgress]:
        return [report for report in self.reports if isinstance(report, FetchProgress)]

    @property
    def summary(self) -> FetchSummary:
        assert isinstance(self.reports[-1], FetchSummary)
        return self.reports[-1]


@asynccontextmanager
async def buying(
    root: Cid,
    sellers: Iterable[tuple[Reply | Mapping[bytes, bytes], int]],
    *,
    config: FetchConfig | None = None,
    holders: HolderConfig = HOLDERS,
    more: Sequence[HolderSource] = (),
    bugs: int = 0,
) -> AsyncIterator[Bench]:
    """A buyer that finds these sellers of a content: what each serves, and its price. `bugs` of ours are
    met."""
    async with AsyncExitStack() as stack:
        gateways, dht = [], Offers()
        for number, (reply, price) in enumerate(sellers, 1):
            served = of_blocks(named(reply)) if isinstance(reply, Mapping) else reply
            gateway = await stack.enter_async_context(serving(served))
            gateways.append(gateway)
            dht.offers.append(offer(root, gateway.port, price, number))
        clock, faults = Clock(), Faults()
        dialer = HttpDialer(holders, Resolver((), 5.0), lambda host: True)
        reach = HolderReach(dialer, holders, clock)
        sources: list[HolderSource] = [OfferSource(dht, reach, clock), *more]
        fetcher = Fetcher(config or FetchConfig(), holders, RunQueue(clock, faults), sources)
        yield Bench(dht, fetcher, dialer, faults, gateways)
        await fetcher.close()
        assert dialer.used == 0, "every connection is accounted for"
        assert faults.count == bugs


def with_proof(order: FetchOrder, path: Path) -> FetchOrder:
    """The same, to be written to a file, which is made if it is not there."""
    proof = new_proof()
    path.touch(0o600)
    with path.open("ab") as file:
        file.write(proof)
    return replace(order, output=str(path), proof=proof)
