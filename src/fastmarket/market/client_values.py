"""What the client gives and takes: plain values, no messages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastmarket.offers.model.metadata import FileMetadata


@dataclass(frozen=True, slots=True)
class ClientTls:
    """TLS to a server whose certificate `ca` signed (PEM file; None: the authorities gRPC brings along).

    `cert` and `key`: our own, for a server that asks for one. `name`: what the server's certificate is made
    out to, where that is not the host that is called.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Holder:
    """Who serves a content; `market.Market` tells no field from `provider` on. `cid`: as it was registered,
    empty where the holder told none."""

    id: bytes
    name: str
    ip: str
    port: int
    price: int
    provider: str = ""
    size: int | None = None
    file_name: str | None = None
    not_after: int | None = None
    cid: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """One message of a search: `provisional` holders just found, or, at its end, all of them.

    `named_by`: "CID", "SHA256" or "TEXT_HASH", how the search named the content. `providers_without_price`:
    where nobody offers it, others that provide it.
    """

    holders: tuple[Holder, ...]
    provisional: bool
    cid: str = ""
    named_by: str = ""
    providers_without_price: int = 0


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
    troubles: tuple[str, ...] = ()


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
    """How a registration met its quorum; `named_by` as in `Found`."""

    cid: str
    acknowledged: int
    asked: int
    wanted: int
    plain: int
    named_by: str = ""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """How a withdrawal met its quorum; `cid` as it was registered, `named_by` as in `Found`."""

    cid: str
    acknowledged: int
    asked: int
    wanted: int
    named_by: str = ""


@dataclass(frozen=True, slots=True)
class OwnOffer:
    """An offer of the node: `content` is the CID it was registered by, or else the CIDv1 of codec raw."""

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
class RegisterResult:
    """How it went with one of many; `message` is empty when a quorum has the offer."""

    cid: str
    message: str
    acknowledged: int
    asked: int
    wanted: int
    named_by: str = ""


@dataclass(frozen=True, slots=True)
class HolderSearch:
    """One search of `find_many`: no dearer holders than `max_price`, at most `limit` (0: all)."""

    content: str
    max_price: int | None = None
    limit: int = 0


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What came of `search`: `holders` cheapest first, or `message` telling why there is no answer."""

    search: HolderSearch
    holders: tuple[Holder, ...]
    message: str = ""
    named_by: str = ""


@dataclass(frozen=True, slots=True)
class HolderChange:
    """What a watch saw: `present` new or changed holders, `gone` ones that are there no more.

    `gap`: the node was away since the last change; what came and went meanwhile is not known.
    """

    present: tuple[Holder, ...]
    gone: tuple[Holder, ...]
    gap: bool = False


@dataclass(frozen=True, slots=True)
class RecordPut:
    """How a put met its quorum."""

    acknowledged: int
    asked: int
    wanted: int
