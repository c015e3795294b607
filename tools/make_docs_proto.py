"""The reference of the gRPC services, out of the comments of proto/: pages for tools/make_docs.py."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PROTO = Path(__file__).parent.parent / "proto"
# Page, title, file below proto/.
PAGES = (
    ("grpc-market", "market.Market", "market.proto"),
    ("grpc-v1", "fastmarket.v1.Market", "fastmarket/v1/market.proto"),
    ("grpc-errors", "Errors of gRPC calls", "fastmarket/v1/errors.proto"),
)
BLOCK = re.compile(r"(service|message|enum|oneof) (\w+) \{(\})?$")
RPC = re.compile(r"rpc (\w+)\((stream )?([\w.]+)\) returns \((stream )?([\w.]+)\);")
FIELD = re.compile(r"(optional |repeated )?(map<[^>]+>|[\w.]+) (\w+) = (\d+);")
VALUE = re.compile(r"(\w+) = (\d+);")


@dataclass(slots=True)
class Row:
    """A method, a field or a value of an enum."""

    name: str
    kind: str
    about: str


@dataclass(slots=True)
class Block:
    """A service, a message or an enum."""

    sort: str
    name: str
    about: str
    rows: list[Row] = field(default_factory=list)


def proto_pages() -> dict[str, str]:
    """Path below reference/ -> page."""
    return {f"{page}.md": _page(title, (PROTO / path).read_text()) for page, title, path in PAGES}


def blocks(source: str) -> tuple[str, list[Block]]:
    """The comment at the head of a file, and its blocks in their order; nested ones follow theirs."""
    head, rest = _head(source)
    done: list[Block] = []
    open_blocks: list[Block] = []
    comment: list[str] = []
    for line in (line.strip() for line in rest):
        if line.startswith("//"):
            comment.append(line[2:].removeprefix(" "))
            continue
        about, comment = "\n".join(comment), []
        if found := BLOCK.match(line):
            block = Block(found[1], found[2], about)
            # The members of a oneof are fields of the message around it.
            target = open_blocks[-1] if block.sort == "oneof" else block
            if target is block:
                done.append(block)
            if not found[3]:
                open_blocks.append(target)
        elif line == "}":
            open_blocks.pop()
        elif open_blocks and line:
            open_blocks[-1].rows.append(_row(line, about))
    return head, done


def _head(source: str) -> tuple[str, list[str]]:
    lines = source.splitlines()
    end = next(place for place, line in enumerate(lines) if not line.startswith("//"))
    begin = next(place for place, line in enumerate(lines) if line.startswith("package ")) + 1
    return "\n".join(line[2:].removeprefix(" ") for line in lines[:end]), lines[begin:]


def _row(line: str, about: str) -> Row:
    if found := RPC.match(line):
        asks, answers = f"{found[2] or ''}{found[3]}", f"{found[4] or ''}{found[5]}"
        return Row(found[1], f"{asks} -> {answers}", about)
    if found := FIELD.match(line):
        return Row(found[3], f"{found[1] or ''}{found[2]}", about)
    if found := VALUE.match(line):
        return Row(found[1], found[2], about)
    raise ValueError(f"not a line of a .proto that this reads: {line}")


def _page(title: str, source: str) -> str:
    head, found = blocks(source)
    named = {block.name for block in found}
    parts = [f"# {title}\n\n{_prose(head)}\n"]
    services = [block for block in found if block.sort == "service"]
    if services:
        parts += [
            "## Methods\n",
            *(line for block in services for line in _shown(block, named)),
            "## Messages\n",
        ]
    parts += ["\n".join(_shown(block, named)) for block in found if block not in services]
    return "\n".join(parts)


def _shown(block: Block, named: set[str]) -> Iterator[str]:
    if block.sort == "service":
        for row in block.rows:
            asks, _, answers = row.kind.partition(" -> ")
            yield f"### {row.name} {{ #rpc-{row.name.lower()} }}\n"
            yield f"{_type(asks, named)} → {_type(answers, named)}\n"
            yield f"{_prose(row.about)}\n"
        return
    yield f"### {block.name} {{ #{block.name.lower()} }}\n"
    yield f"{_prose(block.about)}\n"
    if not block.rows:
        yield "It has no fields.\n" if block.sort == "message" else ""
        return
    first, second = ("value", "number") if block.sort == "enum" else ("field", "type")
    yield f"| {first} | {second} | meaning |\n| --- | --- | --- |"
    for row in block.rows:
        about = " ".join(_prose(row.about).split()).replace("|", "\\|")
        yield f"| `{row.name}` | {_type(row.kind, named)} | {about} |"
    yield ""


def _type(text: str, named: set[str]) -> str:
    """A type, linked where this page has it."""
    words, name = text.rpartition(" ")[::2]
    link = f"[`{name}`](#{name.lower()})" if name in named else f"`{name}`"
    return f"{words} {link}".strip()


def _prose(text: str) -> str:
    """A comment as Markdown: nothing in it is a tag."""
    return re.sub(r"(`[^`]*`)|<", lambda found: found[1] or "&lt;", text)
