from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from fastmarket.native.merkle import PlainOffers

_Offer = TypeVar("_Offer")

MAX_COUNT: Final = 256

def count_signatures(offers: Iterable[bytes]) -> int: ...
def tree_root(bodies: list[bytes]) -> bytes: ...
def encode_body(
    content: bytes,
    provider: bytes,
    user_id: bytes,
    user_name: str,
    ip: str,
    port: int,
    price: int,
    size: int | None,
    name: str | None,
    seq: int,
    issued_at: int,
    not_after: int,
    withdrawn: bool,
    codec: int | None = None,
    version: int | None = None,
    ways: int = 0,
    url: str = "",
) -> bytes: ...

class SignedBatch:
    data: Final[bytes]
    envelope: Final[bytes]
    count: Final[int]
    def __init__(self, data: bytes) -> None: ...
    @staticmethod
    def join(envelope: bytes, bodies: list[bytes]) -> SignedBatch: ...
    @property
    def size(self) -> int: ...
    @property
    def longest(self) -> int: ...
    def root(self) -> bytes: ...
    def body(self, index: int) -> bytes: ...
    def signed(self, index: int) -> bytes: ...
    def offers(
        self, plain: PlainOffers[_Offer], signer: object, raw_signer: bytes
    ) -> Sequence[_Offer | None]: ...
