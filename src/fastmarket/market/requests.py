"""Checks requests to the gRPC services; faults name a wrong field as that service does.

An empty user id is filled in: the id distinguishes several holders behind one node, and some clients send
only a name, or neither. The name is used in its place, or the node's peer id if there is no name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from fastmarket.errors import Busy, CallerFault
from fastmarket.formats.cid import Named, named
from fastmarket.formats.identity import PeerId
from fastmarket.native.merkle import untracked
from fastmarket.offers.model.metadata import FileMetadata, Way, check_metadata
from fastmarket.offers.model.offer import OfferTerms
from fastmarket.pb import market_pb2
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1

# Our name of a field -> the service's.
MARKET_FIELDS = {
    "content": "fileHash",
    "user_id": "user.id",
    "user_name": "user.name",
    "ip": "user.ip",
    "port": "user.port",
    "price_per_mb": "user.price",
}
V1_FIELDS = {
    "fileHash": "content",
    "price_per_mb": "price",
    "name": "file_name",
}


@contextmanager
def fields_named(names: Mapping[str, str]) -> Iterator[None]:
    """Within the block, `CallerFault`s have their field renamed by `names`."""
    try:
        yield
    except CallerFault as fault:
        raise _renamed(fault, names) from None


def _renamed(fault: CallerFault, names: Mapping[str, str]) -> CallerFault:
    if isinstance(fault, Busy):
        return fault
    return CallerFault(names.get(fault.field, fault.field), fault.reason)


def market_content(file_hash: str) -> bytes:
    """The multihash that `fileHash` names. Raises `CallerFault`."""
    with fields_named(MARKET_FIELDS):
        return named(file_hash).multihash


def v1_content(content: str) -> bytes:
    """The multihash that `content` names. Raises `CallerFault`."""
    return v1_named(content).multihash


def v1_named(content: str) -> Named:
    """What `content` names. Raises `CallerFault`."""
    try:
        return untracked(named(content))  # of a large message, there are thousands
    except CallerFault as fault:
        raise _renamed(fault, V1_FIELDS) from None


def market_terms(request: market_pb2.RegisterFileRequest, node: PeerId) -> OfferTerms:
    """The terms in a request to `market.Market`. Raises `CallerFault`."""
    with fields_named(MARKET_FIELDS):
        content = named(request.fileHash)
    if not request.HasField("user"):
        raise CallerFault("user", "missing")
    user = request.user
    with fields_named(MARKET_FIELDS):
        metadata = FileMetadata(user.ip, user.port, user.price)
        user_id = _user_id(user.id, user.name, node)
        return OfferTerms(content.multihash, user_id, user.name, metadata, content.form)


def v1_terms(request: v1.RegisterFileRequest, node: PeerId, content: Named | None = None) -> OfferTerms:
    """The terms in a request to `fastmarket.v1.Market`, for what its `content` names. Raises
    `CallerFault`."""
    # No context managers, and no checks that the fields' types already guarantee: this runs 100,000 times.
    user_name = request.user_name
    size = request.size if request.HasField("size") else None
    name = request.file_name if request.HasField("file_name") else None
    ways = Way.of_numbers(request.ways) if request.ways else 0
    metadata = FileMetadata.checked(request.ip, request.port, request.price, size, name, ways, request.url)
    try:
        check_metadata(metadata)
        content = content or named(request.content)
        user_id = _user_id(request.user_id, user_name, node)
        return OfferTerms(content.multihash, user_id, user_name, metadata, content.form)
    except CallerFault as fault:
        raise _renamed(fault, V1_FIELDS) from None


def v1_user_id(request: v1.WithdrawFileRequest, node: PeerId) -> bytes:
    """The user id the offer was registered under."""
    return _user_id(request.user_id, request.user_name, node)


def _user_id(user_id: bytes, name: str, node: PeerId) -> bytes:
    return user_id or name.encode() or str(node).encode()
