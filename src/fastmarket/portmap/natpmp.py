"""NAT-PMP (RFC 6886): requests of 2 or 12 bytes over UDP to port 5351 of the router, and its answers."""

from __future__ import annotations

from ipaddress import IPv4Address
from struct import Struct

from fastmarket.errors import PeerFault
from fastmarket.portmap.messages import MapAnswer, MapRefusal, MapRequest, RequestKind

VERSION = 0
_ADDRESS, _MAP_TCP = 0, 2  # opcodes (sections 3.2, 3.3)
_ANSWER = 128  # added to the opcode
_MAP_REQUEST = Struct("!BBxxHHI")
_HEAD = Struct("!BBHI")  # version, opcode, result code, seconds since the epoch
_MAP_TAIL = Struct("!HHI")  # internal port, external port, lifetime

# Section 3.5.
_REFUSALS = {
    1: MapRefusal.UNSUPPORTED,
    2: MapRefusal.NOT_AUTHORIZED,
    3: MapRefusal.NO_NETWORK,
    4: MapRefusal.NO_ROOM,
    5: MapRefusal.UNSUPPORTED,
}


def encode_request(request: MapRequest) -> bytes:
    """The datagram. A mapping ends by one of lifetime 0 without an external port (section 3.4)."""
    if request.kind is RequestKind.PROBE:
        return bytes((VERSION, _ADDRESS))
    ends = request.kind is RequestKind.UNMAP
    external, lifetime = (0, 0) if ends else (request.external_port, request.lifetime_s)
    return _MAP_REQUEST.pack(VERSION, _MAP_TCP, request.internal_port, external, lifetime)


def decode_answer(data: bytes) -> MapAnswer:
    """Raises PeerFault for anything but an answer of this version to one of our requests."""
    if len(data) < _HEAD.size:
        raise PeerFault("an answer is too short", protocol="nat-pmp")
    version, opcode, code, epoch = _HEAD.unpack_from(data)
    if version != VERSION or opcode not in (_ANSWER + _ADDRESS, _ANSWER + _MAP_TCP):
        raise PeerFault("not an answer to a request of ours", protocol="nat-pmp")
    kind = RequestKind.PROBE if opcode == _ANSWER + _ADDRESS else RequestKind.MAP
    if code:  # some routers then send the head alone
        return MapAnswer(kind, _REFUSALS.get(code, MapRefusal.FAILED), epoch)
    body = data[_HEAD.size :]
    if kind is RequestKind.PROBE:
        if len(body) != 4:
            raise PeerFault("an address answer has another length", protocol="nat-pmp")
        return MapAnswer(kind, epoch_s=epoch, external_ip=IPv4Address(body))
    if len(body) != _MAP_TAIL.size:
        raise PeerFault("a mapping answer has another length", protocol="nat-pmp")
    internal, external, lifetime = _MAP_TAIL.unpack(body)
    kind = RequestKind.MAP if lifetime else RequestKind.UNMAP
    return MapAnswer(kind, None, epoch, None, internal, external, lifetime)
