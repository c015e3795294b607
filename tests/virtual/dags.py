"""DAGs of files for tests: honest ones, and such as no importer makes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fastmarket.formats.cid import SHA2_256_PREFIX, Cid, Codec, sha256_multihash
from fastmarket.formats.dag_pb import PbLink, encode_pb_node
from fastmarket.formats.unixfs.leaf import encode_leaf
from fastmarket.formats.unixfs.message import NodeKind, UnixfsMessage, encode_message

Part = tuple[bytes, int]
"""Binary CID, and the bytes of the file that are promised for it."""


@dataclass
class Blocks:
    """Blocks by binary CID."""

    blocks: dict[bytes, bytes] = field(default_factory=dict)
    raw_leaves: bool = False

    def add(self, block: bytes, codec: int = Codec.DAG_PB, version: int = 0) -> bytes:
        """The binary CID of a block that is held now."""
        version = 1 if codec == Codec.RAW else version
        cid = Cid(version, codec, sha256_multihash(block)).raw
        self.blocks[cid] = block
        return cid

    def leaf(self, data: bytes) -> Part:
        """A leaf."""
        if self.raw_leaves:
            return self.add(data, Codec.RAW), len(data)
        return self.add(encode_leaf(data)), len(data)

    def node(
        self,
        parts: Sequence[Part],
        inline: bytes = b"",
        *,
        kind: NodeKind = NodeKind.FILE,
        names: Sequence[bytes] = (),
    ) -> Part:
        """An inner node; its size is what its parts promise."""
        sizes = tuple(size for _, size in parts)
        total = len(inline) + sum(sizes)
        names = names or [b""] * len(parts)
        links = [PbLink(cid, name, 0) for (cid, _), name in zip(parts, names, strict=True)]
        message = UnixfsMessage(kind, inline, total, sizes)
        return self.add(encode_pb_node(links, encode_message(message))), total

    def file(self, data: bytes, *, chunk: int = 16, width: int = 4) -> Cid:
        """A balanced tree over the chunks; its root."""
        level = [self.leaf(data[at : at + chunk]) for at in range(0, len(data), chunk)] or [self.leaf(b"")]
        while len(level) > 1:
            level = [self.node(level[at : at + width]) for at in range(0, len(level), width)]
        return Cid.from_bytes(level[0][0])

    def directory(self, entries: Iterable[tuple[str, bytes]]) -> bytes:
        """A flat directory; its binary CID."""
        links = [PbLink(cid, name.encode(), 0) for name, cid in entries]
        message = UnixfsMessage(NodeKind.DIRECTORY, b"", None, ())
        return self.add(encode_pb_node(links, encode_message(message)))


def identity(data: bytes, codec: int) -> bytes:
    """The binary CID that carries a block."""
    return bytes((1, codec, 0, len(data))) + data


def no_such_cid(salt: bytes) -> bytes:
    """A CID of a block that nobody has."""
    return b"\x01\x55" + SHA2_256_PREFIX + salt.rjust(32, b"\xee")
