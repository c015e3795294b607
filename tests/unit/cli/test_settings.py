"""Server settings: precedence, and that every fault names the place it stands in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fastmarket.cli.settings import SETTINGS, ServerSettings, resolve
from fastmarket.config import HostConfig, PaymentConfig
from fastmarket.errors import CallerFault

HOME = Path("/nowhere/data")
PEER = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo"
SEED = f"/ip4/127.0.0.1/tcp/16899/p2p/{PEER}"


def settle(
    options: dict[str, object] | None = None, env: dict[str, str] | None = None, toml: Path | None = None
) -> ServerSettings:
    given = dict(options or {})
    if toml is not None:
        given["config"] = str(toml)
    return resolve(given, env or {}, HOME)


def toml_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(text)
    return path


def test_defaults() -> None:
    settings = settle()
    assert (settings.port, settings.host, settings.listen) == (8080, "127.0.0.1", HostConfig().listen)
    assert settings.announce == ()
    assert (settings.bootstrap, settings.data_dir, settings.kad_prefix) == ((), HOME, "/fastmarket")
    assert (settings.mode, settings.log_level, settings.log_format) == ("server", "info", "text")


def test_option_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    toml = toml_file(tmp_path, 'port = 1\nhost = "file"\nkad-prefix = "/file"\n')
    settings = settle({"port": "3"}, {"FASTMARKET_PORT": "2", "FASTMARKET_HOST": "environment"}, toml)
    assert (settings.port, settings.host, settings.kad_prefix) == (3, "environment", "/file")
    assert settings.source("port") == "--port"
    assert settings.source("host") == "FASTMARKET_HOST"
    assert settings.source("kad-prefix") == f"{toml}: kad-prefix"
    assert settings.source("mode") == "--mode"


def test_every_setting_may_stand_in_every_place(tmp_path: Path) -> None:
    values = {
        "port": "1234",
        "host": "::1",
        "tls-cert": "/cert",
        "tls-key": "/key",
        "tls-client-ca": "/ca",
        "tokens": "/tokens",
        "insecure": "true",
        "http-port": "8081",
        "http-host": "127.0.0.2",
        "http-name": "Node.example.org",
        "http-keep-alive": "90",
        "content-port": "8083",
        "content-host": "127.0.0.4",
        "content-url": "https://shop.example.org",
        "content-cert": "/content-cert",
        "content-key": "/content-key",
        "content-rate": "10MB",
        "allow-path": "/srv/a:/srv/b c",
        "payments": "true",
        "currency": "shells",
        "budget": "500",
        "credit": "8MB",
        "settlement": "x402=/x402.toml",
        "metrics-port": "9100",
        "metrics-host": "127.0.0.3",
        "trace-endpoint": "http://127.0.0.1:4318",
        "listen": "/ip4/127.0.0.1/tcp/0",
        "announce": "/dns4/node.example.org/tcp/4001",
        "bootstrap": SEED,
        "mdns": "on",
        "port-map": "off",
        "data-dir": "/data",
        "ephemeral": "false",
        "store": "redis://one,two",
        "kad-prefix": "/ipfs",
        "large-table": "true",
        "disjoint-paths": "8",
        "memory-limit": "1GB",
        "fresh": "1.5",
        "mode": "client",
        "passphrase-file": "/pass",
        "secrets-mode": "0440",
        "log-level": "debug",
        "log-format": "json",
    }
    assert set(values) == {setting.name for setting in SETTINGS}
    by_option = settle(dict(values) | {"ephemeral": False, "insecure": True})
    by_env = settle(env={setting.variable: values[setting.name] for setting in SETTINGS})
    flags = {setting.name for setting in SETTINGS if setting.flag}
    lines = [f"{name} = {value if name in flags else repr(value)}" for name, value in values.items()]
    by_file = settle(toml=toml_file(tmp_path, "\n".join(lines)))
    for settings in (by_option, by_env, by_file):
        assert settings.port == 1234
        assert settings.listen == ("/ip4/127.0.0.1/tcp/0",)
        assert settings.announce == ("/dns4/node.example.org/tcp/4001",)
        assert settings.bootstrap == (SEED,)
        assert (settings.data_dir, settings.passphrase_file) == (Path("/data"), Path("/pass"))
        files = (settings.tls_cert, settings.tls_key, settings.tls_client_ca, settings.tokens)
        assert files == (Path("/cert"), Path("/key"), Path("/ca"), Path("/tokens"))
        assert settings.insecure
        assert settings.trace_endpoint == "http://127.0.0.1:4318"
        assert settings.store == "redis://one,two"
        assert (settings.http_name, settings.http_keep_alive) == (("node.example.org",), 90)
        assert (settings.content_port, settings.content_host) == (8083, "127.0.0.4")
        assert (settings.content_url, settings.content_rate) == ("https://shop.example.org", 10_000_000)
        assert (settings.content_cert, settings.content_key) == (Path("/content-cert"), Path("/content-key"))
        assert settings.allow_path == ("/srv/a", "/srv/b c")
        assert (settings.large_table, settings.disjoint_paths) == (True, 8)
        assert settings.payments
        assert settings.settlement == "x402=/x402.toml"
        paying = settings.node_config().payments
        assert (paying.currency, paying.budget_per_day) == ("shells", 500)
        assert paying.credit == replace(PaymentConfig().credit, stranger_bytes=8_000_000)
        assert settings.fresh == 1.5
        assert settings.secrets_mode == "0440"
        assert (settings.mode, settings.log_level, settings.log_format) == ("client", "debug", "json")


def test_several_addresses_in_the_environment_and_in_the_file(tmp_path: Path) -> None:
    two = ("/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0")
    assert settle(env={"FASTMARKET_LISTEN": ", ".join(two)}).listen == two
    assert settle(toml=toml_file(tmp_path, f"listen = {list(two)}")).listen == two
    assert settle({"listen": two}).listen == two


def test_a_file_may_write_underscores_and_its_paths_are_relative_to_it(tmp_path: Path) -> None:
    settings = settle(toml=toml_file(tmp_path, 'data_dir = "kept"\nlog_level = "error"'))
    assert settings.data_dir == tmp_path / "kept"
    assert settings.log_level == "error"


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    toml = toml_file(tmp_path, "port = 77")
    assert settle(env={"FASTMARKET_CONFIG": str(toml)}).port == 77


def test_a_stronger_place_decides_where_the_node_lives(tmp_path: Path) -> None:
    keeps = toml_file(tmp_path, 'data-dir = "/kept"')
    assert settle({"ephemeral": True}, toml=keeps).data_dir is None
    assert settle({"data-dir": "/mine"}, {"FASTMARKET_EPHEMERAL": "1"}).data_dir == Path("/mine")
    assert settle(env={"FASTMARKET_EPHEMERAL": "yes"}, toml=keeps).data_dir is None
    assert settle(env={"FASTMARKET_EPHEMERAL": "no"}, toml=keeps).data_dir == Path("/kept")


@pytest.mark.parametrize(
    ("options", "field", "part"),
    [
        ({"port": "65536"}, "--port", "65535"),
        ({"content-rate": "10 MiB"}, "--content-rate", "10MB"),
        ({"currency": "gold coins"}, "--currency", "printable"),
        ({"currency": "x" * 33}, "--currency", "1 to 32"),
        ({"budget": "-1"}, "--budget", "whole units"),
        ({"budget": "1.5"}, "--budget", "whole units"),
        ({"budget": str(1 << 63)}, "--budget", "whole units"),
        ({"credit": "1MB"}, "--credit", "2097152 to"),
        ({"credit": "1GB"}, "--credit", "to 268435456 bytes"),
        ({"content-url": "shop.example.org"}, "--content-url", "http://"),
        ({"port": "-1"}, "--port", "'-1'"),
        ({"port": "http"}, "--port", "'http'"),
        ({"port": "9" * 5000}, "--port", "expects a port"),
        ({"host": "  "}, "--host", "text"),
        ({"host": "not an address"}, "--host", "host name"),
        ({"listen": ("nonsense",)}, "--listen", "'nonsense'"),
        ({"listen": ("/ip4/127.0.0.1/udp/1/quic-v1",)}, "--listen", "cannot listen"),
        ({"listen": ("/dns4/example.org/tcp/1",)}, "--listen", "cannot listen"),
        ({"listen": (SEED,)}, "--listen", "cannot listen"),
        ({"listen": (SEED.replace("/p2p/", "/ipfs/"),)}, "--listen", "cannot listen"),
        ({"listen": ("/ip4/300.0.0.1/tcp/1",)}, "--listen", "not a multiaddr"),
        ({"announce": ("node.example.org:4001",)}, "--announce", "not a multiaddr"),
        ({"announce": ("/ip4/1.2.3.4/tcp/0",)}, "--announce", "cannot be dialed"),
        ({"announce": ("/ip4/1.2.3.4/udp/1/quic-v1",)}, "--announce", "cannot be dialed"),
        ({"bootstrap": ("/ip4/127.0.0.1/tcp/1",)}, "--bootstrap", "/p2p/PEER_ID"),
        ({"bootstrap": ("/ip4/127.0.0.1/tcp/1/p2p/xyz",)}, "--bootstrap", "not a multiaddr"),
        ({"bootstrap": (f"/p2p/{PEER}",)}, "--bootstrap", "cannot dial"),
        ({"bootstrap": (f"/ip4/0.0.0.0/tcp/1/p2p/{PEER}",)}, "--bootstrap", "where others reach the node"),
        ({"bootstrap": (f"/ip6/::/tcp/1/p2p/{PEER}",)}, "--bootstrap", "where others reach the node"),
        ({"bootstrap": (f"/dns/a.example/tcp/0/p2p/{PEER}",)}, "--bootstrap", "where others reach the node"),
        ({"announce": ("/ip4/0.0.0.0/tcp/1",)}, "--announce", "where others reach the node"),
        ({"announce": ("/ip6/::/tcp/1",)}, "--announce", "where others reach the node"),
        ({"kad-prefix": "fastmarket"}, "--kad-prefix", "/fastmarket"),
        ({"fresh": "61"}, "--fresh", "0 to 60"),
        ({"fresh": "nan"}, "--fresh", "0 to 60"),
        ({"disjoint-paths": "0"}, "--disjoint-paths", "1 to 16"),
        ({"disjoint-paths": "17"}, "--disjoint-paths", "1 to 16"),
        ({"large-table": "perhaps"}, "--large-table", "true or false"),
        ({"kad-prefix": "/" + "x" * 500}, "--kad-prefix", "/fastmarket"),
        ({"mode": "both"}, "--mode", "server or client"),
        ({"log-level": "loud"}, "--log-level", "debug or info"),
        ({"log-format": "xml"}, "--log-format", "text or json"),
        ({"data-dir": "/d", "ephemeral": True}, "--data-dir", "--ephemeral"),
        ({"config": "/no/such/file.toml"}, "--config", "/no/such/file.toml"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], field: str, part: str) -> None:
    with pytest.raises(CallerFault) as caught:
        settle(options)
    assert caught.value.field == field
    assert part in caught.value.reason


@pytest.mark.parametrize(
    ("text", "field", "part"),
    [
        ("prot = 1", "prot", "did you mean port?"),
        ("[server]\nport = 1", "server", "unknown setting"),
        ("port = true", "port", "65535"),
        ("port = 1.5", "port", "65535"),
        ('listen = ["/ip4/127.0.0.1/tcp/0", 7]', "listen", "7"),
        ("listen = []", "listen", "no address"),
        ("listen = 5", "listen", "list"),
        ('ephemeral = "maybe"', "ephemeral", "true or false"),
        ('ephemeral = true\ndata-dir = "/d"', "data-dir", "ephemeral"),
        ("data-dir = 5", "data-dir", "text"),
    ],
)
def test_bad_files_are_named_with_the_key(tmp_path: Path, text: str, field: str, part: str) -> None:
    toml = toml_file(tmp_path, text)
    with pytest.raises(CallerFault) as caught:
        settle(toml=toml)
    assert caught.value.field == f"{toml}: {field}"
    assert part in caught.value.reason


@pytest.mark.parametrize(
    "raw", [b"port = = 1", b"\xff\xfe", b"port = " + b"9" * 5000, b"port = " + b"[" * 5000]
)
def test_what_is_no_toml(tmp_path: Path, raw: bytes) -> None:
    toml = tmp_path / "node.toml"
    toml.write_bytes(raw)
    with pytest.raises(CallerFault, match="is not TOML"):
        settle(toml=toml)


@pytest.mark.parametrize("key", ["tokens", "data-dir", "listen", "allow-path"])
def test_a_text_with_nul_is_named_before_a_file_is_asked_for_it(tmp_path: Path, key: str) -> None:
    for text in ('"~\\u0000/x"', '["/a", "/b\\u0000"]'):
        with pytest.raises(CallerFault, match="contains NUL") as caught:
            settle(toml=toml_file(tmp_path, f"{key} = {text}"))
        assert caught.value.field.endswith(f"node.toml: {key}")


def test_a_bad_variable_is_named() -> None:
    with pytest.raises(CallerFault) as caught:
        settle(env={"FASTMARKET_PORT": "x"})
    assert caught.value.field == "FASTMARKET_PORT"
