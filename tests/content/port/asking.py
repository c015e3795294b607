"""Asks a gateway, without any socket."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fastmarket.content.port.gateway import Gateway
from fastmarket.content.port.messages import GatewayAnswer, GatewayRequest
from fastmarket.content.port.pieces import FileSlice, Piece, read_slice
from fastmarket.formats.car import CarReader
from fastmarket.formats.cid import Cid


@dataclass(frozen=True)
class Got:
    """An answer, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes
    length: int | None


def joined(pieces: Iterable[Piece]) -> bytes:
    """The bytes of a body."""
    return b"".join(read_slice(one) if isinstance(one, FileSlice) else one for one in pieces)


def plan(
    gateway: Gateway, target: str, method: str = "GET", headers: dict[str, str] | None = None
) -> GatewayAnswer:
    """The answer, its body not begun; header names in lower case."""
    return gateway.answer(GatewayRequest(method, target, headers or {}))


def ask(gateway: Gateway, target: str, method: str = "GET", headers: dict[str, str] | None = None) -> Got:
    """The answer with its body."""
    answer = plan(gateway, target, method, headers)
    body = b"" if answer.body is None else joined(answer.body)
    if answer.body is not None and answer.length is not None:
        assert len(body) == answer.length
    return Got(answer.status, dict(answer.headers), body, answer.length)


def blocks_of(car: bytes) -> list[tuple[Cid, bytes]]:
    """The sections of a CAR, each verified."""
    return [(Cid.from_bytes(cid), block) for cid, block in CarReader().feed(car)]


def cids_of(car: bytes) -> list[str]:
    """The CIDs of its sections."""
    return [str(cid) for cid, _ in blocks_of(car)]
