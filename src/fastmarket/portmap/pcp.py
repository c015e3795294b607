"""PCP (RFC 6887): ANNOUNCE and MAP over UDP to port 5351 of the router, and its answers."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct

from fastmarket.errors import PeerFault
from fastmarket.portmap.messages import IpAddress, MapAnswer, MapRefusal, MapRequest, RequestKind

VERSION = 2
MAX_BYTES = 1100  # of a message (section 7)
_ANNOUNCE, _MAP = 0, 1  # opcodes
_RESPONSE = 0x80  # the R bit
_TCP = 6  # protocol number of a mapping
_REQUEST_HEAD = Struct("!BBxxI16s")  # version, opcode, lifetime, the client's address
_RESPONSE_HEAD = Struct("!BBxBII12x")  # version, opcode, result code, lifetime, epoch
_MAP_BODY = Struct("!12sBxxxHH16s")  # nonce, protocol, internal port, external port, external address

# Section 7.4. What fails in our request itself does so each time: the next protocol may do better.
_REFUSALS = {
    1: MapRefusal.UNSUPPORTED,
    2: MapRefusal.NOT_AUTHORIZED,
    4: MapRefusal.UNSUPPORTED,
    7: MapRefusal.NO_NETWORK,
    8: MapRefusal.NO_ROOM,
    9: MapRefusal.UNSUPPORTED,
    10: MapRefusal.NO_ROOM,
    11: MapRefusal.CONFLICT,
    12: MapRefusal.MISMATCH,
}


def encode_request(request: MapRequest, client: IpAddress) -> bytes:
    """The datagram; `client` is our address as the router sees it. A mapping ends by one of lifetime 0
    (section 15)."""
    if request.kind is RequestKind.PROBE:
        return _REQUEST_HEAD.pack(VERSION, _ANNOUNCE, 0, _packed(client))
    lifetime = 0 if request.kind is RequestKind.UNMAP else request.lifetime_s
    any_ip = IPv4Address(0) if client.version == 4 else IPv6Address(0)  # we prefer no outside address
    return _REQUEST_HEAD.pack(VERSION, _MAP, lifetime, _packed(client)) + _MAP_BODY.pack(
        request.nonce, _TCP, request.internal_port, request.external_port, _packed(any_ip)
    )


def decode_answer(data: bytes) -> MapAnswer:
    """Raises PeerFault for anything but an answer to one of our requests.

    A router that knows NAT-PMP alone answers with that version and "unsupported version" (section 9)."""
    if len(data) >= 4 and data[0] == 0 and data[1] & _RESPONSE and data[3] == 1:
        return MapAnswer(RequestKind.MAP, MapRefusal.UNSUPPORTED)
    if not _RESPONSE_HEAD.size <= len(data) <= MAX_BYTES or len(data) % 4:
        raise PeerFault("an answer has another length", protocol="pcp")
    version, opcode, code, lifetime, epoch = _RESPONSE_HEAD.unpack_from(data)
    kind = _KINDS.get(opcode)
    if kind is None:
        raise PeerFault("not an answer to a request of ours", protocol="pcp")
    if code:  # of "unsupported version", the version is the one that the router prefers
        nonce, outside = _refused(data)
        return MapAnswer(kind, _REFUSALS.get(code, MapRefusal.FAILED), epoch, outside, nonce=nonce)
    if version != VERSION:
        raise PeerFault("an answer of another version", protocol="pcp")
    if kind is RequestKind.PROBE:
        return MapAnswer(kind, epoch_s=epoch)
    if len(data) < _RESPONSE_HEAD.size + _MAP_BODY.size:
        raise PeerFault("a mapping answer is too short", protocol="pcp")
    nonce, protocol, internal, external, packed = _MAP_BODY.unpack_from(data, _RESPONSE_HEAD.size)
    if protocol != _TCP:
        raise PeerFault("a mapping that is not of TCP", protocol="pcp")
    kind = RequestKind.MAP if lifetime else RequestKind.UNMAP
    return MapAnswer(kind, None, epoch, _unpacked(packed), internal, external, lifetime, nonce)


_KINDS = {_RESPONSE | _ANNOUNCE: RequestKind.PROBE, _RESPONSE | _MAP: RequestKind.MAP}


def _refused(data: bytes) -> tuple[bytes | None, IpAddress | None]:
    """The nonce that a refusal repeats, and the router's outside address in it, if there are any: miniupnpd
    refuses with it where that is a private one."""
    if len(data) < _RESPONSE_HEAD.size + _MAP_BODY.size:
        return None, None
    nonce, _, _, _, packed = _MAP_BODY.unpack_from(data, _RESPONSE_HEAD.size)
    outside = _unpacked(packed)
    return nonce, None if outside.is_unspecified else outside


def _packed(ip: IpAddress) -> bytes:
    """Of 16 bytes: IPv4 addresses are mapped ones (section 5)."""
    return bytes(10) + b"\xff\xff" + ip.packed if ip.version == 4 else ip.packed


def _unpacked(packed: bytes) -> IpAddress:
    found = ip_address(packed)
    assert isinstance(found, IPv6Address)
    return found.ipv4_mapped or found
