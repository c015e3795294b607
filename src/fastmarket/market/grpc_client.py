"""A typed client of a node's gRPC services."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

import grpc.aio
from google.protobuf.message import Message

from fastmarket.market.grpc_errors import ServerUnavailable, error_of
from fastmarket.offers.metadata import FileMetadata
from fastmarket.pb import market_pb2
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1

__all__ = [
    "Found",
    "Holder",
    "Listing",
    "MarketClient",
    "NodeInfo",
    "Outcome",
    "OwnOffer",
    "PeerEntry",
    "Registered",
    "ServerUnavailable",
    "Withdrawn",
]

Reply = TypeVar("Reply", bound=Message)

PAGE = 1000  # offers asked for at a time
DEFAULT_TIMEOUT_S = 15.0  # longer than the server waits for a quorum
MAX_RESPONSE_BYTES = 16 * 1024 * 1024  # of a server that cuts its lists later than ours does
_CHANNEL_OPTIONS = (
    # The node is on this machine or was named on purpose: no proxy in between.
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
    # A server that restarts is found again at the next command, not after gRPC's minute.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)


@dataclass(frozen=True, slots=True)
class _Method(Generic[Reply]):
    """A unary method by its path, and what it answers."""

    path: str
    reply: type[Reply]


_CHECK_HOLDERS = _Method("/market.Market/CheckHolders", market_pb2.HoldersResponse)
_GET_NODE = _Method("/fastmarket.v1.Market/GetNode", v1.Node)
_LIST_PEERS = _Method("/fastmarket.v1.Market/ListPeers", v1.ListPeersResponse)
_CLOSEST_PEERS = _Method("/fastmarket.v1.Market/ClosestPeers", v1.ListPeersResponse)
_FIND_HOLDERS = _Method("/fastmarket.v1.Market/FindHolders", v1.FindHoldersResponse)
_REGISTER_FILES = _Method("/fastmarket.v1.Market/RegisterFiles", v1.RegisterFilesResponse)
_WITHDRAW_FILE = _Method("/fastmarket.v1.Market/WithdrawFile", v1.WithdrawFileResponse)
_LIST_OFFERS = _Method("/fastmarket.v1.Market/ListOffers", v1.ListOffersResponse)
_REGISTER_FILE = _Method("/fastmarket.v1.Market/RegisterFile", v1.RegisterFileResponse)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who serves a content; `provider`, `size`, `file_name` and `not_after` only `find_holders` tells."""

    id: bytes
    name: str
    ip: str
    port: int
    price: int
    provider: str = ""
    size: int | None = None
    file_name: str | None = None
    not_after: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """One message of a search: `provisional` holders just found, or, at its end, all of them."""

    holders: tuple[Holder, ...]
    provisional: bool


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """The node behind the server (proto/fastmarket/v1/market.proto, Node)."""

    peer_id: str
    listen: tuple[str, ...]
    agent_version: str
    peers: int
    connections: int
    offers: int
    own_offers: int
    mode: str


@dataclass(frozen=True, slots=True)
class PeerEntry:
    """A peer the node knows; `common_prefix` in bits."""

    peer_id: str
    addrs: tuple[str, ...]
    agent_version: str
    connected: bool
    common_prefix: int


@dataclass(frozen=True, slots=True)
class Registered:
    """How a registration met its quorum; `cid` empty where the content has no CIDv0."""

    cid: str
    acknowledged: int
    asked: int
    wanted: int
    plain: int


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """How a withdrawal met its quorum; `cid` empty where the content has no CIDv0."""

    cid: str
    acknowledged: int
    asked: int
    wanted: int


@dataclass(frozen=True, slots=True)
class OwnOffer:
    """An offer of the node: `content` as a CIDv0, else its multihash in hex."""

    content: str
    holder: Holder


@dataclass(frozen=True, slots=True)
class Listing:
    """One file for `register_many`."""

    content: str
    metadata: FileMetadata
    user_id: bytes = b""
    user_name: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went with one of many; `message` is empty when a quorum has the offer."""

    cid: str
    message: str
    acknowledged: int
    asked: int
    wanted: int


class MarketClient:
    """Calls the node at `target`, "host:port". To be used in one event loop, and closed.

    Every method raises: `CallerFault` with the field the server names, `Busy`, `QuorumFailed`,
    `ServerUnavailable`, `RequestTimeout`, another `NetworkFault`, `NodeFault` for a fault of the server.
    """

    def __init__(self, target: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self.target = target
        self._timeout_s = timeout_s
        self._channel = grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection."""
        await self._channel.close()

    async def get_node(self, *, timeout_s: float | None = None) -> NodeInfo:
        """The node itself."""
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
        )

    async def list_peers(self, *, timeout_s: float | None = None) -> list[PeerEntry]:
        """The routing table, nearest first."""
        return _peers(await self._call(_LIST_PEERS, v1.ListPeersRequest(), timeout_s))

    async def closest_peers(self, content: str, *, timeout_s: float | None = None) -> list[PeerEntry]:
        """The nodes closest to a content, found by a lookup."""
        request = v1.ClosestPeersRequest(content=content)
        return _peers(await self._call(_CLOSEST_PEERS, request, timeout_s))

    async def find_holders(
        self,
        content: str,
        *,
        max_price: int | None = None,
        limit: int = 0,
        timeout_s: float | None = None,
    ) -> list[Holder]:
        """Who serves a content, cheapest first; none: an empty list."""
        holders: list[Holder] = []
        async for found in self.stream_holders(
            content, max_price=max_price, limit=limit, timeout_s=timeout_s
        ):
            if not found.provisional:
                holders = list(found.holders)
        return holders

    async def stream_holders(
        self,
        content: str,
        *,
        max_price: int | None = None,
        limit: int = 0,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[Found, None]:
        """Each holder as it is found, provisionally; at the end all of them, cheapest first.

        Closing the generator ends the search on the node, too.
        """
        request = v1.FindHoldersRequest(content=content, max_price=max_price, limit=limit)
        call = self._channel.unary_stream(
            _FIND_HOLDERS.path,
            request_serializer=v1.FindHoldersRequest.SerializeToString,
            response_deserializer=_FIND_HOLDERS.reply.FromString,
        )(request, timeout=self._timeout_s if timeout_s is None else timeout_s)
        try:
            async for reply in call:
                yield Found(tuple(map(_holder, reply.holders)), reply.provisional)
        except grpc.aio.AioRpcError as error:
            raise error_of(error, self.target) from None
        finally:
            call.cancel()

    async def register_many(
        self, batches: AsyncIterable[Sequence[Listing]], *, timeout_s: float | None = None
    ) -> AsyncGenerator[list[Outcome], None]:
        """Offers many files; for each batch (1 to 2,000 files, 1,000 are best) how it went, in order.

        The next batch is asked for while the node works on the one before. `timeout_s` is for all of it.
        """

        async def requests() -> AsyncGenerator[v1.RegisterFilesRequest, None]:
            async for batch in batches:
                yield v1.RegisterFilesRequest(files=map(_request, batch))

        call = self._channel.stream_stream(
            _REGISTER_FILES.path,
            request_serializer=v1.RegisterFilesRequest.SerializeToString,
            response_deserializer=_REGISTER_FILES.reply.FromString,
        )(requests(), timeout=timeout_s)
        try:
            async for reply in call:
                yield [Outcome(f.cid, f.message, f.acknowledged, f.asked, f.wanted) for f in reply.files]
        except grpc.aio.AioRpcError as error:
            raise error_of(error, self.target) from None
        finally:
            call.cancel()

    async def withdraw(
        self, content: str, *, user_id: bytes = b"", user_name: str = "", timeout_s: float | None = None
    ) -> Withdrawn:
        """Takes an offer of the node back; NotFound when it has none."""
        request = v1.WithdrawFileRequest(content=content, user_id=user_id, user_name=user_name)
        reply = await self._call(_WITHDRAW_FILE, request, timeout_s)
        return Withdrawn(reply.cid, reply.acknowledged, reply.asked, reply.wanted)

    async def list_offers(self, *, timeout_s: float | None = None) -> AsyncGenerator[OwnOffer, None]:
        """The node's own offers, in the order of their contents."""
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
        """The same by `market.Market`, which any OrcaNet server of that service answers."""
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
        """Offers a content under these terms; returns when a quorum has the offer."""
        request = _request(Listing(content, metadata, user_id, user_name))
        reply = await self._call(_REGISTER_FILE, request, timeout_s)
        return Registered(reply.cid, reply.acknowledged, reply.asked, reply.wanted, reply.plain)

    async def _call(self, method: _Method[Reply], request: Message, timeout_s: float | None) -> Reply:
        call = self._channel.unary_unary(
            method.path,
            request_serializer=type(request).SerializeToString,
            response_deserializer=method.reply.FromString,
        )
        try:
            return await call(request, timeout=self._timeout_s if timeout_s is None else timeout_s)
        except grpc.aio.AioRpcError as error:
            raise error_of(error, self.target) from None


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
    )


def _peers(reply: v1.ListPeersResponse) -> list[PeerEntry]:
    return [
        PeerEntry(peer.peer_id, tuple(peer.addrs), peer.agent_version, peer.connected, peer.common_prefix)
        for peer in reply.peers
    ]


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
    )
