"""Follows the path below a CID to the block at its end, through directories and their shards."""

from __future__ import annotations

from typing import NamedTuple

from fastmarket.content.port.block_names import BlockName, named_by_link
from fastmarket.content.port.dag_nodes import DagNodes
from fastmarket.content.port.messages import RequestRefused
from fastmarket.content.port.targets import GatewayTarget
from fastmarket.errors import PeerFault
from fastmarket.formats.unixfs.hamt import ShardSearch
from fastmarket.formats.unixfs.node import DirectoryNode, HamtNode

NOT_HERE = "not here"


class Resolved(NamedTuple):
    """`passed`: the blocks before `end`, in order; `roots`: the CID of each part of the path, as text."""

    end: BlockName
    passed: tuple[BlockName, ...]
    roots: tuple[str, ...]


def resolve(nodes: DagNodes, target: GatewayTarget) -> Resolved:
    """The end of a target's path; whether its block is here is not looked at. Raises RequestRefused(404)."""
    if not target.segments:
        return Resolved(target.root, (), (target.root.text,))
    end, passed, roots = target.root, list[BlockName](), [target.root.text]
    for segment in target.segments:
        try:
            end = _step(nodes, end, segment, passed)
        except PeerFault as fault:
            if isinstance(fault, RequestRefused):
                raise
            raise RequestRefused(404, f"no path below a block that is not a directory: {fault}") from None
        roots.append(end.text)
    return Resolved(end, tuple(passed), tuple(roots))


def _step(nodes: DagNodes, directory: BlockName, segment: str, passed: list[BlockName]) -> BlockName:
    node = nodes.node(directory)
    if node is None:
        raise RequestRefused(404, NOT_HERE)
    passed.append(directory)
    if isinstance(node, DirectoryNode):
        cid = nodes.entry(directory, segment)
    elif isinstance(node, HamtNode):
        cid = _in_shards(nodes, node, segment, passed)
    else:
        raise RequestRefused(404, "the path leads through a file")
    if cid is None:
        raise RequestRefused(404, "no such name in the directory")
    return named_by_link(cid)


def _in_shards(nodes: DagNodes, shard: HamtNode, segment: str, passed: list[BlockName]) -> bytes | None:
    search = ShardSearch(segment)
    while True:
        link = search.look(shard)
        if link is None or link.name is not None:
            return None if link is None else link.cid
        below = named_by_link(link.cid)
        node = nodes.node(below)
        if node is None:
            raise RequestRefused(404, NOT_HERE)
        if not isinstance(node, HamtNode):
            raise PeerFault("a shard of another kind")
        passed.append(below)
        shard = node
