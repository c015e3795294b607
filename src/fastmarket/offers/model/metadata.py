"""Where a holder serves a file, and at which price."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import IntFlag
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from google.protobuf.message import DecodeError

from fastmarket.errors import CallerFault, PeerFault
from fastmarket.native.merkle import untracked
from fastmarket.pb.fastmarket.v1.offer_pb2 import OfferBody

MAX_PORT = 2**16 - 1
MAX_U64 = 2**64 - 1
MAX_HOST_CHARS = 253  # a full domain name as text (RFC 1035 section 2.3.4)
MAX_FILE_NAME_BYTES = 255  # NAME_MAX of the usual file systems
MAX_URL_BYTES = 1024  # room for a long host name and path; browsers and proxies take twice that
MAX_METADATA_BYTES = 4096  # either serial form; every field at its longest, escaped, is under half of it

_KNOWN_HOSTS = 1024  # host names and addresses last seen, at most 300 bytes each

# RFC 1123 labels, and the underscore that people use in their own networks.
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


_put = object.__setattr__


class Way(IntFlag):
    """Ways to fetch a content; bits as in proto/fastmarket/v1/offer.proto."""

    HTTP = 1  # trustless gateway at `ip` and `port`
    HTTPS = 2
    BITSWAP = 4  # at the provider's libp2p addresses

    @classmethod
    def of_numbers(cls, numbers: Iterable[int]) -> int:
        """The bits of numbers of `Way` in proto/fastmarket/v1/market.proto; those above 63 are left out."""
        bits = 0
        for number in numbers:
            bits |= 1 << (number - 1) if 0 < number < 64 else 0
        return bits

    @staticmethod
    def numbers(ways: int) -> list[int]:
        """The inverse, of the ways this version knows."""
        return [way.bit_length() for way in Way if way & ways]


@dataclass(frozen=True, slots=True)
class FileMetadata:
    """The terms on which a holder serves a file; every field is checked on construction.

    `ip` is an IPv4 or IPv6 address or a host name, `port` 1 to 65535, `price_per_mb` and `size` (bytes) are
    unsigned 64-bit integers. `ways` has a bit for each `Way` to fetch it (0: not told), `url` is where HTTP
    begins if that is not the root of `ip` and `port`. Raises `CallerFault` naming the field.
    """

    ip: str
    port: int
    price_per_mb: int
    size: int | None = None
    name: str | None = None
    ways: int = 0
    url: str = ""

    def __post_init__(self) -> None:
        check_host("ip", self.ip)
        check_integer("port", self.port, 1, MAX_PORT)
        check_integer("price_per_mb", self.price_per_mb, 0, MAX_U64)
        if self.size is not None:
            check_integer("size", self.size, 0, MAX_U64)
        if self.name is not None:
            check_text("name", self.name, MAX_FILE_NAME_BYTES)
        check_integer("ways", self.ways, 0, MAX_U64)
        check_text("url", self.url, MAX_URL_BYTES)

    def to_json(self) -> str:
        """A JSON object with the set fields, keys in the order of declaration."""
        told = ((field, getattr(self, field.name)) for field in fields(self))
        return json.dumps({field.name: value for field, value in told if value != field.default})

    @classmethod
    def from_json(cls, text: str | bytes) -> FileMetadata:
        """The inverse of `to_json`; unknown keys are ignored. Raises `CallerFault`."""
        if len(text) > MAX_METADATA_BYTES:
            raise CallerFault("metadata", f"has more than {MAX_METADATA_BYTES} bytes")
        try:
            read = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CallerFault("metadata", f"is not JSON ({error})") from None
        if not isinstance(read, dict):
            raise CallerFault("metadata", "is not a JSON object")
        for required in ("ip", "port", "price_per_mb"):
            if read.get(required) is None:
                raise CallerFault(required, "missing")
        return cls(**{key: read[key] for key in cls.__slots__ if key in read})

    def to_bytes(self) -> bytes:
        """An `OfferBody` (proto/fastmarket/v1/offer.proto) with these fields alone."""
        body = OfferBody()
        self.write_to(body)
        return body.SerializeToString(deterministic=True)

    @classmethod
    def from_bytes(cls, raw: bytes) -> FileMetadata:
        """The inverse of `to_bytes`. Raises `PeerFault`."""
        if len(raw) > MAX_METADATA_BYTES:
            raise PeerFault(f"file metadata of more than {MAX_METADATA_BYTES} bytes")
        try:
            return cls.read_from(OfferBody.FromString(raw))
        except (DecodeError, CallerFault) as error:
            raise PeerFault(f"bad file metadata: {error}") from None

    def write_to(self, body: OfferBody) -> None:
        """Sets the fields of `body` that hold metadata."""
        body.ip = self.ip
        body.port = self.port
        body.price_per_mb = self.price_per_mb
        if self.size is not None:
            body.size = self.size
        if self.name is not None:
            body.name = self.name
        body.ways = self.ways
        body.url = self.url

    @classmethod
    def checked(
        cls, ip: str, port: int, price_per_mb: int, size: int | None, name: str | None, ways: int, url: str
    ) -> FileMetadata:
        """From fields that are checked already, or by the caller at once (`check_metadata`)."""
        made = object.__new__(cls)
        _put(made, "ip", ip)
        _put(made, "port", port)
        _put(made, "price_per_mb", price_per_mb)
        _put(made, "size", size)
        _put(made, "name", name)
        _put(made, "ways", ways)
        _put(made, "url", url)
        return untracked(made)

    @classmethod
    def trusted(cls, body: OfferBody) -> FileMetadata:
        """As `read_from`, for a body that was checked before it was stored."""
        size = body.size if body.HasField("size") else None
        name = body.name if body.HasField("name") else None
        return cls.checked(body.ip, body.port, body.price_per_mb, size, name, body.ways, body.url)

    @classmethod
    def read_from(cls, body: OfferBody) -> FileMetadata:
        """Raises `CallerFault`: only the caller knows whose fault a bad field is."""
        made = cls.trusted(body)
        check_metadata(made)
        return made


def check_metadata(metadata: FileMetadata) -> None:
    """Checks metadata that was parsed from a message. Raises `CallerFault`.

    Price and size need no check: the types of their fields are their bounds.
    """
    check_host("ip", metadata.ip)
    check_integer("port", metadata.port, 1, MAX_PORT)
    if metadata.name is not None:
        check_text("name", metadata.name, MAX_FILE_NAME_BYTES)
    if metadata.url:
        check_text("url", metadata.url, MAX_URL_BYTES)


def check_host(field: str, host: object) -> None:
    """Accepts an IPv4 or IPv6 address without a zone, or a host name in ASCII. Raises `CallerFault`."""
    if not isinstance(host, str) or not host:
        raise CallerFault(field, "missing; expects an IPv4 or IPv6 address or a host name")
    if len(host) > MAX_HOST_CHARS:
        raise CallerFault(field, f"has more than {MAX_HOST_CHARS} characters")
    if not is_host(host):
        raise CallerFault(field, f"{host!r} is neither an IPv4 or IPv6 address nor a host name")


@lru_cache(maxsize=_KNOWN_HOSTS)
def is_host(host: str) -> bool:
    """Whether it is an address or a host name. (Cached: all files of a holder have the same.)"""
    return _is_ipv6(host) if ":" in host else _is_ipv4(host) or _is_host_name(host)


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    try:
        # A zone ("%eth0") means something on one machine alone.
        return IPv6Address(text).scope_id is None
    except AddressValueError:
        return False


def _is_host_name(text: str) -> bool:
    labels = text.removesuffix(".").split(".")
    # An all-digit last label is a mistyped IPv4 address (RFC 3696 section 2).
    return all(_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()


def check_integer(field: str, value: object, low: int, high: int) -> None:
    """Raises `CallerFault` unless `value` is an int (not a bool) of `low` to `high`."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise CallerFault(field, f"expects an integer, not {type(value).__name__}")
    if not low <= value <= high:
        raise CallerFault(field, f"{value} is not between {low} and {high}")


def check_text(field: str, value: object, max_bytes: int) -> None:
    """Raises `CallerFault` unless `value` is text without control characters of at most `max_bytes` in UTF-8.

    Offers are shown on the terminals of strangers, where control characters can do harm.
    """
    if not isinstance(value, str):
        raise CallerFault(field, f"expects text, not {type(value).__name__}")
    if len(value) <= max_bytes and value.isascii() and value.isprintable():
        return  # most are: a fifth of the time
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise CallerFault(field, "is not valid Unicode") from None
    if size > max_bytes:
        raise CallerFault(field, f"has more than {max_bytes} bytes of UTF-8")
    if _CONTROL.search(value):
        raise CallerFault(field, "contains control characters")
