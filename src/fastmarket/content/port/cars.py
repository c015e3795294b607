"""CARs: /ipfs/CID[/path]?format=car, a DAG or a part of it as one stream."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from fastmarket.content.place import InlineBlock, Place
from fastmarket.content.port import fields
from fastmarket.content.port.asked import Asked
from fastmarket.content.port.block_names import BlockName
from fastmarket.content.port.conditions import is_known
from fastmarket.content.port.dag_nodes import DagNodes
from fastmarket.content.port.dag_walk import DagScope, DagWalk, Part, resolved_part
from fastmarket.content.port.messages import GatewayAnswer, RequestRefused
from fastmarket.content.port.negotiation import CAR_TYPE
from fastmarket.content.port.pieces import FileSlice, Pieces
from fastmarket.content.port.resolving import NOT_HERE
from fastmarket.errors import PeerFault
from fastmarket.formats.car import encode_car_header
from fastmarket.formats.varint import encode_uvarint

_ENTITY_BYTES = re.compile(r"(-?\d{1,18}):(\*|-?\d{1,18})")
_ORDERS = frozenset({"dfs", "unk"})  # what is sent is dfs either way
_DUPS = {"y": True, "n": False}


class CarForm(NamedTuple):
    """How a CAR is asked for; `entity_bytes`: first and last, from the end if negative, last None for it."""

    scope: DagScope
    duplicates: bool
    entity_bytes: tuple[int, int | None] | None

    @property
    def tag(self) -> str:
        """A part of the Etag: what else than the CID decides of the bytes."""
        dups = "y" if self.duplicates else "n"
        if self.entity_bytes is None:
            return f"{self.scope.value}.{dups}"
        first, last = self.entity_bytes
        return f"{self.scope.value}.{dups}.{first}:{'*' if last is None else last}"


def car_answer(nodes: DagNodes, asked: Asked) -> GatewayAnswer:
    """The CAR. Raises RequestRefused."""
    form = car_form(asked.target.query, asked.parameters)
    found = asked.found
    if nodes.place(found.end) is None:
        raise RequestRefused(404, NOT_HERE)
    below = "" if found.end is asked.target.root else f"{found.roots[0]}."
    etag = f'W/"{found.roots[-1]}.car.{below}{form.tag}"'
    answer = GatewayAnswer(200, [("Etag", etag), fields.IMMUTABLE])
    if is_known(asked.request.headers, etag):
        answer.status = 304
        return answer
    name = asked.target.query.get("filename") or _file_name(asked)
    answer.headers += (
        ("Content-Type", f"{CAR_TYPE}; version=1; order=dfs; dups={'y' if form.duplicates else 'n'}"),
        fields.disposition("attachment", name),
        ("Accept-Ranges", "none"),
        *fields.place_headers(asked.target, found.roots),
    )
    answer.length = None
    answer.body = _body(nodes, found.passed, found.end, form)
    return answer


def car_form(query: Mapping[str, str], parameters: Mapping[str, str]) -> CarForm:
    """Reads the parameters of the query, and of Accept where it has none. Raises RequestRefused(400)."""
    if query.get("car-version", parameters.get("version", "1")) != "1":
        raise RequestRefused(400, "only CARs of version 1 are served")
    if query.get("car-order", parameters.get("order", "dfs")) not in _ORDERS:
        raise RequestRefused(400, "the order of a CAR is dfs or unk")
    duplicates = _DUPS.get(query.get("car-dups", parameters.get("dups", "n")))
    if duplicates is None:
        raise RequestRefused(400, "dups is y or n")
    entity_bytes = _entity_bytes(query["entity-bytes"]) if "entity-bytes" in query else None
    try:
        scope = DagScope(query.get("dag-scope", "all" if entity_bytes is None else "entity"))
    except ValueError:
        raise RequestRefused(400, "dag-scope is block, entity or all") from None
    return CarForm(scope, duplicates, entity_bytes if scope is DagScope.ENTITY else None)


def _entity_bytes(text: str) -> tuple[int, int | None]:
    match = _ENTITY_BYTES.fullmatch(text)
    if match is None:
        raise RequestRefused(400, "entity-bytes is FROM:TO")
    first, last = int(match[1]), None if match[2] == "*" else int(match[2])
    if last is not None and last < first and (first < 0) is (last < 0):
        raise RequestRefused(400, "entity-bytes ends before it begins")
    return first, last


def _file_name(asked: Asked) -> str:
    last = f"_{asked.target.segments[-1]}" if asked.target.segments else ""
    return f"{asked.found.roots[0]}{last}.car"


def _body(nodes: DagNodes, passed: tuple[BlockName, ...], end: BlockName, form: CarForm) -> Pieces:
    yield encode_car_header([end.cid])
    walk = DagWalk(nodes, form.duplicates)
    for name, place in walk.passed(passed):
        yield from _section(name, place)
    part = Part(form.scope)
    if form.entity_bytes is not None:
        part = resolved_part(_file_node(nodes, end), form.scope, form.entity_bytes)
    for name, sent in walk.below(end, part):
        if sent is None:
            yield b""
        else:
            yield from _section(name, sent)


def _file_node(nodes: DagNodes, name: BlockName) -> object:
    try:
        return nodes.node(name)
    except PeerFault:
        return None


def _section(name: BlockName, place: Place) -> Pieces:
    head = encode_uvarint(len(name.cid) + place.size) + name.cid
    if isinstance(place, InlineBlock):
        yield head + place.block
        return
    yield head + place.prefix
    if place.length:
        yield FileSlice(place.file, place.offset, place.length)
    if place.suffix:
        yield place.suffix
