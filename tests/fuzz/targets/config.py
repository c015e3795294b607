"""What operators and callers write: configuration files, variables, options, URLs, sizes, tokens."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fastmarket.cli import parsing
from fastmarket.cli.configuration import faults, passphrase, show
from fastmarket.cli.settings import SETTINGS, ServerSettings, resolve
from fastmarket.config import AccessConfig, ContentConfig
from fastmarket.content.address import check_url, content_place
from fastmarket.content.allowed import AllowedPaths, shown_path
from fastmarket.errors import CallerFault
from fastmarket.fs import MarketFileSystem
from fastmarket.market.access import read_tokens
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.storage.store_url import StoreUrl
from tests.fuzz.target import Shape, Target, as_text, round_trips
from tests.fuzz.targets.storage import home
from tests.fuzz.values import ED25519

TOML = f"""port = 8080
host = "127.0.0.1"
http-port = 0
http_host = "::1"
http-name = ["a.example"]
content-port = 9
content-url = "https://a.example:99/x"
content-rate = "500kB"
metrics-port = 9
listen = ["/ip4/0.0.0.0/tcp/1"]
announce = ["/dns/a.b/tcp/5"]
bootstrap = ["/ip4/1.2.3.4/tcp/5/p2p/{ED25519[0].peer_id}"]
data-dir = "d"
store = "redis://user:word@h:1,[::1]:2"
kad-prefix = "/x"
large-table = true
disjoint-paths = 3
fresh = 0.5
mode = "client"
secrets-mode = "0440"
log-level = "info"
insecure = true
trace-endpoint = "http://h:1"
"""
ODD_TOML = (
    "port = 1979-05-27",
    "port = [1]",
    'data-dir = "~nobodyatall/x"',
    'data-dir = "a\\u0000b"',
    'tokens = "~\\u0000/b"',
    "listen = {a=1}",
    "fresh = nan",
    "fresh = inf",
    "mode = 3",
    "ephemeral = 1.5",
    "port = 0x10",
    '"\\u0000" = 1',
    'store = ["x"]',
    'store = "redis://[::1"',
    "x = " + "[" * 3000,
    "port = " + "9" * 3000,
)


def _shown(settings: ServerSettings) -> str:
    """What `config show` prints can be read again, and says the same, but for passwords."""
    text = show(settings)
    with home() as directory:
        (directory / "again.toml").write_text(text)
        again = resolve({"config": str(directory / "again.toml")}, {}, Path("/nowhere"))
    if "***" not in text and settings.data_dir is not None:
        assert replace(again, sources={}, config_file=None) == replace(settings, sources={}, config_file=None)
    return text


def toml_file(data: bytes) -> object:
    with home() as directory:
        path = directory / "node.toml"
        path.write_bytes(data)
        settings = resolve({"config": str(path)}, {}, Path("/nowhere"))
        faults(settings)
        settings.node_config()
    return _shown(settings)


def variables(data: bytes) -> object:
    """Environment variables, one a line."""
    lines = [line.partition(b"=") for line in data.split(b"\n")]
    environment = {as_text(name): as_text(value) for name, _, value in lines}
    settings = resolve({}, environment, Path("/nowhere"))
    settings.node_config()
    return show(settings)


def options(data: bytes) -> object:
    """Each parser of an option, with one text; the number says which."""
    setting = SETTINGS[data[0] % len(SETTINGS)] if data else SETTINGS[0]
    return setting.parse(as_text(data[1:]))


_OPTION_TEXTS = (
    *(
        "8080",
        "::1",
        "500kB",
        "/a:/b",
        "true",
        "0440",
        "0.5",
        "/x/y",
        "redis://h:1",
        "http://h:1/x",
        "a.b,c.d",
    ),
    *(f"/dns/a.b/tcp/5/p2p/{ED25519[0].peer_id}", "/ip4/0.0.0.0/tcp/1", "server"),
)


def chunker(data: bytes) -> object:
    return parsing.parse_chunker(as_text(data))


def store_url(data: bytes) -> object:
    url = StoreUrl.parse(as_text(data))
    if url.password:
        assert len(url.password) < 8 or url.password not in url.shown.replace("***", ""), (
            "a password is shown"
        )
    return round_trips(url.hosts, lambda _: StoreUrl.parse(url.shown).hosts)


def content_url(data: bytes) -> object:
    text = as_text(data)
    check_url(text)
    place = content_place(ContentConfig(url=text), 1, ())
    FileMetadata(place.ip, place.port, 1, ways=place.ways, url=place.url)
    return place.base_url


def market_url(data: bytes) -> object:
    found = MarketFileSystem._strip_protocol(as_text(data))
    assert MarketFileSystem._strip_protocol(found) == found or found.startswith("market://")
    return found


def sold_path(data: bytes) -> object:
    """A path of a caller: below the only directory that is allowed, or refused."""
    with home() as directory:
        (directory / "in" / "deep").mkdir(parents=True)
        (directory / "in" / "file").write_bytes(b"x")
        (directory / "in" / "link").symlink_to("../out")
        (directory / "out").write_bytes(b"secret")
        inside = str(directory / "in")
        text = as_text(data)
        asked = os.path.join(inside, text) if not text.startswith("/") else text
        shown_path(asked)
        found = AllowedPaths((inside,), ()).check(asked)
        assert os.path.realpath(found) == found
        assert found == inside or found.startswith(inside + "/"), "outside of what is allowed"
        return found


def tokens(data: bytes) -> object:
    return _secret(data, lambda path: read_tokens(AccessConfig(tokens=str(path))))


def passphrase_file(data: bytes) -> object:
    made = resolve({"ephemeral": "true"}, {}, None)
    return _secret(data, lambda path: passphrase(replace(made, passphrase_file=path)))


def _secret(data: bytes, read: Callable[[Path], object]) -> object:
    with home() as directory:
        path = directory / "secret"
        path.write_bytes(data)
        path.chmod(0o600)
        return read(path)


def _target(
    name: str,
    entry: str,
    seeds: Callable[[], list[bytes]],
    check: Callable[[bytes], object],
    shape: Shape = Shape.TEXT,
) -> Target:
    refusals = (CallerFault, ValueError) if name in ("option", "chunker") else (CallerFault,)
    return Target(name, f"fastmarket.{entry}", seeds, check, refusals, shape, spare_bytes=2 << 20)


TARGETS: tuple[Target, ...] = (
    _target(
        "toml",
        "cli.settings.read_toml",
        lambda: [TOML.encode(), *(line.encode() for line in ODD_TOML)],
        toml_file,
        Shape.TOML,
    ),
    _target(
        "environment",
        "cli.settings.resolve",
        lambda: [
            b"FASTMARKET_PORT=1\nFASTMARKET_DATA_DIR=~/x\nFASTMARKET_STORE=redis://u:p@h",
            b"FASTMARKET_FRESH=nan",
        ],
        variables,
    ),
    _target(
        "option",
        "cli.settings.Setting.parse",
        lambda: [bytes((at,)) + text.encode() for at in range(len(SETTINGS)) for text in _OPTION_TEXTS],
        options,
    ),
    _target("chunker", "cli.parsing.parse_chunker", lambda: [b"size-262144", b"size-0", b"rabin"], chunker),
    _target(
        "store-url",
        "storage.store_url.StoreUrl.parse",
        lambda: [
            b"redis://user:word@h:1,[::1]:2",
            b"rediss://:long%20password@a.example?ca_file=/x",
            b"redis://[::1",
            b"redis://h:99999",
        ],
        store_url,
    ),
    _target(
        "content-url",
        "content.address.check_url",
        lambda: [b"https://a.example:99/x/", b"http://[::1]", b"http://a@b", b"http://[::1"],
        content_url,
    ),
    _target(
        "market-url",
        "fs.MarketFileSystem._strip_protocol",
        lambda: [b"market://bafy/a/b", b"/bafy/", b"market://market://x"],
        market_url,
    ),
    _target(
        "sold-path",
        "content.allowed.AllowedPaths.check",
        lambda: [b"file", b"deep/../file", b"link", b"../out", b"/etc/passwd", b"x" * 300, b""],
        sold_path,
    ),
    _target(
        "tokens",
        "market.access.read_tokens",
        lambda: [b"read " + b"a" * 40 + b"\n# x\nwrite " + b"b" * 40 + b"\n", b"read x"],
        tokens,
    ),
    _target(
        "passphrase-file",
        "cli.configuration.passphrase",
        lambda: [b"word\nmore", b"\n", b"\xff"],
        passphrase_file,
    ),
)
