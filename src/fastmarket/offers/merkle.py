"""A Merkle tree over byte strings: the shape of RFC 9162 section 2.1, with prefixes of our own.

A leaf and a node are hashed behind different prefixes, so that nobody can pass a node off as a leaf (a second
preimage); a verifier knows the number of leaves, so that index and length of a path are settled beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastmarket._merkle import HASH_BYTES, LEAF_PREFIX, NODE_PREFIX, merkle_root
from fastmarket._sha256 import sha256_many

__all__ = ["HASH_BYTES", "merkle_root", "merkle_tree"]


def merkle_tree(leaves: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """The root over one or more leaves, and the path of each: the hashes beside it, lowest first, joined."""
    level = sha256_many([LEAF_PREFIX + leaf for leaf in leaves])
    paths: list[list[bytes]] = [[] for _ in leaves]
    width = 1  # leaves under a node of this level
    while len(level) > 1:
        for index, path in enumerate(paths):
            beside = index // width ^ 1
            if beside < len(level):
                path.append(level[beside])
        odd = level[-1:] if len(level) % 2 else []  # moves up as it is
        pairs = zip(level[0::2], level[1::2], strict=False)
        level = sha256_many([NODE_PREFIX + left + right for left, right in pairs]) + odd
        width *= 2
    return level[0], [b"".join(path) for path in paths]
