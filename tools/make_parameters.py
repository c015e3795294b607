"""Generates docs/parameters.md: every parameter of every layer, with its default and its comment.

`python tools/make_parameters.py` writes it; tests/unit/test_parameters.py fails when it is out of date.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path

from fastmarket import config

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "src" / "fastmarket" / "config"
PAGE = ROOT / "docs" / "parameters.md"
GROUP = "---"  # begins a comment that is the heading of several fields
HEAD = """# Parameters

All parameters and limits of a node, by layer: the frozen dataclasses of `fastmarket.config`, which a
`NodeConfig` combines. Names end in their unit: `_s` is seconds, `_bytes` bytes, no suffix a count.
Generated from those classes by `python tools/make_parameters.py`; a test compares.
"""
COLUMNS = "| parameter | default | meaning and reason |\n|---|---|---|\n"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One field: its default as Python writes it, and what its comment says."""

    name: str
    default: str
    reason: str


def parameters(config_class: type, source: str) -> Iterator[Parameter]:
    """The fields of one dataclass, whose module's text is `source`."""
    comments = _comments(source)
    tree = ast.parse(source)
    body = next(n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == config_class.__name__)
    lines = {node.target.id: node for node in body if isinstance(node, ast.AnnAssign) and _named(node)}
    for field in fields(config_class):
        if field.default is not MISSING:
            yield Parameter(field.name, _text(field.default), _reason(lines[field.name], comments))


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for path in sorted(SOURCES.glob("*.py")):
        source = path.read_text()
        for node in ast.parse(source).body:
            if not isinstance(node, ast.ClassDef):
                continue
            config_class = getattr(config, node.name)
            assert is_dataclass(config_class)
            rows = [f"| `{p.name}` | {p.default} | {p.reason} |" for p in parameters(config_class, source)]
            about = (config_class.__doc__ or "").partition("\n")[0]
            parts.append(
                f"## {node.name}\n\n{about}\n\n| parameter | default | meaning and reason |\n|---|---|---|\n"
            )
            parts[-1] += "\n".join(rows) + "\n"
    return "\n".join(parts)


def _named(node: ast.AnnAssign) -> bool:
    return isinstance(node.target, ast.Name)


def _comments(source: str) -> dict[int, tuple[bool, str]]:
    """Line -> (whether the comment stands alone, its text)."""
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            alone = not token.line[: token.start[1]].strip()
            found[token.start[0]] = (alone, token.string.lstrip("# ").rstrip())
    return found


def _reason(node: ast.AnnAssign, comments: dict[int, tuple[bool, str]]) -> str:
    """Comment lines above that begin a sentence, those beside, and their continuation below in lower case."""
    above: list[str] = []
    line = node.lineno - 1
    while line in comments and comments[line][0] and not comments[line][1].startswith(GROUP):
        above.insert(0, comments[line][1])
        line -= 1
    while above and not _begins(above[0]):
        above.pop(0)  # the end of the field before
    last = node.end_lineno or node.lineno
    beside = [comments[n][1] for n in range(node.lineno, last + 1) if n in comments]
    line = last + 1
    while beside and line in comments and comments[line][0] and not _begins(comments[line][1]):
        beside.append(comments[line][1])
        line += 1
    return _capitalized(" ".join(above + beside)).replace("|", "\\|")


def _capitalized(text: str) -> str:
    """As a sentence, unless it begins with a name."""
    return text[:1].upper() + text[1:] if text.partition(" ")[0].strip(",:;").isalpha() else text


def _begins(text: str) -> bool:
    """Whether a comment line opens a new remark."""
    return not text[:1].islower() and not text.startswith("...")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int | float):
        return f"{value:,}".removesuffix(".0")
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value) or "none"
    return f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(page())
