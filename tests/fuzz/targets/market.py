"""Calls of programs: each method of both gRPC services, at a whole node, over a real connection."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from google.protobuf.message import Message

from fastmarket.formats.cid import new_cidv0
from fastmarket.pb import market_pb2
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1
from tests.fuzz import live
from tests.fuzz.target import Shape, Target

CONTENT = str(new_cidv0(b"content"))
PEER = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5"
_FILE = v1.RegisterFileRequest(
    content=CONTENT,
    user_id=b"i",
    user_name="n",
    ip="::1",
    port=3,
    price=4,
    size=5,
    file_name="f",
    ways=[1],
    url="http://a.example/x",
)
_SEARCH = v1.FindHoldersRequest(content=CONTENT, max_price=7, limit=5, live=True)
_USER = market_pb2.User(id=b"i", name="n", ip="192.0.2.4", port=5, price=6)
REQUESTS: dict[str, tuple[Message, ...]] = {
    "market.Market.RegisterFile": (market_pb2.RegisterFileRequest(user=_USER, fileHash="ab" * 32),),
    "market.Market.CheckHolders": (market_pb2.CheckHoldersRequest(fileHash=CONTENT),),
    "GetNode": (v1.GetNodeRequest(),),
    "ListPeers": (v1.ListPeersRequest(),),
    "ClosestPeers": (v1.ClosestPeersRequest(content=CONTENT),),
    "FindHolders": (_SEARCH, v1.FindHoldersRequest(content="name", order=v1.NEWEST)),
    "FindHoldersBatch": (
        v1.FindHoldersBatchRequest(id=1, search=_SEARCH),
        v1.FindHoldersBatchRequest(id=2**64 - 1, searches=[_SEARCH, _SEARCH]),
    ),
    "WatchHolders": (
        v1.WatchHoldersRequest(content=CONTENT, max_price=2, interval_s=1.0),
        v1.WatchHoldersRequest(content=CONTENT, interval_s=float("nan")),
        v1.WatchHoldersRequest(content=CONTENT, interval_s=float("inf")),
    ),
    "RegisterFile": (_FILE,),
    "RegisterFiles": (v1.RegisterFilesRequest(files=[_FILE, _FILE, v1.RegisterFileRequest()]),),
    "WithdrawFile": (v1.WithdrawFileRequest(content=CONTENT, user_id=b"i", user_name="n"),),
    "ListOffers": (v1.ListOffersRequest(page_size=2), v1.ListOffersRequest(page_token="1220ab")),
    "PutRecord": (v1.PutRecordRequest(key=b"/v/key", value=b"value", quorum=1),),
    "GetRecord": (v1.GetRecordRequest(key=b"/v/key", quorum=1),),
    "Sell": (
        v1.SellRequest(
            paths=["/nowhere", "goods"],
            price=3,
            user_id=b"i",
            user_name="n",
            profile=v1.CidProfile(name="unixfs-v1-2025", chunk_bytes=1000, max_links=3, raw_leaves=True),
            each_file=True,
        ),
        v1.SellRequest(paths=["a\udc80b".encode("utf-8", "replace").decode()], watch=True),
    ),
    "Unsell": (v1.UnsellRequest(content=CONTENT), v1.UnsellRequest(content="/nowhere")),
    "ListGoods": (v1.ListGoodsRequest(page_size=2), v1.ListGoodsRequest(page_token="7:00")),
    "Fetch": (
        v1.FetchRequest(content=CONTENT + "/a/b", max_price=1, max_cost=2, first=-3, last=9, plan_only=True),
        v1.FetchRequest(content=CONTENT, output="/nowhere/x", output_proof=b"fastmarket-part:" + bytes(16)),
    ),
    "GetLedger": (v1.GetLedgerRequest(),),
    "ListTabs": (
        v1.ListTabsRequest(side=v1.TAB_SIDE_SOLD, owing=True, page_size=2),
        v1.ListTabsRequest(page_token="1.-1.00ab.unit"),
    ),
    "GetStatement": (
        v1.GetStatementRequest(month="2026-11", page_size=2),
        v1.GetStatementRequest(month="all", page_token="0.202611.00ab.unit"),
    ),
    "ForgivePeer": (v1.ForgivePeerRequest(peer_id=PEER),),
    "BlockPeer": (v1.BlockPeerRequest(peer_id=PEER, blocked=True), v1.BlockPeerRequest(peer_id=PEER)),
}
_STREAMS = frozenset({"FindHoldersBatch", "RegisterFiles"})


def _call(method: str, data: bytes) -> object:
    """Refused by a status that names the field, or answered; that there is no such thing here, no peer and no
    holder are answers, too."""
    node = live.live()
    try:
        return node.call(method, data, streams=method in _STREAMS, most=1 if method == "WatchHolders" else 3)
    except live.Refused as refused:
        if str(refused) == "INVALID_ARGUMENT":
            raise
        return str(refused)


def still_works(data: bytes) -> None:
    """Other callers are answered."""
    node = live.live()
    node.call("GetNode", b"")
    node.call("FindHolders", v1.FindHoldersRequest(content="another").SerializeToString())
    node.check()


def _target(method: str, requests: tuple[Message, ...]) -> Target:
    words = "".join(f"-{char.lower()}" if char.isupper() else char for char in method.rpartition(".")[2])
    name = f"grpc{'-first' if '.' in method else ''}{words}"
    check: Callable[[bytes], object] = partial(_call, method)
    return Target(
        name,
        f"fastmarket.market.{'grpc_server.MarketServer' if '.' in method else 'v1_methods.V1Methods'}",
        lambda: [request.SerializeToString() for request in requests],
        check,
        (live.Refused,),
        Shape.PROTOBUF,
        after=still_works,
        reset=live.reset,
        spare_bytes=4 << 20,
    )


TARGETS: tuple[Target, ...] = tuple(_target(*row) for row in REQUESTS.items())
