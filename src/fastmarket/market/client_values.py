"""Plain values the client takes and returns, in place of protobuf messages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastmarket.offers.model.metadata import FileMetadata


@dataclass(frozen=True, slots=True)
class ClientTls:
    """TLS to a server whose certificate is signed by `ca` (PEM file; None: the roots that come with gRPC).

    `cert` and `key`: a client certificate, if the server requires one. `name`: the name in the server's
    certificate, if it is not the host to connect to.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Holder:
    """A holder of content; `market.Market` leaves the fields from `provider` on unset.

    `cid`: as registered, or empty if the holder did not give one. `ways`: bits of `Way`, how it can be
    fetched as the holder says; `url`: where HTTP begins, if that is not the root of `ip` and `port`. With a
    live search, `liveness` is "LIVE", "MISSING" or "SILENT", and `probe_ms` how long the answer took.
    """

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
    ways: int = 0
    url: str = ""
    liveness: str = ""
    probe_ms: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """One message of a search: `provisional` holders just found, or at its end all of them.

    `named_by`: "CID", "SHA256" or "TEXT_HASH", the way the search named the content.
    `providers_without_price`: if there are no offers, the number of providers without one.
    """

    holders: tuple[Holder, ...]
    provisional: bool
    cid: str = ""
    named_by: str = ""
    providers_without_price: int = 0


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """The server's node (proto/fastmarket/v1/market.proto, Node)."""

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
    """A peer known to the node; `common_prefix` in bits."""

    peer_id: str
    addrs: tuple[str, ...]
    agent_version: str
    connected: bool
    common_prefix: int


@dataclass(frozen=True, slots=True)
class Registered:
    """The quorum counts of a registration; `named_by` as in `Found`."""

    cid: str
    acknowledged: int
    asked: int
    wanted: int
    plain: int
    named_by: str = ""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The quorum counts of a withdrawal; `cid` as registered, `named_by` as in `Found`."""

    cid: str
    acknowledged: int
    asked: int
    wanted: int
    named_by: str = ""


@dataclass(frozen=True, slots=True)
class OwnOffer:
    """An offer of the node: `content` is the CID it was registered under, or else the CIDv1 of codec raw."""

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
    """The outcome of one registration of many; `message` is empty if a quorum has the offer."""

    cid: str
    message: str
    acknowledged: int
    asked: int
    wanted: int
    named_by: str = ""


@dataclass(frozen=True, slots=True)
class HolderSearch:
    """One search of `find_many`: holders up to `max_price`, at most `limit` of them (0: all)."""

    content: str
    max_price: int | None = None
    limit: int = 0


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The result of `search`: `holders`, cheapest first, or a `message` saying why there is no answer."""

    search: HolderSearch
    holders: tuple[Holder, ...]
    message: str = ""
    named_by: str = ""


@dataclass(frozen=True, slots=True)
class HolderChange:
    """A change seen by a watch: `present` holders are new or changed, `gone` ones have disappeared.

    `gap`: the node was unreachable since the last change; holders may have come and gone unseen.
    """

    present: tuple[Holder, ...]
    gone: tuple[Holder, ...]
    gap: bool = False


@dataclass(frozen=True, slots=True)
class RecordPut:
    """The quorum counts of a put."""

    acknowledged: int
    asked: int
    wanted: int
