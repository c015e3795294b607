"""A typed client of a node's gRPC services: one method for each of theirs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing

from fastmarket.market.client_accounting import LedgerCalls
from fastmarket.market.client_calls import RpcMethod
from fastmarket.market.client_fetching import FetchCalls
from fastmarket.market.client_goods import GoodsCalls
from fastmarket.market.client_values import (
    ClientTls,
    Found,
    Holder,
    HolderChange,
    HolderSearch,
    Listing,
    NodeInfo,
    OwnOffer,
    PeerEntry,
    RecordPut,
    Registered,
    RegisterResult,
    SearchResult,
    Withdrawn,
)
from fastmarket.market.grpc_errors import ServerUnavailable
from fastmarket.market.holder_watch import watch_on
from fastmarket.offers.model.metadata import FileMetadata, Way
from fastmarket.pb import market_pb2
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1

__all__ = [
    "ClientTls",
    "Found",
    "Holder",
    "HolderChange",
    "Listing",
    "MarketClient",
    "NodeInfo",
    "RegisterResult",
    "OwnOffer",
    "PeerEntry",
    "RecordPut",
    "Registered",
    "HolderSearch",
    "SearchResult",
    "ServerUnavailable",
    "Withdrawn",
]

PAGE = 1000  # offers requested at a time


_CHECK_HOLDERS = RpcMethod("/market.Market/CheckHolders", market_pb2.HoldersResponse)
_GET_NODE = RpcMethod("/fastmarket.v1.Market/GetNode", v1.Node)
_LIST_PEERS = RpcMethod("/fastmarket.v1.Market/ListPeers", v1.ListPeersResponse)
_CLOSEST_PEERS = RpcMethod("/fastmarket.v1.Market/ClosestPeers", v1.ListPeersResponse)
_FIND_HOLDERS = RpcMethod("/fastmarket.v1.Market/FindHolders", v1.FindHoldersResponse)
_REGISTER_FILES = RpcMethod("/fastmarket.v1.Market/RegisterFiles", v1.RegisterFilesResponse)
_WITHDRAW_FILE = RpcMethod("/fastmarket.v1.Market/WithdrawFile", v1.WithdrawFileResponse)
_LIST_OFFERS = RpcMethod("/fastmarket.v1.Market/ListOffers", v1.ListOffersResponse)
_PUT_RECORD = RpcMethod("/fastmarket.v1.Market/PutRecord", v1.PutRecordResponse)
_GET_RECORD = RpcMethod("/fastmarket.v1.Market/GetRecord", v1.GetRecordResponse)
_FIND_HOLDERS_BATCH = RpcMethod("/fastmarket.v1.Market/FindHoldersBatch", v1.FindHoldersBatchResponse)
_WATCH_HOLDERS = RpcMethod("/fastmarket.v1.Market/WatchHolders", v1.WatchHoldersResponse)
_REGISTER_FILE = RpcMethod("/fastmarket.v1.Market/RegisterFile", v1.RegisterFileResponse)


class MarketClient(GoodsCalls, FetchCalls, LedgerCalls):
    """Calls the node at `target`, "host:port". Use it in one event loop, and close it.

    Every method raises `CallerFault` with the field named by the server, `Busy`, `QuorumFailed`,
    `ServerUnavailable`, `RequestTimeout`, another `NetworkFault`, or `NodeFault` for a fault of the server.
    If the server is unreachable or asks to retry, a call is tried up to four times with growing pauses, a
    second in all, within its deadline; registering and withdrawing twice is harmless.
    """

    async def get_node(self, *, timeout_s: float | None = None) -> NodeInfo:
        """Describes the node."""
        node = await self._call(_GET_NODE, v1.GetNodeRequest(), timeout_s)
        return NodeInfo(
            node.peer_id,
            tuple(node.listen),
            node.agent_version,
            node.peers,
            node.connections,
            node.offers,
            node.own_offers,
            node.mode,
            tuple(node.troubles),
        )

    async def list_peers(self, *, timeout_s: float | None = None) -> list[PeerEntry]:
        """The routing table, closest first."""
        return _peers(await self._call(_LIST_PEERS, v1.ListPeersRequest(), timeout_s))

    async def closest_peers(self, content: str, *, timeout_s: float | None = None) -> list[PeerEntry]:
        """The nodes closest to the content, found by a lookup."""
        request = v1.ClosestPeersRequest(content=content)
        return _peers(await self._call(_CLOSEST_PEERS, request, timeout_s))

    async def find_holders(
        self,
        content: str,
        *,
        max_price: int | None = None,
        limit: int = 0,
        live: bool = False,
        timeout_s: float | None = None,
    ) -> list[Holder]:
        """The holders of the content, cheapest first; an empty list if there are none. With `live`, each is
        asked whether it is there, within a second."""
        found = await self.search_holders(
            content, max_price=max_price, limit=limit, live=live, timeout_s=timeout_s
        )
        return list(found.holders)

    async def search_holders(
        self,
        content: str,
        *,
        max_price: int | None = None,
        limit: int = 0,
        live: bool = False,
        timeout_s: float | None = None,
    ) -> Found:
        """Like `find_holders`, with everything the node reports at the end of the search."""
        last = Found((), provisional=False)
        async for found in self.stream_holders(
            content, max_price=max_price, limit=limit, live=live, timeout_s=timeout_s
        ):
            if not found.provisional:
                last = found
        return last

    async def stream_holders(
        self,
        content: str,
        *,
        max_price: int | None = None,
        limit: int = 0,
        live: bool = False,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[Found, None]:
        """Each holder as it is found, provisionally; at the end all of them, cheapest first.

        Closing the generator also ends the search on the node.
        """
        request = v1.FindHoldersRequest(content=content, max_price=max_price, limit=limit, live=live)
        async with aclosing(self._stream(_FIND_HOLDERS, request, self._within(timeout_s))) as replies:
            async for reply in replies:
                holders, named_by = tuple(map(_holder, reply.holders)), _named_by(reply.named_by)
                unpriced = reply.providers_without_price
                yield Found(holders, reply.provisional, reply.cid, named_by, unpriced)

    async def find_many(
        self, searches: AsyncIterable[HolderSearch], *, timeout_s: float | None = None
    ) -> AsyncGenerator[SearchResult, None]:
        """Many searches on one stream; each result as soon as it is ready. `timeout_s` is for the whole
        stream."""
        asked: dict[int, HolderSearch] = {}

        async def requests() -> AsyncGenerator[v1.FindHoldersBatchRequest, None]:
            number = 0
            async for search in searches:
                asked[number] = search
                yield v1.FindHoldersBatchRequest(id=number, search=_search(search))
                number += 1

        async with aclosing(self._exchange(_FIND_HOLDERS_BATCH, requests(), timeout_s)) as replies:
            async for reply in replies:
                holders = tuple(map(_holder, reply.holders))
                yield SearchResult(asked.pop(reply.id), holders, reply.message, _named_by(reply.named_by))

    async def find_batches(
        self, batches: AsyncIterable[Sequence[HolderSearch]], *, timeout_s: float | None = None
    ) -> AsyncGenerator[list[SearchResult], None]:
        """Like `find_many`, with 1 to 1,000 searches per message: yields the results of a batch, in the order
        of its searches, as each batch is answered. This is the cheaper way to look up many contents."""
        asked: dict[int, Sequence[HolderSearch]] = {}

        async def requests() -> AsyncGenerator[v1.FindHoldersBatchRequest, None]:
            number = 0
            async for batch in batches:
                asked[number] = batch
                yield v1.FindHoldersBatchRequest(id=number, searches=map(_search, batch))
                number += 1

        async with aclosing(self._exchange(_FIND_HOLDERS_BATCH, requests(), timeout_s)) as replies:
            async for reply in replies:
                batch = asked.pop(reply.id)
                if reply.message:
                    yield [SearchResult(search, (), reply.message) for search in batch]
                    continue
                yield [
                    SearchResult(
                        search, tuple(map(_holder, found.holders)), found.message, _named_by(found.named_by)
                    )
                    for search, found in zip(batch, reply.found, strict=True)
                ]

    async def watch_holders(
        self,
        content: str,
        *,
        max_price: int | None = None,
        interval_s: float = 0.0,
        timeout_s: float | None = None,
        resume_s: float = 300.0,
    ) -> AsyncGenerator[HolderChange, None]:
        """All holders, then changes, as the node sees them every `interval_s` (0: its default, 30 s).

        Never ends unless `timeout_s` passes, which raises `RequestTimeout`. An unreachable node (a restart)
        is called again for up to `resume_s`; the first change after that has `gap` set, and a holder missing
        then is reported `gone` only if a second look does not find it either.
        """
        request = v1.WatchHoldersRequest(content=content, max_price=max_price, interval_s=interval_s)

        async def changes(left_s: float | None) -> AsyncGenerator[HolderChange, None]:
            async with aclosing(self._stream(_WATCH_HOLDERS, request, left_s)) as replies:
                async for reply in replies:
                    present, gone = (tuple(map(_holder, holders)) for holders in (reply.present, reply.gone))
                    yield HolderChange(present, gone)

        async with aclosing(watch_on(changes, interval_s, timeout_s, resume_s)) as watched:
            async for change in watched:
                yield change

    async def put_record(
        self, key: bytes, value: bytes, *, quorum: int = 0, timeout_s: float | None = None
    ) -> RecordPut:
        """Stores a value in the DHT; `quorum` 0 means a majority of the nodes asked."""
        request = v1.PutRecordRequest(key=key, value=value, quorum=quorum)
        reply = await self._call(_PUT_RECORD, request, timeout_s)
        return RecordPut(reply.acknowledged, reply.asked, reply.wanted)

    async def get_record(self, key: bytes, *, quorum: int = 0, timeout_s: float | None = None) -> bytes:
        """The best value under a key; raises NotFound if there is none."""
        request = v1.GetRecordRequest(key=key, quorum=quorum)
        return (await self._call(_GET_RECORD, request, timeout_s)).value

    async def register_many(
        self, batches: AsyncIterable[Sequence[Listing]], *, timeout_s: float | None = None
    ) -> AsyncGenerator[list[RegisterResult], None]:
        """Offers many files; yields the outcomes of each batch (1 to 2,000 files, best 1,000) in order.

        Further batches are requested while the node works on earlier ones. `timeout_s` is for the whole
        stream.
        """

        async def requests() -> AsyncGenerator[v1.RegisterFilesRequest, None]:
            async for batch in batches:
                yield v1.RegisterFilesRequest(files=map(_request, batch))

        async with aclosing(self._exchange(_REGISTER_FILES, requests(), timeout_s)) as replies:
            async for reply in replies:
                yield [
                    RegisterResult(f.cid, f.message, f.acknowledged, f.asked, f.wanted, _named_by(f.named_by))
                    for f in reply.files
                ]

    async def withdraw(
        self, content: str, *, user_id: bytes = b"", user_name: str = "", timeout_s: float | None = None
    ) -> Withdrawn:
        """Withdraws an offer of the node; raises NotFound if there is none."""
        request = v1.WithdrawFileRequest(content=content, user_id=user_id, user_name=user_name)
        reply = await self._call(_WITHDRAW_FILE, request, timeout_s)
        named_by = _named_by(reply.named_by)
        return Withdrawn(reply.cid, reply.acknowledged, reply.asked, reply.wanted, named_by)

    async def list_offers(self, *, timeout_s: float | None = None) -> AsyncGenerator[OwnOffer, None]:
        """The node's own offers, ordered by content."""
        token = ""
        while True:
            request = v1.ListOffersRequest(page_size=PAGE, page_token=token)
            reply = await self._call(_LIST_OFFERS, request, timeout_s)
            for offer in reply.offers:
                yield OwnOffer(offer.content, _holder(offer.holder))
            token = reply.next_page_token
            if not token:
                return

    async def check(self, file_hash: str, *, timeout_s: float | None = None) -> list[Holder]:
        """The holders, through `market.Market`, which any OrcaNet server implements."""
        request = market_pb2.CheckHoldersRequest(fileHash=file_hash)
        reply = await self._call(_CHECK_HOLDERS, request, timeout_s)
        return [Holder(user.id, user.name, user.ip, user.port, user.price) for user in reply.holders]

    async def register(
        self,
        content: str,
        metadata: FileMetadata,
        *,
        user_id: bytes = b"",
        user_name: str = "",
        timeout_s: float | None = None,
    ) -> Registered:
        """Offers content under these terms; returns when a quorum has the offer."""
        request = _request(Listing(content, metadata, user_id, user_name))
        reply = await self._call(_REGISTER_FILE, request, timeout_s)
        counts = (reply.acknowledged, reply.asked, reply.wanted, reply.plain)
        return Registered(reply.cid, *counts, _named_by(reply.named_by))


def _request(listing: Listing) -> v1.RegisterFileRequest:
    metadata = listing.metadata
    return v1.RegisterFileRequest(
        content=listing.content,
        user_id=listing.user_id,
        user_name=listing.user_name,
        ip=metadata.ip,
        port=metadata.port,
        price=metadata.price_per_mb,
        size=metadata.size,
        file_name=metadata.name,
        ways=Way.numbers(metadata.ways),  # type: ignore[arg-type]  # the same numbers
        url=metadata.url,
    )


def _peers(reply: v1.ListPeersResponse) -> list[PeerEntry]:
    return [
        PeerEntry(peer.peer_id, tuple(peer.addrs), peer.agent_version, peer.connected, peer.common_prefix)
        for peer in reply.peers
    ]


def _search(search: HolderSearch) -> v1.FindHoldersRequest:
    return v1.FindHoldersRequest(content=search.content, max_price=search.max_price, limit=search.limit)


def _holder(holder: v1.Holder) -> Holder:
    return Holder(
        holder.id,
        holder.name,
        holder.ip,
        holder.port,
        holder.price,
        holder.provider,
        holder.size if holder.HasField("size") else None,
        holder.file_name if holder.HasField("file_name") else None,
        holder.not_after,
        holder.cid,
        Way.of_numbers(holder.ways),
        holder.url,
        _LIVENESS.get(holder.liveness, ""),
        holder.probe_ms,
    )


_LIVENESS = {number: name.removeprefix("LIVENESS_") for name, number in v1.Liveness.items() if number}
_NAMED_BY = {number: name for name, number in v1.NamedBy.items() if number}


def _named_by(number: int) -> str:
    """The enum's name; empty if the server is an older release that does not set it."""
    return _NAMED_BY.get(number, "")
