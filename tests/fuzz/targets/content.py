"""Contents: blocks, nodes, trees and CARs of sellers, and what names them. A fetch of a whole hostile tree is
compared with a plain reading of that tree."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha512
from random import Random

from fastmarket.config import FetchConfig
from fastmarket.errors import CallerFault, PeerFault
from fastmarket.exchange.fetching.events import FetchFinished
from fastmarket.exchange.fetching.faults import NoHolderServes
from fastmarket.exchange.fetching.fetch import Fetch
from fastmarket.formats.block import verify_block
from fastmarket.formats.car import CarReader, CarSection, encode_car_header, encode_car_section
from fastmarket.formats.cid import SHA2_256_PREFIX, Cid, Codec, sha256_multihash
from fastmarket.formats.dag_pb import PbLink, decode_pb_node, encode_pb_node
from fastmarket.formats.unixfs.directory import DirectoryBuilder, symlink
from fastmarket.formats.unixfs.hamt import ShardSearch, build_shards, name_hash
from fastmarket.formats.unixfs.importer import DagLink, cid_of_bytes
from fastmarket.formats.unixfs.leaf import encode_leaf
from fastmarket.formats.unixfs.message import NodeKind, UnixfsMessage, decode_message, encode_message
from fastmarket.formats.unixfs.node import FileNode, HamtNode, SymlinkNode, UnixfsNode, read_node
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015
from tests.fuzz.target import Shape, Target, round_trips
from tests.virtual.dags import Blocks, identity
from tests.virtual.fetching import START, FetchRun, VirtualHolder

LEAF = b"what a leaf has"
LINK = DagLink(cid_of_bytes(LEAF).raw, len(LEAF), len(LEAF) + 6)
NAMES = ("a", "b", "file.txt", "ß", "x" * 255)
CHUNK = 16  # of the files in seeds: some leaves, two levels


# -- nodes


def _shards() -> list[bytes]:
    """A root of two levels, and what is below it."""
    found: list[bytes] = []
    entries = [(name_hash(name), name, LINK) for name in (b"%d" % number for number in range(40))]
    build_shards(entries, UNIXFS_V0_2015, lambda _cid, block: found.append(block))
    return [found[-1], found[0]]


def nodes() -> list[bytes]:
    """Blocks of dag-pb, one of each kind."""
    blocks = Blocks()
    blocks.file(bytes(range(100)), chunk=CHUNK)
    found = [*blocks.blocks.values()][-3:]
    directory = DirectoryBuilder()
    for name in NAMES:
        directory.add(name, LINK)
    directory.finish(lambda _cid, block: found.append(block))
    symlink("../elsewhere", on_node=lambda _cid, block: found.append(block))
    carried = [PbLink(identity(LEAF, Codec.RAW), b"", len(LEAF))]
    message = UnixfsMessage(NodeKind.FILE, b"in", len(LEAF) + 2, (len(LEAF),))
    packed = b"\x08\x02\x18\x07\x22\x02\x03\x04"  # two sizes as newer writers pack them, 3 and 4
    links = [PbLink(LINK.cid, b"", 1)] * 2
    return [
        *found,
        *_shards(),
        encode_leaf(LEAF),
        encode_leaf(b""),
        encode_pb_node(carried, encode_message(message)),
        encode_pb_node(links, packed),
        b"\x0a\x04\x08\x02\x18\x00" + encode_pb_node(links, None),  # data first
    ]


def dag_pb(data: bytes) -> object:
    return round_trips(
        decode_pb_node(data), lambda node: decode_pb_node(encode_pb_node(node.links, node.data))
    )


def unixfs_message(data: bytes) -> object:
    """Without what no size of a file fits into: the writer's numbers have 63 bits, the reader's 64."""
    message = decode_message(data)
    numbers = (message.file_bytes, *message.block_bytes, message.hash_type, message.fanout)
    if any((number or 0) >> 63 for number in numbers):
        return message
    return round_trips(message, lambda value: decode_message(encode_message(value)))


def unixfs_node(data: bytes) -> object:
    node = read_node(Codec.DAG_PB, data)
    if isinstance(node, FileNode):
        assert node.file_bytes == len(node.inline) + sum(child.file_bytes for child in node.children)
    elif isinstance(node, HamtNode):
        slots = [link.slot for link in node.links]
        assert slots == sorted(set(slots)), "a slot twice"
        assert all(slot < node.fanout for slot in slots), "a slot that the shard does not have"
    elif isinstance(node, SymlinkNode):
        node.target.encode()
    else:
        names = [entry.name for entry in node.entries]
        assert len(set(names)) == len(names), "a name twice"
        assert not {"", ".", ".."} & set(names), "a name that is a path"
        assert not any("/" in name or "\0" in name for name in names), "a name that is a path"
    return node


def shard_walk(data: bytes) -> object:
    """One shard that is its own child for ever: the search has to end."""
    node = read_node(Codec.DAG_PB, data)
    if not isinstance(node, HamtNode):
        raise PeerFault("not a shard")
    for name in (*NAMES[:4], "7", "33"):
        search, steps = ShardSearch(name), 0
        try:
            while (link := search.look(node)) is not None and link.name is None:
                steps += 1
                assert steps <= node.max_depth, "deeper than a hash has slots"
        except PeerFault:
            continue
        assert link is None or link.name == name
    return len(node.links)


# -- whole trees

_FILE = Blocks()
_FILE.file(bytes(range(100)), chunk=CHUNK)
_BELOW = (LEAF, encode_leaf(LEAF), *_FILE.blocks.values())
"""Blocks that hostile ones link to."""
_AT = ("root", "entry", "child", "shard", "leaf")
"""Where the tree has the hostile block: its first byte says so."""


def tree(data: bytes) -> tuple[Blocks, Cid, tuple[str, ...]]:
    """Blocks of a content whose links are right and of which one block is a stranger's; the content, and the
    path to the file that is fetched."""
    blocks = Blocks(raw_leaves=bool(data[:1] and data[0] & 8))
    for block in _BELOW:
        blocks.add(block)
        blocks.add(block, Codec.RAW)
    where, hostile = _AT[(data[0] if data else 0) % len(_AT)], data[1:]
    cid = blocks.add(hostile, Codec.RAW if where == "leaf" else Codec.DAG_PB)
    if where == "root":
        return blocks, Cid.from_bytes(cid), ()
    if where == "entry":
        return blocks, Cid.from_bytes(blocks.directory([("a", cid)])), ("a",)
    if where == "shard":
        name = b"7"
        slot = name_hash(name) >> 56
        bits = (1 << slot).to_bytes(slot // 8 + 1, "big")
        message = UnixfsMessage(NodeKind.HAMT, bits, None, (), 0x22, 256)
        root = blocks.add(encode_pb_node([PbLink(cid, b"%02X" % slot, 1)], encode_message(message)))
        return blocks, Cid.from_bytes(root), ("7",)
    promised = len(hostile) if where == "leaf" else len(LEAF)
    first, last = blocks.leaf(b"before"), blocks.leaf(b"behind")
    inner = blocks.node([(cid, promised), (cid, promised)])
    return blocks, Cid.from_bytes(blocks.node([first, inner, last])[0]), ()


def content_of(blocks: Blocks, cid: bytes, promised: int | None, depth: int = 0) -> Iterator[bytes]:
    """The bytes of a file, by a plain reading. Raises PeerFault where a block is not there, breaks a rule, or
    does not have the bytes that were promised."""
    if depth > FetchConfig().max_depth:
        raise PeerFault("too deep")
    codec = Codec.DAG_PB if cid[:2] == SHA2_256_PREFIX else cid[1]
    block = cid[4:] if cid[2:3] == b"\0" and cid[0] == 1 else blocks.blocks.get(cid)
    if block is None:
        raise PeerFault("no such block")
    node: UnixfsNode = read_node(codec, block)
    if not isinstance(node, FileNode):
        raise PeerFault("not a file")
    if promised is not None and node.file_bytes != promised:
        raise PeerFault("not the size promised")
    yield node.inline
    for child in node.children:
        yield from content_of(blocks, child.cid, child.file_bytes, depth + 1)


def fetch_tree(data: bytes) -> object:
    """Two holders; whatever the tree is, the fetch ends, and what it wrote is right."""
    blocks, root, path = tree(data)
    fetch = Fetch(root, FetchConfig(max_file_bytes=1 << 20), START, path=path)
    holders = [VirtualHolder(1), VirtualHolder(2, rtt_s=0.001, price=0)]
    run = FetchRun(fetch, blocks.blocks, holders).start()
    end = run.run()
    if not isinstance(end, FetchFinished):
        raise end.fault
    if not path:
        assert bytes(run.file) == b"".join(content_of(blocks, root.raw, None)), "not what the tree has"
    assert end.file_bytes == len(run.file)
    return bytes(run.file)


def trees() -> list[bytes]:
    found = nodes()
    return [bytes((at,)) + node for at in range(len(_AT)) for node in found]


# -- CAR


def quick_unixfs(data: bytes) -> object:
    return read_node(Codec.DAG_PB, data)


def quick_car(data: bytes) -> object:
    return CarReader().feed(data)


def _cars() -> list[bytes]:
    blocks = Blocks()
    root = blocks.file(bytes(range(100)), chunk=CHUNK)
    sections = [encode_car_section(cid, block) for cid, block in blocks.blocks.items()]
    inner = encode_car_section(Cid(1, Codec.RAW, sha256_multihash(LEAF)), LEAF)
    by_sha512 = b"\x01\x55\x13\x40" + sha512(LEAF).digest()
    version_2 = b"\x0a\xa1gversion\x02" + bytes(40)
    return [
        encode_car_header([root]) + b"".join(sections),
        encode_car_header([]) + inner,
        encode_car_header([root, root]) + encode_car_section(by_sha512, LEAF),
        version_2 + encode_car_header([root]) + inner,
    ]


def car(data: bytes) -> object:
    """However it is cut, a stream is read alike; what is accepted is written again as the same blocks."""
    whole = CarReader()
    sections = whole.feed(data)
    whole.finish()
    pieces, again = CarReader(), []
    cut = Random(len(data)).randrange(1, 40)
    for at in range(0, len(data), cut):
        again += pieces.feed(data[at : at + cut])
    pieces.finish()
    assert (again, pieces.roots) == (sections, whole.roots), "a stream in pieces is read otherwise"
    assert all(verify_block(*section) for section in sections)
    written = encode_car_header(whole.roots) + b"".join(encode_car_section(*section) for section in sections)
    back = CarReader()
    assert back.feed(written) == sections
    assert back.roots == whole.roots
    return len(sections)


def car_in_pieces(data: bytes) -> object:
    """A stream without checks of its blocks, byte by byte: bounds hold, too, where nothing is hashed."""
    reader, found = CarReader(verify=False), list[CarSection]()
    for at in range(len(data)):
        found += reader.feed(data[at : at + 1])
    reader.finish()
    return len(found)


TARGETS: tuple[Target, ...] = (
    Target(
        "dag-pb",
        "fastmarket.formats.dag_pb.decode_pb_node",
        nodes,
        dag_pb,
        (PeerFault,),
        Shape.PROTOBUF,
        quick=decode_pb_node,
        first=True,
    ),
    Target(
        "unixfs-message",
        "fastmarket.formats.unixfs.message.decode_message",
        lambda: [data for node in nodes() if (data := decode_pb_node(node).data) is not None],
        unixfs_message,
        (PeerFault,),
        Shape.PROTOBUF,
        quick=decode_message,
    ),
    Target(
        "unixfs-node",
        "fastmarket.formats.unixfs.node.read_node",
        nodes,
        unixfs_node,
        (PeerFault,),
        Shape.PROTOBUF,
        quick=quick_unixfs,
    ),
    Target(
        "unixfs-shards",
        "fastmarket.formats.unixfs.hamt.ShardSearch.look",
        _shards,
        shard_walk,
        (PeerFault,),
        Shape.PROTOBUF,
        spare_bytes=1 << 20,
    ),
    Target(
        "unixfs-tree",
        "fastmarket.exchange.fetching.fetch.Fetch",
        trees,
        fetch_tree,
        (PeerFault, CallerFault, NoHolderServes),
        Shape.PROTOBUF,
        spare_bytes=2 << 20,
    ),
    Target(
        "car",
        "fastmarket.formats.car.CarReader",
        _cars,
        car,
        (PeerFault,),
        Shape.VARINT_FRAMES,
        quick=quick_car,
    ),
    Target(
        "car-in-pieces",
        "fastmarket.formats.car.CarReader.feed",
        _cars,
        car_in_pieces,
        (PeerFault,),
        Shape.VARINT_FRAMES,
    ),
)
