"""The settings of `fastmarket-server`, and where each value came from.

Order of precedence: option, environment variable, TOML file, default. Every fault names the source of the
value ("--port", "FASTMARKET_PORT", "node.toml: port").
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fastmarket.cli.defaults import FIELDS, default_of, node_config
from fastmarket.cli.parsing import parse_flag, parse_path
from fastmarket.cli.places import NO_HOME, expanded
from fastmarket.cli.setting_rows import ENVIRONMENT_PREFIX, SETTINGS, Setting
from fastmarket.config import NodeConfig
from fastmarket.errors import CallerFault

__all__ = ["SETTINGS", "Layer", "ServerSettings", "Setting", "read_toml", "resolve"]


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """All settings of the server. `data_dir` None: a node that stores nothing (--ephemeral)."""

    port: int
    host: str
    tls_cert: Path | None
    tls_key: Path | None
    tls_client_ca: Path | None
    tokens: Path | None
    insecure: bool
    http_port: int | None
    http_host: str
    http_name: tuple[str, ...]
    http_keep_alive: int
    content_port: int | None
    content_host: str
    content_url: str
    content_cert: Path | None
    content_key: Path | None
    content_rate: int
    allow_path: tuple[str, ...]
    payments: bool
    settlement: str
    currency: str
    budget: int | None
    credit: int
    metrics_port: int | None
    metrics_host: str
    trace_endpoint: str
    listen: tuple[str, ...]
    announce: tuple[str, ...]
    bootstrap: tuple[str, ...]
    mdns: str
    port_map: str
    data_dir: Path | None
    store: str = field(repr=False)  # it may contain a password
    kad_prefix: str
    large_table: bool
    disjoint_paths: int
    fresh: float
    memory_limit: int | None
    mode: str
    passphrase_file: Path | None
    secrets_mode: str
    log_level: str
    log_format: str
    sources: Mapping[str, str]
    config_file: Path | None = None

    def node_config(self) -> NodeConfig:
        """The configuration of the node."""
        return node_config({name: getattr(self, _BY_NAME[name].field) for name in FIELDS})

    def source(self, name: str) -> str:
        """The source of the setting `name` ("data-dir"), as the user would write it."""
        return self.sources.get(name, f"--{name}")


_BY_NAME = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True)
class Layer:
    """The settings from one source; `label` turns a setting's name into what the user wrote there."""

    values: Mapping[str, object] = field(repr=False)  # may contain the store's password
    label: Callable[[Setting], str]


def resolve(
    options: Mapping[str, object], environment: Mapping[str, str], default_data_dir: Path | None
) -> ServerSettings:
    """The settings in force.

    `options` are those given on the command line, by name ("kad-prefix", and "config" for the TOML file).
    Raises CallerFault whose field names the source of the wrong value.
    """
    layers = [
        Layer({k: v for k, v in options.items() if k != "config"}, lambda s: f"--{s.name}"),
        Layer(
            {s.name: environment[s.variable] for s in SETTINGS if environment.get(s.variable)},
            lambda s: s.variable,
        ),
    ]
    config_file = None
    config = options.get("config") or environment.get(ENVIRONMENT_PREFIX + "CONFIG")
    if config:
        config_file = _config_path(str(config))
        layers.append(read_toml(config_file))
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    for layer in reversed(layers):
        _check_one_home(layer)
        for name, raw in layer.values.items():
            setting = _BY_NAME[name]
            sources[name] = setting_source = layer.label(setting)
            try:
                values[name] = setting.parse(raw)
            except ValueError as error:
                raise CallerFault(setting_source, str(error)) from None
        _drop_other_home(layer, values)
    return replace(_settings(values, sources, default_data_dir), config_file=config_file)


def _config_path(text: str) -> Path:
    try:
        return expanded(text)
    except ValueError as error:
        raise CallerFault("--config", str(error)) from None


def _check_one_home(layer: Layer) -> None:
    ephemeral = layer.values.get("ephemeral")
    if "data-dir" in layer.values and ephemeral is not None and _is_yes(ephemeral):
        first, second = (layer.label(_BY_NAME[name]) for name in ("data-dir", "ephemeral"))
        raise CallerFault(first, f"cannot be combined with {second}")


def _is_yes(raw: object) -> bool:
    try:
        return parse_flag(raw)
    except ValueError:
        return False


def _drop_other_home(layer: Layer, values: dict[str, object]) -> None:
    """A data directory from a stronger source overrides --ephemeral from a weaker one, and vice versa."""
    if "data-dir" in layer.values:
        values["ephemeral"] = False
    elif values.get("ephemeral") and "ephemeral" in layer.values:
        values.pop("data-dir", None)


def _settings(
    values: Mapping[str, object], sources: Mapping[str, str], default_data_dir: Path | None
) -> ServerSettings:
    ephemeral = bool(values.get("ephemeral"))
    data_dir = None if ephemeral else values.get("data-dir") or default_data_dir
    if data_dir is None and not ephemeral:
        raise CallerFault("--data-dir", f"missing; {NO_HOME}. Give it, or --ephemeral to store nothing")
    chosen: dict[str, Any] = {row.field: values.get(row.name, default_of(row.name)) for row in SETTINGS}
    del chosen["ephemeral"]
    return ServerSettings(**{**chosen, "data_dir": data_dir}, sources=sources)


def read_toml(path: Path) -> Layer:
    """The settings of a TOML file; keys may use `-` or `_`. Paths are relative to the file."""
    import difflib
    import tomllib

    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise CallerFault("--config", f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # of TOML, of UTF-8, and a number of thousands of digits
        raise CallerFault("--config", f"{path} is not TOML: {error}") from None
    except RecursionError:
        raise CallerFault("--config", f"{path} is not TOML of ours: it is nested too deeply") from None
    values: dict[str, object] = {}
    for key, value in document.items():
        name = key.replace("_", "-")
        if name not in _BY_NAME:
            close = difflib.get_close_matches(name, _BY_NAME, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise CallerFault(f"{path}: {key}", f"unknown setting{hint}")
        texts = value if isinstance(value, list) else [value]
        if any(isinstance(text, str) and "\0" in text for text in texts):
            raise CallerFault(f"{path}: {key}", "contains NUL, which no option or variable can")
        if _BY_NAME[name].parse is parse_path and isinstance(value, str) and value:
            value = str(path.parent / os.path.expanduser(value))
        values[name] = value
    return Layer(values, lambda setting: f"{path}: {setting.name}")
