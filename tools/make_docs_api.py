"""The reference of the Python library, out of its docstrings: pages in Markdown for tools/make_docs.py.

Only public names are written down here, so that modules behind them may be moved and renamed.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from enum import Enum
from typing import Any

import fastmarket
from fastmarket import errors

# Page, title, what it is for, the public names on it. tests/unit/test_docs.py compares them with __all__.
PAGES = (
    (
        "client",
        "Client of a node",
        "`MarketClient` calls a node that runs in another process, by gRPC.",
        ("MarketClient", "ClientTls"),
    ),
    (
        "node",
        "A whole node",
        "`Node` is what `fastmarket-server` runs, inside your program.",
        ("Node", "NodeConfig"),
    ),
    (
        "dht",
        "The DHT alone",
        "`bridge` returns a client and the server that runs its commands, without gRPC.",
        ("bridge", "DhtClient", "DhtServer"),
    ),
    (
        "values",
        "Values",
        "Contents, peers, addresses and offers. All are immutable and compare by value.",
        (
            *("Cid", "cid_of_file", "new_cidv0", "FileMetadata", "Offer"),
            *("Identity", "PeerId", "Multiaddr", "__version__"),
        ),
    ),
)
LINE_CHARS = 88
WORD = re.compile(r"\b[A-Z]\w+")
# Constructors that callers do not use: objects of these classes come from elsewhere.
_UNSET = inspect.Signature.empty


class _Raw:
    """An annotation as the source has it, without the quotes that `inspect` puts around a text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def api_pages() -> dict[str, str]:
    """Path below reference/ -> page."""
    grouped = [(page, title, about, list(_with_values(names))) for page, title, about, names in PAGES]
    homes: dict[str, str] = {}
    for page, _, _, names in grouped:
        for name in names:
            homes.setdefault(name, page)
    pages = {}
    for page, title, about, names in grouped:
        parts = [f"# {title}\n\n{about}\n"]
        parts += [_entry(name, homes, page) for name in names if homes[name] == page]
        pages[f"api/{page}.md"] = "\n".join(parts)
    pages["api/errors.md"] = _errors_page()
    pages["api/index.md"] = _index(grouped, homes)
    return pages


def documented() -> frozenset[str]:
    """The public names that have a page."""
    return frozenset(name for _, _, _, names in PAGES for name in names)


def _index(grouped: list[tuple[str, str, str, list[str]]], homes: dict[str, str]) -> str:
    rows = []
    for page, title, _, _ in grouped:
        for name in (name for name in fastmarket.__all__ if homes.get(name) == page):
            rows.append(f"| [`{name}`]({page}.md#{_anchor(name)}) | {title} | {_first(_find(name))} |")
    return (
        "# Python API\n\nThe public names of `import fastmarket`. Each module is loaded when a name of it is "
        "first used.\n\n| name | page | what it is |\n| --- | --- | --- |\n"
        + "\n".join(rows)
        + "\n\nErrors have a [page of their own](errors.md).\n"
    )


def _with_values(names: tuple[str, ...]) -> Iterator[str]:
    """The names, and after them the value classes that their methods return or take."""
    waiting, seen = list(names), set(names)
    while waiting:
        name = waiting.pop(0)
        yield name
        for word in sorted(_mentioned(_find(name))):
            if word not in seen and word not in documented():
                seen.add(word)
                waiting.append(word)


def _mentioned(thing: Any) -> frozenset[str]:
    """Dataclasses and enums of ours in the annotations of `thing`, but not the configuration."""
    texts = []
    for part in (thing, *(value for _, value in _members(thing))):
        function = part.fget if isinstance(part, property) else getattr(part, "__func__", part)
        texts += [str(text) for text in getattr(function, "__annotations__", {}).values()]
    found = set()
    for word in WORD.findall(" ".join(texts)):
        value = _find(word, thing)
        if _is_value_class(value):
            found.add(word)
            _FOUND[word] = value
    return frozenset(found)


def _is_value_class(value: Any) -> bool:
    if not isinstance(value, type) or not value.__module__.startswith("fastmarket."):
        return False
    shaped = dataclasses.is_dataclass(value) or issubclass(value, Enum)
    return shaped and ".config" not in value.__module__


_FOUND: dict[str, Any] = {}


def _find(name: str, beside: Any = None) -> Any:
    """The object of a public name, or of one that stands in the module of `beside`."""
    if name in fastmarket.__all__:
        return getattr(fastmarket, name)
    if name in _FOUND:
        return _FOUND[name]
    module = sys.modules.get(getattr(beside, "__module__", "") or "")
    return getattr(module, name, None)


def _members(thing: Any) -> list[tuple[str, Any]]:
    """The public methods and properties of a class, in source order, our inherited ones included."""
    if not isinstance(thing, type):
        return []
    found: dict[str, Any] = {}
    for ancestor in reversed(thing.__mro__):
        if ancestor.__module__.startswith("fastmarket"):
            found.update(
                (name, value)
                for name, value in vars(ancestor).items()
                if not name.startswith("_") and _is_told(value)
            )
    return list(found.items())


def _is_told(value: Any) -> bool:
    return isinstance(value, property | classmethod | staticmethod) or inspect.isroutine(value)


def _entry(name: str, homes: dict[str, str], page: str) -> str:
    thing = _find(name)
    parts = [f"## {name} {{ #{_anchor(name)} }}\n"]
    if isinstance(thing, str):
        return parts[0] + "\nThe version of the package, a text.\n"
    parts.append(_signature(name, thing))
    parts.append(_text(thing))
    if dataclasses.is_dataclass(thing):
        parts.append(_fields(thing))
    if isinstance(thing, type) and issubclass(thing, Enum):
        parts.append("\n".join(f"- `{member.name}`" for member in thing) + "\n")
    if name == "NodeConfig":
        parts.append("Every field of every part is in [Parameters](../../parameters.md).\n")
    for method, value in _members(thing):
        parts.append(f"### {name}.{method} {{ #{_anchor(f'{name}.{method}')} }}\n")
        parts.append(_signature(method, value))
        parts.append(_text(value))
        parts.append(_links(value, homes, page))
    return "\n".join(part for part in parts if part)


def _signature(name: str, thing: Any) -> str:
    if isinstance(thing, property):
        returns = getattr(thing.fget, "__annotations__", {}).get("return", "")
        return _code(f"{name}: {returns}" if returns else name)
    function = getattr(thing, "__func__", thing)
    prefix = "class " if isinstance(thing, type) else "async def " if _is_async(function) else "def "
    if isinstance(thing, type) and issubclass(thing, Enum):
        return _code(f"class {name}(Enum)")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return _code(f"{prefix}{name}(...)")
    parameters = [
        p.replace(annotation=_raw(p.annotation)) for p in signature.parameters.values() if p.name != "self"
    ]
    plain = signature.replace(parameters=parameters, return_annotation=_raw(signature.return_annotation))
    if isinstance(thing, type):
        plain = plain.replace(return_annotation=_UNSET)
    text = f"{prefix}{name}{plain}"
    if len(text) > LINE_CHARS:
        returns = "" if plain.return_annotation is _UNSET else f" -> {plain.return_annotation!r}"
        text = f"{prefix}{name}(\n" + "".join(f"    {line},\n" for line in _lines(parameters)) + f"){returns}"
    marker = {classmethod: "@classmethod\n", staticmethod: "@staticmethod\n"}.get(type(thing), "")
    return _code(marker + text)


def _lines(parameters: list[inspect.Parameter]) -> Iterator[str]:
    star = False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            star = True
            yield "*"
        star = star or parameter.kind is parameter.VAR_POSITIONAL
        yield str(parameter)


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _raw(annotation: Any) -> Any:
    if annotation is _UNSET:
        return annotation
    return _Raw(annotation if isinstance(annotation, str) else inspect.formatannotation(annotation))


def _code(text: str) -> str:
    return f"```python\n{text}\n```\n"


def _text(thing: Any) -> str:
    """The docstring; of a class also what its constructor says."""
    text = inspect.cleandoc(getattr(thing, "__doc__", None) or "")
    if dataclasses.is_dataclass(thing) and text.startswith(f"{getattr(thing, '__name__', '')}("):
        text = ""  # what dataclass writes where there is none
    if isinstance(thing, type) and "__init__" in vars(thing):
        text += "\n\n" + inspect.cleandoc(vars(thing)["__init__"].__doc__ or "")
    # Markup of other kinds is none: <...> stands for a text that differs.
    return re.sub(r"(`[^`]*`)|<", lambda found: found[1] or "&lt;", text).strip() + "\n"


def _first(thing: Any) -> str:
    if isinstance(thing, str):
        return "The version of the package."
    paragraph = _text(thing).partition("\n\n")[0].replace("\n", " ").replace("|", "\\|").strip()
    return re.split(r"(?<=[.])\s", paragraph)[0]


def _fields(thing: Any) -> str:
    rows = []
    for field in dataclasses.fields(thing):
        if field.name.startswith("_"):
            continue
        default = "" if field.default is dataclasses.MISSING else f"`{field.default!r}`"
        if "object at 0x" in default or len(default) > LINE_CHARS:
            default = "..."
        kind = str(field.type).replace("|", "\\|")
        rows.append(f"| `{field.name}` | `{kind}` | {default} |")
    if not rows:
        return ""
    return "| field | type | default |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n"


def _links(value: Any, homes: dict[str, str], page: str) -> str:
    function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    texts = " ".join(str(text) for text in getattr(function, "__annotations__", {}).values())
    names = sorted({word for word in WORD.findall(texts) if word in homes})
    if not names:
        return ""
    links = (f"[`{n}`]({'' if homes[n] == page else homes[n] + '.md'}#{_anchor(n)})" for n in names)
    return "Types: " + ", ".join(links) + "\n"


def _errors_page() -> str:
    parts = [f"# Errors\n\n```text\n{inspect.cleandoc(errors.__doc__ or '')}\n```\n"]
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.FastmarketError):
            bases = ", ".join(base.__name__ for base in kind.__bases__)
            parts.append(
                f"## {name} {{ #{_anchor(name)} }}\n\n{_code(f'class {name}({bases})')}\n{_text(kind)}"
            )
    return "\n".join(parts)


def _anchor(name: str) -> str:
    return name.lower().replace(".", "-").strip("_")
