"""Answers of a router, or of whoever writes in its name on the home network."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from fastmarket.config import PortMapConfig
from fastmarket.errors import PeerFault
from fastmarket.portmap import natpmp, pcp
from fastmarket.portmap.mapper import PortMapper
from fastmarket.portmap.messages import MapAnswer, MapProtocol, MapRequest, RequestKind
from tests.fuzz.target import Shape, Target
from tests.unit.portmap.router import CLIENT, START, Router

KINDS = (RequestKind.PROBE, RequestKind.MAP, RequestKind.UNMAP)


def _answers(protocol: MapProtocol, encode: Callable[[MapRequest], bytes]) -> list[bytes]:
    requests = [encode(MapRequest(kind, 4001, 4001, 3600)) for kind in KINDS]
    routers = Router(frozenset({protocol})), Router(frozenset({protocol}), code=2)
    found = [router.answer(request, START) for router in routers for request in requests]
    return [answer for answer in found if answer is not None]


def natpmp_seeds() -> list[bytes]:
    return _answers(MapProtocol.NAT_PMP, natpmp.encode_request)


def pcp_seeds() -> list[bytes]:
    return _answers(MapProtocol.PCP, lambda request: pcp.encode_request(request, CLIENT))


def bounded(answer: MapAnswer) -> MapAnswer:
    """What was accepted fits its fields."""
    assert 0 <= answer.external_port < 1 << 16
    assert 0 <= answer.lifetime_s < 1 << 32
    return answer


def mapper(data: bytes) -> object:
    """A mapper that waits for an answer gets this one in its place; it always wants to be called again."""
    protocol = MapProtocol.NAT_PMP if data[:1] == b"\0" else MapProtocol.PCP
    made = PortMapper(PortMapConfig(), CLIENT, Random(1).randbytes, (protocol,))
    made.set_ports((4001,), START)
    made.handle_timer(START)
    made.handle_datagram(data, START)
    for turn in range(4):
        made.handle_timer(START + turn)
    assert len(made.poll_actions()) < 8
    assert made.next_timer() < START + 7200
    return made.status


TARGETS: tuple[Target, ...] = (
    Target(
        "natpmp-answer",
        "fastmarket.portmap.natpmp.decode_answer",
        natpmp_seeds,
        lambda data: bounded(natpmp.decode_answer(data)),
        (PeerFault,),
        Shape.BYTES,
        quick=natpmp.decode_answer,
    ),
    Target(
        "pcp-answer",
        "fastmarket.portmap.pcp.decode_answer",
        pcp_seeds,
        lambda data: bounded(pcp.decode_answer(data)),
        (PeerFault,),
        Shape.BYTES,
        quick=pcp.decode_answer,
    ),
    Target(
        "port-mapper",
        "fastmarket.portmap.mapper.PortMapper.handle_datagram",
        lambda: [*natpmp_seeds(), *pcp_seeds()],
        mapper,
        (),
        Shape.BYTES,
    ),
)
