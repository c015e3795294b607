"""A default of the server is stated once, in `fastmarket.config`: everything else shows it from there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import pytest

from fastmarket.cli.defaults import FIELDS, FILES, OWN, UNASKED, default_of, node_config, shown_default
from fastmarket.cli.profile import Profile
from fastmarket.cli.server import server_command
from fastmarket.cli.settings import SETTINGS, resolve
from fastmarket.config import NodeConfig
from tests.sources import nodes_of

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "fastmarket"
DEFAULTS = NodeConfig()
GRPC_PORT = str(DEFAULTS.market.port)
LISTEN_PORT = DEFAULTS.host.listen[0].rpartition("/")[2]
PORTS = re.compile(rf"\b({GRPC_PORT}|{LISTEN_PORT})\b")
# The client's port is an option of its own, and its module must not take the time to load the node's.
OF_THE_CLIENT = "cli/profile.py"
# Files of the command line in which no default may stand at all.
TOLD = ("cli/settings.py", "cli/server.py", "cli/configuration.py", "cli/defaults.py")
PROSE = (
    ROOT / "README.md",
    ROOT / "docs" / "operations.md",
    *(path for path in (ROOT / "packaging").rglob("*") if path.is_file() and path.suffix != ".json"),
)


def constants(path: Path) -> Iterator[object]:
    """Every literal of a module but its docstrings."""
    docstrings = {node.value for node in nodes_of(path) if isinstance(node, ast.Expr)}
    for node in nodes_of(path):
        if isinstance(node, ast.Constant) and node not in docstrings:
            yield node.value


def test_no_module_beside_the_configuration_names_a_default_port() -> None:
    found = {
        path.relative_to(SOURCES).as_posix()
        for path in SOURCES.rglob("*.py")
        if path.parent.name != "config" and "pb" not in path.parts
        for value in constants(path)
        if isinstance(value, int | str) and PORTS.search(str(value))
    }
    assert found == {OF_THE_CLIENT}
    assert Profile().port == DEFAULTS.market.port


def distinct(value: object) -> bool:
    """Whether it is unlike what a program is full of."""
    return value not in (None, "", (), False, True, 0, 1)


@pytest.mark.parametrize("module", TOLD)
def test_the_command_line_has_no_default_of_a_node(module: str) -> None:
    places = [place for name, place in FIELDS.items() if name not in UNASKED]
    defaults = {attrgetter(place)(DEFAULTS) for place in places} | set(DEFAULTS.host.listen)
    found = set(constants(SOURCES / module)) & {value for value in defaults if distinct(value)}
    assert found == set(), "take it from fastmarket.cli.defaults"
    assert not [text for text in constants(SOURCES / module) if isinstance(text, str) and "[default" in text]


def test_the_program_s_own_defaults_stand_there_alone() -> None:
    assert not set(OWN) & set(FIELDS)
    assert set(OWN) | set(FIELDS) == {row.name for row in SETTINGS} - {
        "data-dir",
        "ephemeral",
        "passphrase-file",
    }


def test_what_nobody_sets_is_what_a_node_has_by_itself(tmp_path: Path) -> None:
    given = {name: attrgetter(FIELDS[name])(DEFAULTS) for name in UNASKED}
    settings = resolve(dict(given), {}, tmp_path)
    assert settings.node_config() == DEFAULTS
    assert node_config({name: default_of(name) for name in FIELDS} | given) == DEFAULTS


def test_what_the_program_does_unasked_a_node_does_not(tmp_path: Path) -> None:
    config = resolve({}, {}, tmp_path).node_config()
    for name, value in UNASKED.items():
        assert attrgetter(FIELDS[name])(config) == value
        assert attrgetter(FIELDS[name])(DEFAULTS) == "off"


@pytest.mark.parametrize("name", FIELDS)
def test_each_setting_reaches_its_field(name: str, tmp_path: Path) -> None:
    values = {row: default_of(row) for row in FIELDS}
    values[name] = "client" if name == "mode" else tmp_path / "a" if name in FILES else ("another",)
    config = node_config(values)
    changed = attrgetter(FIELDS[name])(config)
    assert changed == {"mode": False}.get(name, str(tmp_path / "a") if name in FILES else ("another",))
    others = {place: attrgetter(place) for row, place in FIELDS.items() if row not in (name, *UNASKED)}
    assert all(read(config) == read(DEFAULTS) for read in others.values())


def test_help_shows_the_defaults() -> None:
    help_of = {option.name: getattr(option, "help", "") for option in server_command().params}
    for row in SETTINGS:
        shown = shown_default(row.name)
        assert (f"[{shown}]" in help_of[row.field]) if shown else ("[" not in help_of[row.field])
    for name, text in (
        ("port", f"default: {DEFAULTS.market.port}"),
        ("listen", f"default: {DEFAULTS.host.listen[0]}"),
        ("fresh", f"default: {DEFAULTS.offers.fresh_s:g}"),
        ("mode", "default: server"),
        ("http-port", "off"),
        ("insecure", ""),
        ("tls-cert", ""),
    ):
        assert shown_default(name) == text


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_what_cannot_be_made_from_it_agrees(path: Path) -> None:
    """Pages for people, and files that other programs read, name the ports as they are."""
    text = path.read_text()
    tcp = re.findall(r"(?:TCP(?: port)?|EXPOSE|and port) (\d{4,5})\b", text)
    assert set(tcp) <= {LISTEN_PORT, GRPC_PORT}
    assert set(re.findall(r"TCP (\d+) \(`--listen`\)", text)) <= {LISTEN_PORT}
    assert set(re.findall(r"TCP (\d+) \(`--port`\)", text)) <= {GRPC_PORT}
    assert set(re.findall(r"(?:EXPOSE|TCP port) (\d+)", text)) <= {LISTEN_PORT}
    assert set(re.findall(r"(?:gRPC on|grpcurl -plaintext|call it at) [\d.]+:(\d+)", text)) <= {GRPC_PORT}
