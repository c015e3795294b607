from collections.abc import Callable
from typing import Final, Generic, TypeAlias, TypeVar

_Offer = TypeVar("_Offer")
_Made = TypeVar("_Made")

Body: TypeAlias = tuple[
    bytes,
    bytes,
    bytes,
    str,
    str,
    int,
    int,
    int | None,
    str | None,
    int,
    int,
    int,
    bool,
    int | None,
    int | None,
    int,
    str,
]
"""The fields of an OfferBody, in their order."""

HASH_BYTES: Final = 32
LEAF_PREFIX: Final = b"\x00fastmarket-offer"
NODE_PREFIX: Final = b"\x01fastmarket-offer"

def merkle_root(leaf: bytes, index: int, count: int, path: bytes) -> bytes | None: ...
def split_batched(signed: bytes) -> tuple[bytes, int, bytes, bytes]: ...
def plain_body(raw: bytes) -> Body | None: ...
def body_of(signed: bytes) -> bytes: ...

Claims: TypeAlias = tuple[bytes, bytes, bytes, int, int, int]
"""Content, provider, user id, seq, issued_at, not_after."""

def claims(signed: bytes) -> Claims | None: ...
def split_store(request: bytes) -> tuple[list[bytes], list[bytes]] | None: ...

PLAIN_BOUNDS: Final[tuple[int, int, int, int, int, int, int]]
"""Bytes of a user id, a user name, a file name and a host, the highest port, bytes of a URL, seconds of a
lifetime."""

class PlainOffers(Generic[_Offer]):
    def __init__(
        self, offer: type[_Offer], metadata: type, alone: type, is_host: Callable[[str], bool]
    ) -> None: ...
    def expect(self, envelope: bytes, root: bytes, count: int, signer: object, raw_signer: bytes) -> None: ...
    def open(self, signed: bytes) -> _Offer | None: ...
    def read(self, signed: bytes, raw_signer: bytes, signer: object) -> _Offer | None: ...

def untracked(made: _Made) -> _Made: ...
