"""Which form of a content a request asks for: by `?format=`, or else by Accept (IPIP-0523)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from fastmarket.content.port.messages import RequestRefused

MAX_MEDIA_TYPES = 32  # of an Accept header that are looked at; browsers send eight


class AnswerForm(Enum):
    """The forms that are served."""

    RAW = "raw"  # one block
    CAR = "car"  # the blocks of a DAG
    FILE = "file"  # the bytes of a file, for people


RAW_TYPE = "application/vnd.ipld.raw"
CAR_TYPE = "application/vnd.ipld.car"

_BY_TYPE = {RAW_TYPE: AnswerForm.RAW, CAR_TYPE: AnswerForm.CAR}
_BY_NAME = {"raw": AnswerForm.RAW, "car": AnswerForm.CAR}
# Forms of other gateways. Who accepts nothing else is told that it is not to be had here.
_NOT_SERVED = frozenset(
    {
        "application/vnd.ipfs.ipns-record",
        "application/vnd.ipld.dag-json",
        "application/vnd.ipld.dag-cbor",
        "application/x-tar",
    }
)
_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class WantedForm:
    """`parameters`: those of the media type in Accept, as `order` of a CAR."""

    form: AnswerForm
    parameters: Mapping[str, str]


_FILE = WantedForm(AnswerForm.FILE, _NOTHING)
_RAW = WantedForm(AnswerForm.RAW, _NOTHING)


def wanted_form(query: Mapping[str, str], accept: str | None) -> WantedForm:
    """The form asked for; without any hint the file itself. Raises RequestRefused(406)."""
    name = query.get("format")
    if name is None:
        if accept is None or accept == "*/*":
            return _FILE
        return _RAW if accept == RAW_TYPE else _accepted(accept)
    form = _BY_NAME.get(name)
    if form is None:
        raise RequestRefused(406, "this port serves the formats raw and car")
    if form is AnswerForm.RAW or accept is None:
        return WantedForm(form, _NOTHING)
    # The format is the query's; Accept may still say how.
    parameters = [some for media_type, some, _ in _media_types(accept) if _BY_TYPE.get(media_type) is form]
    return WantedForm(form, parameters[0] if parameters else _NOTHING)


def _accepted(accept: str) -> WantedForm:
    best: tuple[float, WantedForm] | None = None
    others = refused = False
    for media_type, parameters, quality in _media_types(accept):
        form = _BY_TYPE.get(media_type)
        if form is None:
            refused = refused or media_type in _NOT_SERVED
            others = others or media_type not in _NOT_SERVED
        elif quality and (best is None or quality > best[0]):
            best = quality, WantedForm(form, parameters)
    if best is not None:
        return best[1]
    if refused and not others:
        raise RequestRefused(406, "this port serves raw blocks, CARs and files")
    return _FILE


def _media_types(accept: str) -> list[tuple[str, dict[str, str], float]]:
    """Each type with its parameters and its quality; what is malformed counts as the best."""
    found = []
    for part in accept.split(",", MAX_MEDIA_TYPES)[:MAX_MEDIA_TYPES]:
        media_type, *fields = part.split(";")
        parameters = {}
        for one in fields:
            name, _, value = one.partition("=")
            parameters[name.strip().lower()] = value.strip().strip('"')
        found.append((media_type.strip().lower(), parameters, _quality(parameters.pop("q", "1"))))
    return found


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 1.0
