"""The messages of AutoNAT v2, and their bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

from google.protobuf.message import DecodeError

from fastmarket.errors import PeerFault
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.varint import frame
from fastmarket.pb.libp2p import autonat_pb2 as pb

DIAL_REQUEST_PROTOCOL: Final = "/libp2p/autonat/2/dial-request"
DIAL_BACK_PROTOCOL: Final = "/libp2p/autonat/2/dial-back"

MAX_MESSAGE_BYTES: Final = 8192  # go-libp2p's; 50 addresses take some 2,000, a piece of dial data 4,100
MAX_DIAL_BACK_BYTES: Final = 1024  # of either message on a dial-back stream; the same source. A nonce takes 9
MAX_ADDRS: Final = 50  # looked at in one request; the same source
MAX_PIECE_BYTES: Final = 4096  # of dial data in one message (specification)
MIN_PIECE_BYTES: Final = 100  # smaller pieces cost more to read than to send; go-libp2p's
MIN_DATA_BYTES: Final = 30_000  # demanded before another host is dialed; a handshake takes below 10,000
MAX_DATA_BYTES: Final = 100_000  # both from the specification
_FAULT: Final = "autonat"


class ResponseStatus(IntEnum):
    """Whether the server dialed."""

    INTERNAL_ERROR = 0
    REJECTED = 100  # too many requests
    REFUSED = 101  # it dials none of these addresses
    OK = 200


class DialStatus(IntEnum):
    """The outcome of the dial."""

    UNUSED = 0
    NO_CONNECTION = 100
    NO_DIAL_BACK = 101  # connected, but the nonce could not be handed over
    OK = 200


@dataclass(frozen=True, slots=True)
class DialRequest:
    """Addresses, the most wanted first. None: one that could not be read, which keeps its place, because
    answers count by it."""

    addrs: tuple[Multiaddr | None, ...]
    nonce: int


@dataclass(frozen=True, slots=True)
class DialResponse:
    """`index` of the address that was dialed; without meaning unless `status` is OK."""

    status: ResponseStatus
    index: int = 0
    dial_status: DialStatus = DialStatus.UNUSED


@dataclass(frozen=True, slots=True)
class DataRequest:
    """The price of dialing the address at `index`."""

    index: int
    byte_count: int


@dataclass(frozen=True, slots=True)
class DataPiece:
    """A part of the price; what it consists of does not matter."""

    byte_count: int


AutonatMessage: TypeAlias = DialRequest | DialResponse | DataRequest | DataPiece


def decode(body: bytes) -> AutonatMessage:
    """A message of a dial-request stream. Raises PeerFault."""
    message = pb.Message()
    try:
        message.ParseFromString(body)
    except DecodeError as error:
        raise PeerFault("malformed message", protocol=_FAULT) from error
    kind = message.WhichOneof("msg")
    if kind == "dialRequest":
        request = message.dialRequest
        return DialRequest(tuple(map(_addr, request.addrs[:MAX_ADDRS])), request.nonce)
    if kind == "dialResponse":
        return _response(message.dialResponse)
    if kind == "dialDataRequest":
        asked = message.dialDataRequest
        return DataRequest(asked.addrIdx, asked.numBytes)
    if kind == "dialDataResponse":
        return DataPiece(len(message.dialDataResponse.data))
    raise PeerFault("unknown message", protocol=_FAULT)


def request_frame(addrs: Sequence[Multiaddr], nonce: int) -> bytes:
    request = pb.DialRequest(addrs=[addr.raw for addr in addrs], nonce=nonce)
    return frame(pb.Message(dialRequest=request).SerializeToString())


def response_frame(response: DialResponse) -> bytes:
    message = pb.DialResponse(status=response.status, addrIdx=response.index, dialStatus=response.dial_status)
    return frame(pb.Message(dialResponse=message).SerializeToString())


def data_request_frame(asked: DataRequest) -> bytes:
    message = pb.DialDataRequest(addrIdx=asked.index, numBytes=asked.byte_count)
    return frame(pb.Message(dialDataRequest=message).SerializeToString())


def data_frame(byte_count: int) -> bytes:
    """A piece of dial data: zeros, since nobody looks at them."""
    message = pb.DialDataResponse(data=bytes(byte_count))
    return frame(pb.Message(dialDataResponse=message).SerializeToString())


def dial_back_frame(nonce: int) -> bytes:
    return frame(pb.DialBack(nonce=nonce).SerializeToString())


def dial_back_answer_frame() -> bytes:
    """The only answer there is: ok."""
    return frame(pb.DialBackResponse().SerializeToString())


def decode_dial_back(body: bytes) -> int:
    """The nonce. Raises PeerFault."""
    message = pb.DialBack()
    try:
        message.ParseFromString(body)
    except DecodeError as error:
        raise PeerFault("malformed dial-back", protocol=_FAULT) from error
    return message.nonce


def _addr(raw: bytes) -> Multiaddr | None:
    try:
        return Multiaddr.from_bytes(raw)
    except PeerFault:
        return None


def _response(message: pb.DialResponse) -> DialResponse:
    try:
        return DialResponse(ResponseStatus(message.status), message.addrIdx, DialStatus(message.dialStatus))
    except ValueError:
        raise PeerFault("unknown status", protocol=_FAULT) from None
