"""The documentation is what the programs do: links lead somewhere, commands exist, programs run."""

from __future__ import annotations

import ast
import errno
import os
import posixpath
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import click
import pytest
import yaml

import fastmarket
from fastmarket import errors
from fastmarket.cli.profile import Profile
from fastmarket.cli.settings import SETTINGS, read_toml
from fastmarket.config import NodeConfig
from fastmarket.pb import market_pb2
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1
from tests.sources import nodes_of
from tools.make_docs import LINK, SOURCE, Site, navigation, outside_fences
from tools.make_docs_api import documented
from tools.make_docs_cli import commands

ROOT = Path(__file__).parents[2]
RUN_DEADLINE_S = 60.0
MIN_QUOTED_CHARS = 8  # of a message; shorter parts are found anywhere
CODE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.*?)(?: *\{ *#([\w.-]+) *\})?$", re.MULTILINE)


PORT_OPTION = re.compile(r"(?:--(?:http|metrics)-port[ =]|FASTMARKET_(?:HTTP|METRICS)_PORT: \")(\d+)")


@pytest.fixture(scope="module")
def site() -> Site:
    made = Site()
    made.collect()
    return made


def written_pages() -> Iterator[tuple[str, str]]:
    """Those that people write."""
    for path in (*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        yield path.relative_to(ROOT).as_posix(), path.read_text()


def test_ports_of_examples_are_free_beside_the_defaults() -> None:
    """Whoever types what is written must not meet a port of the same machine's node or client."""
    listening = {addr.rpartition("/tcp/")[2] for addr in NodeConfig().host.listen}
    taken = {str(NodeConfig().market.port), str(Profile().client_port), *listening}
    texts = dict(written_pages())
    for path in (ROOT / "packaging" / "container" / "compose.yaml", ROOT / "docs/man/fastmarket-server.1"):
        texts[path.name] = path.read_text().replace("\\-", "-")
    found = {(page, port) for page, text in texts.items() for port in PORT_OPTION.findall(text)}
    assert len(found) > 3
    assert not [pair for pair in found if pair[1] in taken]


def code(*languages: str) -> Iterator[tuple[str, str]]:
    for page, text in written_pages():
        for indent, language, body in CODE.findall(text):
            if language in languages:
                yield page, re.sub(f"^{indent}", "", body, flags=re.MULTILINE)


def shell_lines() -> Iterator[tuple[str, list[str]]]:
    """Each command of a block of shell, its words; the output beside it is left out."""
    for page, body in code("console", "bash", "sh"):
        for line in body.replace("\\\n", " ").splitlines():
            if line.startswith(("$ ", "# ")):
                for part in re.split(r"&&|\|(?!\|)|;", line[2:]):
                    # What stands in $(...) is a command of its own; only those of ours matter here.
                    for command in re.split(r"\$\(|\)", part):
                        words = re.sub(r"\.\.\.|[\"']", "", command).split()
                        yield page, words[: words.index("#")] if "#" in words else words


def anchors(text: str) -> set[str]:
    """Of the headings of a page, as the site names them."""
    found = set()
    for title, given in HEADING.findall(outside_code(text)):
        plain = re.sub(r"[^\w\s-]", "", title.replace("`", "")).strip().lower()
        found.add(given or re.sub(r"[-\s]+", "-", plain))
    return found


def outside_code(text: str) -> str:
    parts: list[str] = []
    outside_fences(text, lambda part: parts.append(part) or part)  # type: ignore[func-returns-value]
    return "".join(parts)


def test_every_link_leads_somewhere(site: Site) -> None:
    wrong = []
    for place, text in site.pages.items():
        for _, link, _ in LINK.findall(outside_code(text)):
            path, _, anchor = link.partition("#")
            if ":" in path:
                continue
            target = posixpath.normpath(PurePosixPath(place).parent / path) if path else place
            there = target in site.pages or target in site.files
            if not there or (anchor and anchor not in anchors(site.pages[target])):
                wrong.append(f"{place}: {link}")
    assert not wrong


def test_the_navigation_has_every_page(site: Site) -> None:
    listed = list(navigation())
    assert len(listed) == len(set(listed))
    told = {page for page in site.pages if not page.startswith(f"{SOURCE}/")} | {f"{SOURCE}/CONTRIBUTING.md"}
    assert set(listed) == told


def test_every_public_name_is_in_the_reference(site: Site) -> None:
    assert documented() == set(fastmarket.__all__)
    pages = "".join(text for page, text in site.pages.items() if page.startswith("reference/api/"))
    for name in fastmarket.__all__:
        assert f"\n## {name} " in pages, name
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.FastmarketError):
            assert f"\n## {name} " in site.pages["reference/api/errors.md"], name


@pytest.mark.parametrize(
    ("page", "service"),
    [
        ("grpc-market.md", market_pb2.DESCRIPTOR.services_by_name["Market"]),
        ("grpc-v1.md", v1.DESCRIPTOR.services_by_name["Market"]),
    ],
)
def test_every_method_and_field_is_in_the_reference(site: Site, page: str, service: object) -> None:
    text = site.pages[f"reference/{page}"]
    for method in service.methods:  # type: ignore[attr-defined]
        assert f"\n### {method.name} {{" in text
    for message in service.file.message_types_by_name.values():  # type: ignore[attr-defined]
        section = text.partition(f"\n### {message.name} {{")[2].partition("\n### ")[0]
        for field in message.fields:
            row = re.search(rf"^\| `{field.name}` \| .* \| (.*) \|$", section, re.MULTILINE)
            assert row is not None, f"{message.name}.{field.name}"


def test_every_command_and_setting_is_in_the_reference(site: Site) -> None:
    for name, command in commands().items():
        page = site.pages[f"reference/cli-{name}.md"]
        assert isinstance(command, click.Group)
        for options in (command.params, *(sub.params for sub in command.commands.values())):
            for option in options:
                assert isinstance(option, click.Argument) or option.opts[-1] in page
        for sub in command.commands:
            assert f"### {sub}" in page
    for setting in SETTINGS:
        assert f"`{setting.variable}`" in site.pages["reference/settings.md"]


def test_the_commands_that_pages_show_exist() -> None:
    programs = {f"fastmarket-{name}": command for name, command in commands().items()}
    wrong, seen = [], 0
    for page, words in shell_lines():
        program = next((word for word in words if word.rpartition("/")[2] in programs), None)
        if program is None or words[0] not in (program, "eval"):
            continue
        seen += 1
        command = programs[program.rpartition("/")[2]]
        known = {
            option for part in walk(command) for p in part.params for option in (*p.opts, *p.secondary_opts)
        }
        known |= {"--help", "-h", "--version", "--config"}
        for word in words[words.index(program) + 1 :]:
            if word.startswith("-") and word.partition("=")[0] not in known:
                wrong.append(f"{page}: {program} {word}")
    assert not wrong
    assert seen > 40


def walk(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        for sub in command.commands.values():
            yield from walk(sub)


def test_options_and_variables_in_the_text_exist() -> None:
    variables = {setting.variable for setting in SETTINGS} | {"FASTMARKET_CONFIG"}
    for page, text in written_pages():
        if page.startswith(("docs/how-to/", "docs/tutorial/", "docs/troubleshooting")):
            for variable in re.findall(r"\bFASTMARKET_\w+", text):
                assert variable in variables, f"{page}: {variable}"


def test_make_targets_in_the_text_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page, text in written_pages():
        for target in re.findall(r"(?:`|^\$ )make ([a-z-]+)", text, re.MULTILINE):
            assert target in targets, f"{page}: make {target}"


def test_files_in_the_text_exist() -> None:
    """Pages name modules as `kad/engine.py` and folders as `kad/wire/`; both may be moved."""
    places = (ROOT, ROOT / "src" / "fastmarket", ROOT / "src" / "fastmarket" / "native", ROOT / "docs")
    wrong = []
    for page, text in written_pages():
        for path in re.findall(
            r"`((?:[a-z_.][\w.-]*/)+(?:\w[\w.-]*\.(?:pyx|pyi|py|h|md|proto|toml))?)`", outside_code(text)
        ):
            name = path.removeprefix("src/fastmarket/")
            if not any((place / name).exists() for place in places):
                wrong.append(f"{page}: {path}")
    assert not wrong


def test_settings_files_are_accepted(tmp_path: Path) -> None:
    seen = 0
    for _, body in code("toml"):
        file = tmp_path / "node.toml"
        file.write_text(body)
        read_toml(file)
        tomllib.loads(body)
        seen += 1
    assert seen


def test_yaml_is_yaml() -> None:
    for _, body in code("yaml"):
        assert isinstance(yaml.safe_load(body), dict)


def test_python_names_what_there_is() -> None:
    for page, body in code("python"):
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fastmarket"):
                module = __import__(node.module or "", fromlist=["*"])
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{page}: {node.module}.{alias.name}"


def programs() -> list[str]:
    """Those of the tutorial that need no node beside them."""
    found = dict(written_pages())["docs/tutorial/embedding.md"]
    return [body for _, language, body in CODE.findall(found) if language == "python" and "bootstrap" in body]


@pytest.mark.parametrize("program", programs(), ids=["node", "dht"])
def test_the_programs_of_the_tutorial_run(program: str, tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(program)
    command = [sys.executable, "-W", "error", str(file)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=RUN_DEADLINE_S, cwd=ROOT / "src", check=False
    )
    assert done.returncode == 0, shlex.join(command) + done.stderr
    assert "192.0.2.1:9001" in done.stdout


def told_texts() -> str:
    """Every text of the sources, those of the system's errors, too."""
    texts = [os.strerror(number).lower() for number in errno.errorcode]
    for path in (ROOT / "src" / "fastmarket").rglob("*.py"):
        constants = (node.value for node in nodes_of(path) if isinstance(node, ast.Constant))
        texts += [text for text in constants if isinstance(text, str)]
    return "\n".join(texts)


def test_messages_that_pages_quote_are_what_the_programs_say() -> None:
    """The first column of the troubleshooting page; a part that varies is `...` there, or an example."""
    differs = re.compile(r"\.\.\.|--[\w-]+|/?[\d.]+[\w.:/]*|\([^)]*\)|\b[NM]\b")
    told, wrong, seen = told_texts(), [], 0
    for row in re.findall(
        r"^\| `([^|]* [^|]*)` \|", dict(written_pages())["docs/troubleshooting.md"], re.MULTILINE
    ):
        for part in differs.split(row):
            if len(part.strip(" :;`'[]")) >= MIN_QUOTED_CHARS:
                seen += 1
                wrong += [part] if part.strip(" :;`'[]") not in told else []
    assert not wrong
    assert seen
