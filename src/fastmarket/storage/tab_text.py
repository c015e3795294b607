"""Rows of tabs as JSON, for a column of SQLite: bytes as hexadecimal digits, rows within as lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from fastmarket.payments.rows import BuyerRow, DueRow, OwedRow, SellerRow

Row = TypeVar("Row", SellerRow, BuyerRow)


class DamagedTab(ValueError):
    """A row that no fastmarket wrote."""


def text_of(row: SellerRow | BuyerRow) -> str:
    """The JSON of a row."""
    told = {name: getattr(row, name) for name in _NAMES[type(row)]}
    for name, write in _WRITTEN[type(row)]:
        told[name] = write(told[name])
    return json.dumps(told)


def row_of(kind: type[Row], text: str) -> Row:
    """The row in it; fields with a default may be missing, as of earlier versions. Raises DamagedTab."""
    try:
        told = json.loads(text)
        given = [field for field in fields(kind) if field.name in told or field.default is MISSING]
        return kind(**{field.name: _READERS[str(field.type)](told[field.name]) for field in given})
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedTab(f"{type(error).__name__}: {error}") from None


def _exactly(kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"{value!r:.40} is no {kind.__name__}")
        return value

    return read


def _several(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    return lambda value: tuple(read(one) for one in _exactly(list)(value))


_integer = _exactly(int)


def _owed(value: Any) -> OwedRow:
    offer_hash, price, served, lost = value
    return OwedRow(bytes.fromhex(offer_hash), _integer(price), _integer(served), _integer(lost))


def _due(value: Any) -> DueRow:
    offer_hash, price, verified = value
    return DueRow(bytes.fromhex(offer_hash), _integer(price), _integer(verified))


_READERS: dict[str, Callable[[Any], Any]] = {
    "bytes": bytes.fromhex,
    "str": _exactly(str),
    "int": _integer,
    "float": float,
    "bool": _exactly(bool),
    "tuple[bytes, ...]": _several(bytes.fromhex),
    "tuple[OwedRow, ...]": _several(_owed),
    "tuple[DueRow, ...]": _several(_due),
}

_WRITERS: dict[str, Callable[[Any], Any]] = {
    "bytes": bytes.hex,
    "tuple[bytes, ...]": lambda value: [one.hex() for one in value],
    "tuple[OwedRow, ...]": lambda value: [
        [one.offer_hash.hex(), one.price, one.served, one.lost] for one in value
    ],
    "tuple[DueRow, ...]": lambda value: [[one.offer_hash.hex(), one.price, one.verified] for one in value],
}
"""Of fields that JSON does not hold as they are."""
_NAMES = {kind: tuple(field.name for field in fields(kind)) for kind in (SellerRow, BuyerRow)}
_WRITTEN = {
    kind: tuple((one.name, _WRITERS[str(one.type)]) for one in fields(kind) if str(one.type) in _WRITERS)
    for kind in (SellerRow, BuyerRow)
}
