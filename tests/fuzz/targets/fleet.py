"""What a shared store has under our keys, whichever program wrote it: fields of contents, marks, messages."""

from __future__ import annotations

import struct
import time

from fastmarket.config import FleetConfig, NodeConfig
from fastmarket.errors import PeerFault
from fastmarket.fleet.fields import ServerMessage, mark_row, offer_field, offer_row, read_mark
from fastmarket.fleet.offers import FleetOffers
from fastmarket.fleet.view import read_view
from fastmarket.net.dht_node import DhtNode
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import Offer, OfferTerms, Signing, sign_offers
from fastmarket.offers.wire.verifying import OfferVerifier
from fastmarket.storage.shared import SharedFields
from tests.fuzz.live import quiet, run
from tests.fuzz.target import Shape, Target, round_trips
from tests.fuzz.values import ED25519

NOW = 1_800_000_000.0
CONTENT, OTHER = (b"\x12\x20" + bytes([number]) * 32 for number in (1, 2))


def _offer(server: int, content: bytes = CONTENT, *, withdrawn: bool = False, at: float = NOW) -> Offer:
    metadata = FileMetadata("192.0.2.1", 9000, 3)
    signing = Signing(OfferTerms(content, b"ann", "ann", metadata), None, withdrawn, 3600.0)
    (made,) = sign_offers(ED25519[server], [signing], at, 0)
    return made


HONEST = _offer(3)
_FIELD, _VALUE = offer_field(HONEST), HONEST.envelope


def fields_of(data: bytes) -> dict[bytes, bytes]:
    """Pairs behind two bytes of length each; what is cut short ends there."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        name, size = struct.unpack_from(">HH", data, at)
        found[data[at + 4 : at + 4 + name]] = data[at + 4 + name : at + 4 + name + size]
        at += 4 + name + size
    return found


def packed(fields: dict[bytes, bytes]) -> bytes:
    """The inverse."""
    return b"".join(
        struct.pack(">HH", len(name), len(value)) + name + value for name, value in fields.items()
    )


def view(data: bytes) -> object:
    """Only offers that were signed for this content, each in its own field; one that is honest stays, unless
    a mark or a field of its own user says otherwise."""
    verifier = OfferVerifier(64, 64, 64)
    fields = {**fields_of(data), _FIELD: _VALUE}
    seen = read_view(CONTENT, fields, lambda signed: verifier.open(signed, NOW), NOW)
    assert HONEST in seen.offers, "an honest offer is lost"
    for offer in seen.offers:
        assert offer.content == CONTENT
        assert fields[offer_field(offer)] == offer.envelope or offer in (HONEST,)
    assert set(seen.over) <= set(fields)
    if not any(field.startswith((b"o", b"m")) and field != _FIELD for field in fields):
        assert seen.live(NOW + 1) == [HONEST]
    return len(seen.offers)


class Rows:
    """A shared store that has these fields, and forgets what it is told to."""

    def __init__(self, fields: dict[bytes, bytes]) -> None:
        self._fields = fields

    async def get(self, content: bytes, timeout_s: float | None = None) -> SharedFields:
        return SharedFields(dict(self._fields), 3)

    async def drop(self, content: bytes, fields: list[bytes]) -> None:
        for field in fields:
            self._fields.pop(field, None)


async def _read(data: bytes) -> int:
    node = DhtNode(ED25519[4], NodeConfig())
    rows = Rows({**fields_of(data), _LIVE_FIELD: _LIVE.envelope})
    offers = FleetOffers(node, rows, FleetConfig())  # type: ignore[arg-type]
    try:
        view = await offers.read(CONTENT)
        await offers.stop(1.0)
        assert _LIVE in view.offers, "an honest offer is lost"
        assert all(offer.content == CONTENT for offer in view.offers)
        return len(view.offers)
    finally:
        await node.close()


def store_rows(data: bytes) -> object:
    """The way of a content's rows through a server, which deletes those that have expired."""
    with quiet():
        return run(_read(data))


_LIVE = _offer(3, at=time.time())
_LIVE_FIELD = offer_field(_LIVE)


def _views() -> list[bytes]:
    rows = [
        *(offer_row(one, NOW) for one in (_offer(0), _offer(1), _offer(2, withdrawn=True), _offer(0, OTHER))),
        mark_row(CONTENT, b"ann", 5, int(NOW) + 99, NOW),
        mark_row(CONTENT, b"bob", 2**63, int(NOW) - 99, NOW),
    ]
    pairs = {row.field: row.value for row in rows}
    names, values = [*pairs], [*pairs.values()]
    shifted = dict(zip(names, values[1:] + values[:1], strict=True))
    return [packed(pairs), packed(shifted), packed({b"": b"", b"x": b"y"}), b""]


def mark(data: bytes) -> object:
    user_id, seq, not_after = read_mark(data)
    row = mark_row(CONTENT, user_id, seq, not_after, NOW)
    assert read_mark(row.value) == (user_id, seq, not_after)
    assert row.value == data
    return user_id


def message(data: bytes) -> object:
    return round_trips(ServerMessage.decode(data), lambda value: ServerMessage.decode(value.encode()))


TARGETS: tuple[Target, ...] = (
    Target(
        "fleet-view",
        "fastmarket.fleet.view.ViewReader",
        _views,
        view,
        (),
        Shape.BYTES,
        spare_bytes=1 << 20,
    ),
    Target(
        "store-rows",
        "fastmarket.fleet.offers.FleetOffers.read",
        _views,
        store_rows,
        (),
        Shape.BYTES,
        spare_bytes=2 << 20,
    ),
    Target(
        "fleet-mark",
        "fastmarket.fleet.fields.read_mark",
        lambda: [mark_row(CONTENT, b"ann", 5, int(NOW) + 99, NOW).value],
        mark,
        (PeerFault,),
        Shape.BYTES,
    ),
    Target(
        "fleet-message",
        "fastmarket.fleet.fields.ServerMessage.decode",
        lambda: [ServerMessage(CONTENT, b"ann", 5).encode()],
        message,
        (PeerFault,),
        Shape.BYTES,
    ),
)
