from typing import Final

HASH_BYTES: Final = 32
LEAF_PREFIX: Final = b"\x00fastmarket-offer"
NODE_PREFIX: Final = b"\x01fastmarket-offer"

def merkle_root(leaf: bytes, index: int, count: int, path: bytes) -> bytes | None: ...
def split_batched(signed: bytes) -> tuple[bytes, int, bytes, bytes]: ...
