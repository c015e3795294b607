"""`fastmarket-server config show|check`: the settings in force, their sources, and whether a node would
start.

Nothing is created, opened for writing or bound: both are safe to run beside a node.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from fastmarket.cli.settings import SETTINGS, ServerSettings, Setting
from fastmarket.errors import CallerFault, FastmarketError, NodeFault

Check = Callable[[ServerSettings], None]
# Setting -> the module it needs, and the extra that installs it.
EXTRAS = (
    ("http-port", "uvicorn", "http"),
    ("metrics-port", "prometheus_client", "metrics"),
    ("store", "redis", "fleet"),
    ("trace-endpoint", "opentelemetry.sdk", "tracing"),
)
HIDDEN = "***"


def show(settings: ServerSettings) -> str:
    """TOML that --config reads, with the source of each value in a comment. Passwords are masked."""
    lines = [_line(setting, settings) for setting in SETTINGS]
    width = max(len(line) for line, _ in lines if len(line) <= 60)
    return "".join(f"{line:<{width}}  # {source}\n" for line, source in lines)


def _line(setting: Setting, settings: ServerSettings) -> tuple[str, str]:
    value = _value(setting, settings)
    source = settings.sources.get(setting.name, "default")
    if value is None or value == "" or value == ():
        return f"# {setting.name}: none", source
    return f"{setting.name} = {_toml(value)}", source


def _value(setting: Setting, settings: ServerSettings) -> object:
    if setting.name == "ephemeral":
        return settings.data_dir is None
    if setting.name == "store" and settings.store:
        return _shown_store(settings.store)
    return getattr(settings, setting.field)


def _shown_store(url: str) -> str:
    scheme, _, rest = url.partition("://")
    who, at, hosts = rest.rpartition("@")
    user = who.partition(":")[0]
    return f"{scheme}://{f'{user}:{HIDDEN}' if ':' in who else who}{at}{hosts}"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(str(value), ensure_ascii=False)


def faults(settings: ServerSettings) -> list[str]:
    """Everything that would keep a node from starting with these settings, worded as the start would."""
    found = []
    for check in (*_EXTRA_CHECKS, _store, _memory, check_config_file, _tls, _tokens, _data_dir, _identity):
        try:
            check(settings)
        except CallerFault as fault:
            found.append(f"{settings.source(fault.field)}: {fault.reason}")
        except FastmarketError as fault:
            found.append(str(fault))
    return found


def _needs(name: str, module: str, extra: str) -> Check:
    def check(settings: ServerSettings) -> None:
        wanted = getattr(settings, name.replace("-", "_")) not in (None, "")
        if wanted and (find_spec(module.partition(".")[0]) is None or find_spec(module) is None):
            raise CallerFault(name, f"needs {module}: pip install 'fastmarket[{extra}]'")

    return check


_EXTRA_CHECKS = tuple(_needs(*row) for row in EXTRAS)


def _store(settings: ServerSettings) -> None:
    if settings.store and find_spec("redis") is not None:
        from fastmarket.storage.store_url import StoreUrl

        StoreUrl.parse(settings.store)


def _memory(settings: ServerSettings) -> None:
    from fastmarket.memory_limit import fitted

    fitted(settings.node_config())


def _tls(settings: ServerSettings) -> None:
    from fastmarket.market.access import credentials

    credentials(settings.node_config().access, settings.host)


def _tokens(settings: ServerSettings) -> None:
    from fastmarket.market.access import read_tokens

    read_tokens(settings.node_config().access)


def _data_dir(settings: ServerSettings) -> None:
    """The directory exists and is ours, or can be created."""
    if settings.data_dir is None:
        return
    try:
        path = next(_existing(settings.data_dir))
    except OSError as error:
        raise CallerFault("data-dir", f"cannot reach {settings.data_dir}: {error.strerror}") from None
    if not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
        raise CallerFault("data-dir", f"cannot write to {settings.data_dir}")


def _existing(path: Path) -> Iterator[Path]:
    yield from (place for place in (path.absolute(), *path.absolute().parents) if place.exists())


def _identity(settings: ServerSettings) -> None:
    """An existing key can be read; a missing one will be created."""
    from fastmarket.storage.directory import KEY_FILE
    from fastmarket.storage.keys import load_or_create_identity

    directory = settings.data_dir
    try:
        secret = passphrase(settings)
        if directory is not None and (directory / KEY_FILE).exists():
            load_or_create_identity(directory, secret, settings.secrets_mode)
    except OSError as error:
        raise NodeFault(f"{directory}: {error.strerror}") from None
    except CallerFault as fault:
        if fault.field == "passphrase-file":
            raise
        raise CallerFault("data-dir", str(fault)) from None


def check_config_file(settings: ServerSettings) -> None:
    """A file that contains the store's password is a secret. Raises CallerFault ("store")."""
    path = settings.config_file
    if path is None or settings.sources.get("store") != f"{path}: store" or not _has_password(settings.store):
        return
    from fastmarket.secret_files import check_mode

    try:
        status = os.stat(path)
    except OSError as error:
        raise CallerFault("store", f"cannot read {path}: {error.strerror}") from None
    check_mode(status, str(path), "store", settings.secrets_mode)


def _has_password(url: str) -> bool:
    return ":" in url.partition("://")[2].rpartition("@")[0]


def passphrase(settings: ServerSettings) -> str | None:
    """The first line of the file. Raises CallerFault ("passphrase-file")."""
    path = settings.passphrase_file
    if path is None:
        return None
    from fastmarket.secret_files import read_secret

    try:
        lines = read_secret(str(path), "passphrase-file", settings.secrets_mode).decode().splitlines()
    except UnicodeDecodeError as error:
        raise CallerFault("passphrase-file", f"cannot read {path}: {error}") from None
    if not lines or not lines[0]:
        raise CallerFault("passphrase-file", f"the first line of {path} is empty")
    return lines[0]
