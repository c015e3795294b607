"""What callers of the gRPC services ask for, checked; every wrong field is named as that service names it.

An empty user id is filled in: the id tells several holders behind one node apart, and clients exist that send
a name alone, or neither. The name stands in for it, and the node's own peer id where there is no name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from fastmarket.errors import Busy, CallerFault
from fastmarket.formats.cid import Named, named
from fastmarket.formats.identity import PeerId
from fastmarket.offers.model.metadata import FileMetadata, check_metadata
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
    """Within, a `CallerFault` leaves with the field's name in `names`."""
    try:
        yield
    except CallerFault as fault:
        raise _renamed(fault, names) from None


def _renamed(fault: CallerFault, names: Mapping[str, str]) -> CallerFault:
    if isinstance(fault, Busy):
        return fault
    return CallerFault(names.get(fault.field, fault.field), fault.reason)


def market_content(file_hash: str) -> bytes:
    """The multihash that a `fileHash` names. Raises `CallerFault`."""
    with fields_named(MARKET_FIELDS):
        return named(file_hash).multihash


def v1_content(content: str) -> bytes:
    """The multihash that a `content` names. Raises `CallerFault`."""
    return v1_named(content).multihash


def v1_named(content: str) -> Named:
    """What a `content` names. Raises `CallerFault`."""
    try:
        return named(content)
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
    """The terms in a request to `fastmarket.v1.Market`, of what its `content` names. Raises `CallerFault`."""
    # No context managers, and numbers as their fields let them be: this is done by the hundred thousand.
    user_name = request.user_name
    size = request.size if request.HasField("size") else None
    name = request.file_name if request.HasField("file_name") else None
    metadata = FileMetadata.checked(request.ip, request.port, request.price, size, name)
    try:
        check_metadata(metadata)
        content = content or named(request.content)
        user_id = _user_id(request.user_id, user_name, node)
        return OfferTerms(content.multihash, user_id, user_name, metadata, content.form)
    except CallerFault as fault:
        raise _renamed(fault, V1_FIELDS) from None


def v1_user_id(request: v1.WithdrawFileRequest, node: PeerId) -> bytes:
    """The user id an offer was registered under."""
    return _user_id(request.user_id, request.user_name, node)


def _user_id(user_id: bytes, name: str, node: PeerId) -> bytes:
    return user_id or name.encode() or str(node).encode()
