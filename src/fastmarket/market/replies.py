"""Converts our values to messages of the two services."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TypeVar

from google.protobuf.message import Message

from fastmarket.errors import CallerFault, QuorumFailed
from fastmarket.formats.cid import Named, NamedBy, cid_text
from fastmarket.formats.identity import PeerId
from fastmarket.formats.varint import encode_uvarint
from fastmarket.kad.outcome import Outcome
from fastmarket.market.grpc_errors import status_of
from fastmarket.offers.model.metadata import Way
from fastmarket.offers.model.offer import Offer
from fastmarket.offers.model.results import NodeView, PeerView
from fastmarket.pb import market_pb2
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1

M = TypeVar("M", bound=Message)

ENTRY_OVERHEAD_BYTES = 4  # tag and length of one entry of a repeated field


def user_of(offer: Offer) -> market_pb2.User:
    """The holder as `market.Market` knows it: the user that registered, not the node that stored."""
    return market_pb2.User(
        id=offer.user_id, name=offer.user_name, ip=offer.ip, port=offer.port, price=offer.price_per_mb
    )


def holder_of(offer: Offer) -> v1.Holder:
    """Everything an offer says."""
    return v1.Holder(
        id=offer.user_id,
        name=offer.user_name,
        ip=offer.ip,
        port=offer.port,
        price=offer.price_per_mb,
        provider=str(offer.provider),
        size=offer.metadata.size,
        file_name=offer.metadata.name,
        not_after=offer.not_after,
        cid=offer.cid,
        ways=Way.numbers(offer.metadata.ways) if offer.metadata.ways else (),  # type: ignore[arg-type]  # the same
        url=offer.metadata.url,
    )


def fitting(entries: Iterable[M], max_bytes: int) -> list[M]:
    """The first entries of a repeated field that together fit into `max_bytes`."""
    taken: list[M] = []
    size = 0
    for entry in entries:
        size += entry.ByteSize() + ENTRY_OVERHEAD_BYTES
        if size > max_bytes:
            break
        taken.append(entry)
    return taken


def node_of(peer_id: PeerId, view: NodeView) -> v1.Node:
    """This node as a message."""
    return v1.Node(
        peer_id=str(peer_id),
        listen=[str(addr) for addr in view.listen],
        agent_version=view.agent_version,
        peers=view.peers,
        connections=view.connections,
        offers=view.offers,
        own_offers=view.own_offers,
        mode=view.mode,
        troubles=view.troubles,
    )


def peer_of(view: PeerView) -> v1.Peer:
    """A peer as a message."""
    return v1.Peer(
        peer_id=str(view.peer.peer_id),
        addrs=[str(addr) for addr in view.peer.addrs],
        agent_version=view.agent_version,
        connected=view.connected,
        common_prefix=view.common_prefix,
    )


def registered_of(content: Named, outcome: Outcome) -> v1.RegisterFileResponse:
    """The outcome of a registration."""
    return v1.RegisterFileResponse(
        cid=content.cid,
        named_by=content.by,  # type: ignore[arg-type]  # the numbers are the same
        acknowledged=outcome.acknowledged,
        asked=outcome.asked,
        wanted=outcome.wanted,
        plain=outcome.plain,
    )


# Answers for many files are joined from encoded fields, RegisterFilesResponse.files: for a hundred thousand,
# one message object each would cost more than registering. Tags of RegisteredFile, field number << 3 | wire
# type.
_FILES_TAG = b"\x0a"
_CID_TAG = b"\x1a"
_NAMED_BY = {by: v1.RegisteredFile(named_by=by.name).SerializeToString() for by in NamedBy}


def registered_file(content: Named, outcome: Outcome) -> bytes:
    """The outcome of one registration of many, as a field of RegisterFilesResponse."""
    cid = content.cid.encode()
    head, tail = _of_outcome(outcome, outcome.why)
    by = _NAMED_BY[content.by]
    cid_size = encode_uvarint(len(cid))
    size = len(head) + 1 + len(cid_size) + len(cid) + len(tail) + len(by)
    return b"%b%b%b%b%b%b%b%b" % (_FILES_TAG, encode_uvarint(size), head, _CID_TAG, cid_size, cid, tail, by)


@lru_cache(maxsize=1024)
def _of_outcome(outcome: Outcome, why: str) -> tuple[bytes, bytes]:
    """The fields of a RegisteredFile before and after its CID. A hundred thousand files have a dozen of
    these. `why` is a parameter of its own because outcomes compare equal without it."""
    head = v1.RegisteredFile()
    if not outcome.is_reached:
        status = status_of(QuorumFailed(outcome.acknowledged, outcome.asked, outcome.wanted, why))
        head.code, head.message = status.code.value[0], status.details
    tail = v1.RegisteredFile(acknowledged=outcome.acknowledged, asked=outcome.asked, wanted=outcome.wanted)
    return head.SerializeToString(), tail.SerializeToString()


def refused_file(fault: CallerFault) -> bytes:
    """A refused file among many, as a field of RegisterFilesResponse."""
    status = status_of(fault)
    file = v1.RegisteredFile(code=status.code.value[0], message=status.details)
    return v1.RegisterFilesResponse(files=[file]).SerializeToString()


def own_of(offer: Offer) -> v1.OwnOffer:
    """An own offer as a message."""
    return v1.OwnOffer(content=cid_text(offer.content, offer.form), holder=holder_of(offer))
