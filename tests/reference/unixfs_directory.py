"""Twin of fastmarket.formats.unixfs.directory and .hamt: all entries at once, shards of any fanout.

The hash is murmur3 x64 128 (Austin Appleby, public domain), of which the first half is used.
"""

from __future__ import annotations

from tests.reference.unixfs import DAG_PB, Node, cid_bytes, field

MASK = (1 << 64) - 1
C1, C2 = 0x87C37B91114253D5, 0x4CF5AD432745937F
Entries = list[tuple[bytes, Node]]
Blocks = dict[bytes, bytes]


def rotate(value: int, count: int) -> int:
    return (value << count | value >> (64 - count)) & MASK


def mix_1(word: int) -> int:
    return rotate(word * C1 & MASK, 31) * C2 & MASK


def mix_2(word: int) -> int:
    return rotate(word * C2 & MASK, 33) * C1 & MASK


def finish(value: int) -> int:
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD & MASK
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 & MASK
    return value ^ value >> 33


def murmur3(data: bytes) -> int:
    """The first 64 bits."""
    one = two = 0
    whole = len(data) // 16 * 16
    for at in range(0, whole, 16):
        one ^= mix_1(int.from_bytes(data[at : at + 8], "little"))
        one = (rotate(one, 27) + two) * 5 + 0x52DCE729 & MASK
        two ^= mix_2(int.from_bytes(data[at + 8 : at + 16], "little"))
        two = (rotate(two, 31) + one) * 5 + 0x38495AB5 & MASK
    one ^= mix_1(int.from_bytes(data[whole : whole + 8], "little"))
    two ^= mix_2(int.from_bytes(data[whole + 8 :], "little"))
    one, two = one ^ len(data), two ^ len(data)
    one = (one + two) & MASK
    two = (two + one) & MASK
    return (finish(one) + finish(two)) & MASK


def sealed(links: list[tuple[bytes, bytes, int]], data: bytes, version: int, blocks: Blocks) -> Node:
    """A node of links: CID, name, Tsize."""
    encoded = b"".join(field(2, field(1, cid) + field(2, name) + field(3, size)) for cid, name, size in links)
    block = encoded + field(1, data)
    cid = cid_bytes(block, DAG_PB, version)
    blocks[cid] = block
    return Node(cid, 0, len(block) + sum(size for _, _, size in links))


def flat(entries: Entries, version: int, blocks: Blocks) -> Node:
    links = [(node.cid, name, node.tree_bytes) for name, node in sorted(entries)]
    return sealed(links, field(1, 1), version, blocks)


def sharded(entries: Entries, version: int, blocks: Blocks, fanout: int = 256, depth: int = 0) -> Node:
    bits, digits = fanout.bit_length() - 1, len(f"{fanout - 1:X}")
    links, used = [], 0
    for slot in range(fanout):
        within = [
            (name, node)
            for name, node in entries
            if int(f"{murmur3(name):064b}"[depth * bits :][:bits], 2) == slot
        ]
        if not within:
            continue
        used |= 1 << slot
        prefix = f"{slot:0{digits}X}".encode()
        if len(within) == 1:
            name, node = within[0]
            links.append((node.cid, prefix + name, node.tree_bytes))
        else:
            node = sharded(within, version, blocks, fanout, depth + 1)
            links.append((node.cid, prefix, node.tree_bytes))
    bitmap = used.to_bytes(fanout // 8, "big").lstrip(b"\0")
    data = field(1, 5) + field(2, bitmap) + field(5, 0x22) + field(6, fanout)
    return sealed(links, data, version, blocks)
