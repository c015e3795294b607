"""The client's user and node, from options, environment and defaults.

An option beats the environment variable FASTMARKET_CLIENT_<OPTION> (so --client-port is
FASTMARKET_CLIENT_CLIENT_PORT), and that beats the default.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from fastmarket.cli.parsing import parse_mode
from fastmarket.cli.places import NO_HOME, expanded, user_data_directory
from fastmarket.errors import CallerFault
from fastmarket.secret_files import OWNER_ALONE, read_secret

ENVIRONMENT_PREFIX = "FASTMARKET_CLIENT_"
MAX_PRICE = 2**63 - 1  # market.User carries an int64
MAX_PORT = 65535
MAX_NAME_BYTES = 256  # of an offer's user name
MAX_ID_BYTES = 1024  # of an offer's user id


@dataclass(frozen=True, slots=True)
class Profile:
    """What commands may need. `price` or `id` None: not given; `data_dir` None: the user has no home."""

    host: str = "127.0.0.1"
    port: int = 8080
    username: str = ""
    price: int | None = None
    id: str | None = None
    client_ip: str = "127.0.0.1"
    client_port: int = 8081
    data_dir: Path | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    token_file: Path | None = None
    secrets_mode: str = OWNER_ALONE

    @property
    def target(self) -> str:
        """`host:port`, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def token(self) -> str | None:
        """The first line of --token-file, which only its owner may read."""
        if self.token_file is None:
            return None
        text = read_secret(str(self.token_file), "--token-file", self.secrets_mode).decode("utf-8", "replace")
        token = text.partition("\n")[0].strip()
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise CallerFault("--token-file", f"{self.token_file} does not begin with a token")
        return token

    def check_key(self) -> None:
        """Checks the file mode of --tls-key."""
        if self.tls_key is not None:
            read_secret(str(self.tls_key), "--tls-key", self.secrets_mode)

    def wanted_price(self, act: str = "registering") -> int:
        """The price, for commands that require it; `act`: what they do."""
        if self.price is None:
            raise CallerFault("--price", f"missing; {act} needs a price per MB")
        return self.price

    def kept_in(self) -> Path:
        """The data directory, for commands that require it."""
        if self.data_dir is None:
            raise CallerFault("--data-dir", f"missing; {NO_HOME}")
        return self.data_dir

    def user_id(self) -> str:
        """--id, or else the peer id of the user's key, which is created if there is none yet."""
        if self.id is not None:
            return self.id
        from fastmarket.storage.keys import load_or_create_identity

        directory = self.kept_in()
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            return str(load_or_create_identity(directory, None, self.secrets_mode).peer_id)
        except OSError as error:
            raise CallerFault("--data-dir", f"cannot keep a key in {directory}: {error.strerror}") from None


def _whole(text: str, least: int, most: int) -> int:
    # isdecimal alone would accept digits of other scripts; a sign is never allowed.
    if not (text.isascii() and text.isdecimal()) or len(text) > 20 or not least <= int(text) <= most:
        raise ValueError(f"expects a whole number from {least} to {most}, not {text!r}")
    return int(text)


def _text(limit: int) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not text.strip():
            raise ValueError("is empty")
        if len(text.encode("utf-8", "replace")) > limit:
            raise ValueError(f"is longer than {limit} bytes")
        return text.strip()

    return parse


PARSERS: Mapping[str, Callable[[str], object]] = {
    "host": _text(253),
    "port": lambda text: _whole(text, 1, MAX_PORT),
    "username": _text(MAX_NAME_BYTES),
    "price": lambda text: _whole(text, 0, MAX_PRICE),
    "id": _text(MAX_ID_BYTES),
    "client-ip": _text(253),
    "client-port": lambda text: _whole(text, 1, MAX_PORT),
    "data-dir": expanded,
    "tls-ca": expanded,
    "tls-cert": expanded,
    "tls-key": expanded,
    "token-file": expanded,
    "secrets-mode": parse_mode,
}


def change(profile: Profile, name: str, text: str, label: str = "") -> Profile:
    """`profile` with one field changed; raises CallerFault under `label` (default: the name itself)."""
    parse = PARSERS.get(name)
    if parse is None:
        raise CallerFault(label or name, "unknown; one of " + ", ".join(PARSERS))
    try:
        return replace(profile, **{name.replace("-", "_"): parse(text)})  # type: ignore[arg-type]
    except ValueError as error:
        raise CallerFault(label or name, str(error)) from None


def resolve(options: Mapping[str, str], environment: Mapping[str, str]) -> Profile:
    """The profile in force; `options` holds by name only those given."""
    profile = Profile()
    told = set()
    for name in PARSERS:
        variable = ENVIRONMENT_PREFIX + name.replace("-", "_").upper()
        if name in options:
            profile = change(profile, name, options[name], f"--{name}")
        elif environment.get(variable):
            profile = change(profile, name, environment[variable], variable)
        else:
            continue
        told.add(name)
    if "username" not in told:
        profile = replace(profile, username=_login_name())
    if "data-dir" not in told:
        directory = user_data_directory()
        profile = replace(profile, data_dir=None if directory is None else directory / "client")
    return profile


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container without a passwd entry
        return "anonymous"


assert {name.replace("-", "_") for name in PARSERS} == {field.name for field in fields(Profile)}
