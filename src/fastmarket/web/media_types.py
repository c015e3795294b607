"""The media types a client accepts (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from collections.abc import Iterable

JSON = "application/json"
NDJSON = "application/x-ndjson"
IPNS_RECORD = "application/vnd.ipfs.ipns-record"
MAX_RANGES = 64  # per header; browsers send eight


def accepted(headers: Iterable[str]) -> str | None:
    """JSON or NDJSON, or None if the client accepts neither.

    Streaming requires naming NDJSON explicitly: `*/*`, or no header, means JSON.
    """
    ranges = _ranges(headers)
    if not ranges:
        return JSON
    json, ndjson = quality(ranges, JSON), ranges.get(NDJSON, 0.0)
    if ndjson and ndjson >= json:
        return NDJSON
    return JSON if json else None


def accepts(headers: Iterable[str], media_type: str) -> bool:
    """Whether a client accepts this media type; without a header it accepts any."""
    ranges = _ranges(headers)
    return not ranges or quality(ranges, media_type) > 0


def quality(ranges: dict[str, float], media_type: str) -> float:
    """The weight from the most specific matching range; 0: not accepted."""
    for name in (media_type, media_type.partition("/")[0] + "/*", "*/*"):
        if name in ranges:
            return ranges[name]
    return 0.0


def media_type_of(header: str) -> str:
    """A Content-Type without its parameters."""
    return header.partition(";")[0].strip().lower()


def _ranges(headers: Iterable[str]) -> dict[str, float]:
    ranges: dict[str, float] = {}
    for text in ",".join(headers).split(",")[:MAX_RANGES]:
        name, *parameters = (part.strip().lower() for part in text.split(";"))
        if name:
            ranges[name] = max(_weight(parameters), ranges.get(name, 0.0))
    return ranges


def _weight(parameters: Iterable[str]) -> float:
    """An unreadable weight counts as 1, the default."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 1.0
    return 1.0
