"""Bytes as in the RFCs, and as a router sends them (miniupnpd 2.3.1)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from fastmarket.errors import PeerFault
from fastmarket.portmap import natpmp, pcp
from fastmarket.portmap.epoch import EpochWatch
from fastmarket.portmap.messages import MapAnswer, MapRefusal, MapRequest, RequestKind

PROBE, MAP, UNMAP = RequestKind.PROBE, RequestKind.MAP, RequestKind.UNMAP
NONCE = bytes.fromhex("cbed3d5c3073a6e84f19682e")
CLIENT = ip_address("192.168.7.2")
OUTSIDE = ip_address("11.0.0.2")
PCP_MAPPED = bytes.fromhex(
    "0281000000001c200000932d000000000000000000000000cbed3d5c3073a6e84f19682e"
    "060000004203420300000000000000000000ffff0b000002"
)


@pytest.mark.parametrize(
    ("request_", "data"),
    [
        (MapRequest(PROBE), "0000"),
        (MapRequest(MAP, 16899, 16899, 7200), "000200004203420300001c20"),
        (MapRequest(UNMAP, 16899, 16899), "000200004203000000000000"),
    ],
)
def test_natpmp_requests(request_: MapRequest, data: str) -> None:
    assert natpmp.encode_request(request_).hex() == data


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        ("008000000000932d0b000002", MapAnswer(PROBE, None, 37677, OUTSIDE)),
        ("008200000000932d4203420300001c20", MapAnswer(MAP, None, 37677, None, 16899, 16899, 7200)),
        ("008200000000932d4203000000000000", MapAnswer(UNMAP, None, 37677, None, 16899)),
        ("008200020000932d4203000000000000", MapAnswer(MAP, MapRefusal.NOT_AUTHORIZED, 37677)),
        ("008000030000932d", MapAnswer(PROBE, MapRefusal.NO_NETWORK, 37677)),
        ("008200ff0000932d", MapAnswer(MAP, MapRefusal.FAILED, 37677)),
    ],
)
def test_natpmp_answers(data: str, answer: MapAnswer) -> None:
    assert natpmp.decode_answer(bytes.fromhex(data)) == answer


@pytest.mark.parametrize(
    "data", ["", "0080", "018000000000932d0b000002", "000000000000932d0b000002", "008000000000932d0b00000200"]
)
def test_what_is_no_natpmp_answer_is_refused(data: str) -> None:
    with pytest.raises(PeerFault):
        natpmp.decode_answer(bytes.fromhex(data))


def test_pcp_requests() -> None:
    head = "00000000000000000000ffffc0a80702"
    asked = MapRequest(MAP, 16899, 16899, 7200, NONCE)
    assert pcp.encode_request(asked, CLIENT).hex() == (
        f"0201000000001c20{head}cbed3d5c3073a6e84f19682e060000004203420300000000000000000000ffff00000000"
    )
    ended = pcp.encode_request(MapRequest(UNMAP, 16899, 16899, 0, NONCE), CLIENT)
    assert ended[:8].hex() == "0201000000000000"
    assert pcp.encode_request(MapRequest(PROBE), CLIENT).hex() == f"0200000000000000{head}"
    over_ipv6 = pcp.encode_request(asked, ip_address("2600::2"))
    assert over_ipv6[8:24] == ip_address("2600::2").packed
    assert over_ipv6[-16:] == bytes(16)


def test_pcp_answers() -> None:
    granted = MapAnswer(MAP, None, 37677, OUTSIDE, 16899, 16899, 7200, NONCE)
    assert pcp.decode_answer(PCP_MAPPED) == granted
    assert pcp.decode_answer(PCP_MAPPED + bytes(8)) == granted, "options are skipped"
    announced = bytes.fromhex("02800000000000000000932f000000000000000000000000")
    assert pcp.decode_answer(announced) == MapAnswer(PROBE, epoch_s=37679)
    ended = PCP_MAPPED[:4] + bytes(4) + PCP_MAPPED[8:]
    assert pcp.decode_answer(ended).kind is UNMAP


@pytest.mark.parametrize(
    ("code", "refusal"),
    [
        (1, MapRefusal.UNSUPPORTED),
        (2, MapRefusal.NOT_AUTHORIZED),
        (3, MapRefusal.FAILED),
        (7, MapRefusal.NO_NETWORK),
        (8, MapRefusal.NO_ROOM),
        (11, MapRefusal.CONFLICT),
        (12, MapRefusal.MISMATCH),
        (200, MapRefusal.FAILED),
    ],
)
def test_pcp_refusals(code: int, refusal: MapRefusal) -> None:
    data = PCP_MAPPED[:3] + bytes((code,)) + PCP_MAPPED[4:]
    assert pcp.decode_answer(data) == MapAnswer(MAP, refusal, 37677, OUTSIDE, nonce=NONCE)


def test_a_router_of_the_older_protocol_is_known_by_its_answer_to_pcp() -> None:
    answer = pcp.decode_answer(bytes.fromhex("008100010000932d"))
    assert answer == MapAnswer(MAP, MapRefusal.UNSUPPORTED)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        PCP_MAPPED[:-1],
        PCP_MAPPED[:24],
        PCP_MAPPED[:1] + b"\x01" + PCP_MAPPED[2:],
        b"\x03" + PCP_MAPPED[1:],
        PCP_MAPPED[:36] + b"\x11" + PCP_MAPPED[37:],
        PCP_MAPPED + bytes(1100),
    ],
)
def test_what_is_no_pcp_answer_is_refused(data: bytes) -> None:
    with pytest.raises(PeerFault):
        pcp.decode_answer(data)


@pytest.mark.parametrize(
    ("passed_s", "epoch_s", "restarted"),
    [
        (10, 1010, False),
        (10, 1008, False),
        (1000, 1900, False),
        (0, 1000, False),
        (10, 1001, True),
        (10, 3, True),
        (10, 1100, True),
        (-50, 1000, False),
    ],
)
def test_the_age_of_a_router(passed_s: float, epoch_s: int, restarted: bool) -> None:
    watch = EpochWatch()
    assert not watch.has_restarted(1000, 500.0)
    assert watch.has_restarted(epoch_s, 500.0 + passed_s) is restarted
