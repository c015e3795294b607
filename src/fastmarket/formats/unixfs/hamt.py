"""Shards of large directories: a trie of nodes over the hashes of the names.

Sources: ipfs/specs, unixfs.md, "HAMTDirectory"; boxo (ipld/unixfs/hamt), at which end of a hash slots begin.
"""

from __future__ import annotations

from collections.abc import Sequence

import mmh3

from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.dag_pb import PbLink, encode_pb_node
from fastmarket.formats.unixfs.importer import DagLink, OnNode
from fastmarket.formats.unixfs.message import NodeKind, UnixfsMessage, encode_message
from fastmarket.formats.unixfs.node import MURMUR3_X64_64, HamtLink, HamtNode, slot_digits
from fastmarket.formats.unixfs.profile import FANOUT, CidProfile
from fastmarket.native.sha256 import sha256

HASH_BITS = 64
"""Of a name's hash; they bound the depth of a trie."""

HashedEntry = tuple[int, bytes, DagLink]
"""The hash of a name, the name, and what it names."""


def name_hash(name: bytes) -> int:
    """The first half of murmur3 for 64-bit machines."""
    return mmh3.hash64(name, 0, True, signed=False)[0]


def slot_of(hashed: int, used_bits: int, slot_bits: int) -> int:
    """The slot in a shard above which `used_bits` of the hash were used."""
    return hashed >> (HASH_BITS - used_bits - slot_bits) & ((1 << slot_bits) - 1)


class ShardSearch:
    """Finds one name in a directory of shards: look at the root, then at each shard that is named."""

    __slots__ = ("_hash", "_name", "_used_bits")

    def __init__(self, name: str) -> None:
        self._name = name
        self._hash = name_hash(name.encode())
        self._used_bits = 0

    def look(self, shard: HamtNode) -> HamtLink | None:
        """The link to the entry; without name, to the shard to look at next; None if there is no such entry.
        Raises PeerFault if the shards go deeper than a hash has bits."""
        if self._used_bits + shard.slot_bits > HASH_BITS:
            raise PeerFault("shards of a directory that go too deep")
        slot = slot_of(self._hash, self._used_bits, shard.slot_bits)
        self._used_bits += shard.slot_bits
        link = next((link for link in shard.links if link.slot == slot), None)
        return link if link is not None and link.name in (None, self._name) else None


def build_shards(entries: Sequence[HashedEntry], profile: CidProfile, on_node: OnNode | None) -> DagLink:
    """The root shard of these entries, of which no two have one name. `on_node` gets each shard, the root
    last. Raises CallerFault("name", ...) if two names have one hash, which takes intent."""
    return _shard(entries, 0, profile, on_node)


def _shard(
    entries: Sequence[HashedEntry], used_bits: int, profile: CidProfile, on_node: OnNode | None
) -> DagLink:
    slot_bits, digits = FANOUT.bit_length() - 1, slot_digits(FANOUT)
    if used_bits + slot_bits > HASH_BITS:
        raise CallerFault("name", f"{entries[0][1]!r} and another have one hash: no directory can hold both")
    slots: dict[int, list[HashedEntry]] = {}
    for entry in entries:
        slots.setdefault(slot_of(entry[0], used_bits, slot_bits), []).append(entry)
    links, file_bytes, used = [], 0, 0
    for slot, within in sorted(slots.items()):
        below, name = within[0][2], within[0][1]
        if len(within) > 1:
            below, name = _shard(within, used_bits + slot_bits, profile, on_node), b""
        links.append(PbLink(below.cid, f"{slot:0{digits}X}".encode() + name, below.tree_bytes))
        file_bytes += below.file_bytes
        used |= 1 << slot
    bits = used.to_bytes(-(-used.bit_length() // 8), "big")
    message = UnixfsMessage(NodeKind.HAMT, bits, None, (), MURMUR3_X64_64, FANOUT)
    block = encode_pb_node(links, encode_message(message))
    return seal_node(block, links, file_bytes, profile, on_node)


def seal_node(
    block: bytes, links: Sequence[PbLink], file_bytes: int, profile: CidProfile, on_node: OnNode | None
) -> DagLink:
    """The link to a dag-pb block, which `on_node` gets."""
    cid = profile.node_prefix + sha256(block)
    if on_node is not None:
        on_node(cid, block)
    return DagLink(cid, file_bytes, len(block) + sum(link.tree_bytes or 0 for link in links))
