"""Makes the site of the documentation: `make docs` builds it from docs/ and from the sources themselves.

`python -m tools.make_docs` puts all pages into .make/docs (those of docs/, and the reference, which is made
here) and has zensical build .make/site of them; a link that leads nowhere fails the build. Nothing that is
generated is kept in the repository, so nothing there can be out of date.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from tools.make_docs_api import api_pages
from tools.make_docs_cli import cli_pages
from tools.make_docs_proto import proto_pages

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CONFIG = "zensical.toml"
UNSEARCHED = "---\nsearch:\n  exclude: true\n---\n"
SOURCE = "source"  # where files of the repository outside docs/ stand on the site
LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\]\()([^)\s]+)(\))")
FENCE = re.compile(r"^( *)(```+|~~~+).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
PICTURES = frozenset({".svg", ".png"})
LANGUAGES = {
    ".py": "python",
    ".pyx": "cython",
    ".proto": "protobuf",
    ".toml": "toml",
    ".json": "json",
    ".sh": "bash",
    ".yaml": "yaml",
    ".service": "ini",
}
# Sections of docs/operations.md that are pages of the reference on the site.
SECTIONS = {"Metrics": "metrics.md", "Spans": "spans.md", "Log lines": "log-lines.md"}


class Site:
    """The pages that the site is built from, by their paths below its root."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        self.files: dict[str, Path] = {}

    def collect(self) -> None:
        """All of them."""
        for path in sorted(DOCS.rglob("*")):
            place = path.relative_to(DOCS).as_posix()
            if path.suffix == ".md":
                self._add(place, f"docs/{place}", path.read_text())
            elif path.suffix in PICTURES | {".css", ".js"}:
                self.files[place] = path
        self._take_out_sections()
        # Python's Markdown shows an empty piece of code as two marks.
        self.pages["parameters.md"] = self.pages["parameters.md"].replace("| `` |", "| empty |")
        for place in navigation():
            if place.startswith(f"{SOURCE}/"):
                self._take_in(PurePosixPath(place).relative_to(SOURCE))
        for place, text in {**api_pages(), **proto_pages(), **cli_pages()}.items():
            self._add(f"reference/{place}", f"docs/reference/{place}", text)

    def write(self, target: Path) -> None:
        """Below `target`, which is made anew."""
        shutil.rmtree(target, ignore_errors=True)
        for place, text in self.pages.items():
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            (target / place).write_text(text)
        for place, path in self.files.items():
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / place)

    def _add(self, place: str, origin: str, text: str) -> None:
        """One page, its links out of docs/ turned into links to pages with those files."""
        if place in self.pages:
            return
        self.pages[place] = ""  # it is under way: pages link to each other
        self.pages[place] = outside_fences(
            text, lambda part: LINK.sub(lambda f: f[1] + self._link(f[2], place, origin) + f[3], part)
        )

    def _link(self, link: str, place: str, origin: str) -> str:
        path, mark, anchor = link.partition("#")
        if ":" in path or not path:
            return link
        target = PurePosixPath(posixpath.normpath(PurePosixPath(origin).parent / path))
        if target.parts[:1] == ("docs",) and target.suffix != ".1":
            home = PurePosixPath(*target.parts[1:])
        else:
            home = self._take_in(target)
        return posixpath.relpath(home, PurePosixPath(place).parent) + mark + anchor

    def _take_in(self, target: PurePosixPath) -> PurePosixPath:
        """A file or directory outside docs/ gets a page; where that is."""
        path = ROOT / target
        if not path.exists():
            raise FileNotFoundError(f"a page links to {target}, which is not there")
        home = PurePosixPath(SOURCE) / target
        if path.is_dir():
            readme = path / "README.md"
            if readme.exists():
                return self._take_in(target / "README.md")
            home /= "index.md"
            self._add(str(home), str(target / "index.md"), _listing(path, target))
        elif path.suffix == ".md":
            self._add(str(home), str(target), path.read_text())
        elif path.suffix in PICTURES:
            self.files[str(home)] = path
        else:
            home = home.with_name(home.name + ".md")
            language = LANGUAGES.get(path.suffix, "text")
            body = f"# {target}\n\n~~~~{language}\n{path.read_text()}\n~~~~\n"
            self._add(str(home), str(target), UNSEARCHED + body)
        return home

    def _take_out_sections(self) -> None:
        """Long tables of the operator's page are pages of the reference; where they stood, a line says so."""
        text = self.pages["operations.md"]
        for heading, place in SECTIONS.items():
            before, mark, rest = text.partition(f"\n## {heading}\n")
            body, next_mark, after = rest.partition("\n## ")
            assert mark, f"docs/operations.md has no section {heading}"
            text = f"{before}{mark}\nSee [{heading}](reference/{place}).\n{next_mark}{after}"
            moved = LINK.sub(lambda f: f[1] + _from_reference(f[2]) + f[3], body)
            self.pages[f"reference/{place}"] = f"# {heading}\n{moved}"
        self.pages["operations.md"] = text


def outside_fences(text: str, change: Callable[[str], str]) -> str:
    """`text` with all but its blocks of code changed."""
    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [change(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(text[end:])])


def navigation() -> Iterator[str]:
    """The pages of the navigation, in order."""

    def walk(entries: list[object]) -> Iterator[str]:
        for entry in entries:
            if isinstance(entry, dict):
                for value in entry.values():
                    yield from walk(value if isinstance(value, list) else [value])
            else:
                yield str(entry)

    yield from walk(tomllib.loads((DOCS / CONFIG).read_text())["project"]["nav"])


def _from_reference(link: str) -> str:
    return link if ":" in link or link.startswith("#") else f"../{link}"


def _listing(path: Path, target: PurePosixPath) -> str:
    names = sorted(child.name for child in path.iterdir() if child.is_file())
    return f"# {target}\n\n" + "".join(f"- [{name}]({name})\n" for name in names)


def main() -> int:
    """Writes the pages, and builds the site of them."""
    made = ROOT / ".make"
    site = Site()
    site.collect()
    site.write(made / "docs")
    shutil.copyfile(DOCS / CONFIG, made / CONFIG)
    command = [
        sys.executable,
        "-m",
        "zensical",
        "build",
        "--strict",
        "--clean",
        "--config-file",
        str(made / CONFIG),
    ]
    return subprocess.run(command, cwd=made, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
