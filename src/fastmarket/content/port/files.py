"""Files for people and curl: /ipfs/CID[/path] without a format.

Nobody can verify them as they come; who checks hashes asks for blocks.
"""

from __future__ import annotations

from fastmarket.content.port import fields
from fastmarket.content.port.asked import Asked
from fastmarket.content.port.block_names import BlockName
from fastmarket.content.port.conditions import Span, is_known, range_of
from fastmarket.content.port.dag_nodes import DagNodes
from fastmarket.content.port.file_trees import tree_pieces
from fastmarket.content.port.media import (
    SANDBOX,
    SNIFFED_BYTES,
    is_active,
    type_by_content,
    type_by_name,
)
from fastmarket.content.port.messages import GatewayAnswer, Header, RequestRefused
from fastmarket.content.port.pieces import AnswerCut, FileSlice, Pieces, read_slice
from fastmarket.content.port.resolving import NOT_HERE
from fastmarket.content.source import BlockSource
from fastmarket.errors import PeerFault
from fastmarket.formats.unixfs.node import DirectoryNode, FileNode, HamtNode

LINK_TYPE = "inode/symlink"


class ServedFile:
    """The bytes at the end of a path: of a file that is sold as such, or of a tree of blocks."""

    def __init__(self, source: BlockSource, nodes: DagNodes, asked: Asked) -> None:
        """Raises RequestRefused(404)."""
        self._nodes = nodes
        self.known_type: str | None = None
        end = asked.found.end
        self._sold = source.file_of(end.as_cid) if end.inline is None else None
        self._node = FileNode(b"", (), 0) if self._sold is not None else self._read(end)
        self.size = self._node.file_bytes if self._sold is None else self._sold.size

    def _read(self, end: BlockName) -> FileNode:
        try:
            node = self._nodes.node(end)
        except PeerFault as fault:
            raise RequestRefused(404, f"not a file: {fault}; ask with ?format=raw") from None
        if node is None:
            raise RequestRefused(404, NOT_HERE)
        if isinstance(node, DirectoryNode | HamtNode):
            raise RequestRefused(404, "a directory, and lists of directories are not served")
        if not isinstance(node, FileNode):
            self.known_type = LINK_TYPE
            target = node.target.encode()
            return FileNode(target, (), len(target))
        return node

    def pieces(self, start: int, end: int) -> Pieces:
        """The bytes from `start` to before `end`."""
        if self._sold is not None:
            return iter((FileSlice(self._sold.file, start, end - start),) if start < end else ())
        return tree_pieces(self._nodes, self._node, start, end)

    def head(self) -> bytes:
        """The first bytes. Raises AnswerCut or FileMoved."""
        parts = []
        for piece in self.pieces(0, min(SNIFFED_BYTES, self.size)):
            parts.append(piece if isinstance(piece, bytes) else read_slice(piece))
        return b"".join(parts)


def file_answer(source: BlockSource, nodes: DagNodes, asked: Asked) -> GatewayAnswer:
    """The file, or a range of it. Raises RequestRefused."""
    found, headers = asked.found, asked.request.headers
    file = ServedFile(source, nodes, asked)
    etag = f'"{found.roots[-1]}"'
    answer = GatewayAnswer(200, [("Etag", etag), fields.IMMUTABLE])
    if is_known(headers, etag):
        answer.status = 304
        return answer
    span = range_of(headers, etag, file.size)
    answer.headers += _described(file, asked)
    answer.headers += (("Accept-Ranges", "bytes"), *fields.place_headers(asked.target, found.roots))
    if span is None:
        span = Span(0, file.size)
    else:
        answer.status = 206
        answer.headers.append(("Content-Range", f"bytes {span.start}-{span.end - 1}/{file.size}"))
    answer.length = span.end - span.start
    answer.body = file.pieces(span.start, span.end)
    return answer


def _described(file: ServedFile, asked: Asked) -> list[Header]:
    """What the file is, and whether a browser shows or saves it."""
    query, segments = asked.target.query, asked.target.segments
    given = query.get("filename", "")
    name = given or (segments[-1] if segments else "")
    media_type = file.known_type or type_by_name(name)
    if media_type is None:
        try:
            media_type = type_by_content(file.head())
        except AnswerCut:
            raise RequestRefused(404, NOT_HERE) from None
    headers = [("Content-Type", media_type)]
    if is_active(media_type):
        headers.append(SANDBOX)
    if query.get("download") == "true":
        headers.append(fields.disposition("attachment", name or asked.found.roots[-1]))
    elif given:
        headers.append(fields.disposition("inline", given))
    return headers
