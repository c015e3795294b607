"""Raw blocks: /ipfs/CID?format=raw."""

from __future__ import annotations

from fastmarket.content.port import fields
from fastmarket.content.port.asked import Asked
from fastmarket.content.port.cashier import Cashier
from fastmarket.content.port.conditions import Span, is_known, range_of
from fastmarket.content.port.dag_nodes import DagNodes
from fastmarket.content.port.messages import GatewayAnswer, RequestRefused
from fastmarket.content.port.negotiation import RAW_TYPE
from fastmarket.content.port.pieces import place_pieces
from fastmarket.content.port.resolving import NOT_HERE


def block_answer(nodes: DagNodes, asked: Asked, cashier: Cashier | None = None) -> GatewayAnswer:
    """One block, or a range of it, which costs as much as the block. Raises RequestRefused."""
    found, headers = asked.found, asked.request.headers
    place = nodes.place(found.end)
    if place is None:
        raise RequestRefused(404, NOT_HERE)
    text = found.roots[-1]
    etag = f'"{text}.raw"'
    answer = GatewayAnswer(200, [("Etag", etag), fields.IMMUTABLE])
    if is_known(headers, etag):
        answer.status = 304
        return answer
    size = place.size
    span = range_of(headers, etag, size)  # before it costs anything
    if cashier is not None and found.end.inline is None:
        sold = cashier.check(asked.request, found.end.multihash, place)
        answer.headers += sold.headers
        answer.charge = sold.charge
    answer.headers += (
        ("Content-Type", RAW_TYPE),
        fields.disposition("attachment", asked.target.query.get("filename") or f"{text}.bin"),
        ("Accept-Ranges", "bytes"),
        *fields.place_headers(asked.target, found.roots),
    )
    if span is None:
        span = Span(0, size)
    else:
        answer.status = 206
        answer.headers.append(("Content-Range", f"bytes {span.start}-{span.end - 1}/{size}"))
    answer.length = span.end - span.start
    answer.body = place_pieces(place, span.start, span.end)
    return answer
