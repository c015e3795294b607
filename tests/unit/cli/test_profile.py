"""Who the client's user is: precedence, checks, defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastmarket.cli.profile import PARSERS, Profile, change, resolve
from fastmarket.errors import CallerFault


def test_option_beats_environment_beats_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "login")
    profile = resolve({"port": "3"}, {"FASTMARKET_CLIENT_PORT": "2", "FASTMARKET_CLIENT_CLIENT_PORT": "4"})
    assert (profile.port, profile.client_port, profile.client_ip) == (3, 4, "127.0.0.1")
    assert (profile.username, profile.price, profile.id) == ("login", None, None)
    assert profile.data_dir.name == "client"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("port", "0"),
        ("port", "65536"),
        ("client-port", "416320"),
        ("client-port", "x"),
        ("price", "-1"),
        ("price", "0.5"),
        ("price", str(2**63)),
        ("price", "9" * 9999),
        ("price", "٣"),
        ("username", ""),
        ("username", "é" * 129),
        ("id", "x" * 1025),
        ("client-ip", " "),
    ],
)
def test_what_is_wrong_is_named_by_where_it_stands(name: str, text: str) -> None:
    variable = "FASTMARKET_CLIENT_" + name.replace("-", "_").upper()
    for label, told in ((f"--{name}", {name: text}), (name, None)):
        with pytest.raises(CallerFault) as caught:
            resolve(told, {}) if told is not None else change(Profile(), name, text)
        assert caught.value.field == label
    if text:  # an empty variable is one that is not set
        with pytest.raises(CallerFault) as caught:
            resolve({}, {variable: text})
        assert caught.value.field == variable


def test_edges() -> None:
    profile = resolve({"price": "0", "port": "65535", "client-port": "1", "id": " x "}, {})
    assert (profile.price, profile.port, profile.client_port, profile.id) == (0, 65535, 1, "x")
    assert change(profile, "price", str(2**63 - 1)).price == 2**63 - 1
    with pytest.raises(CallerFault, match="one of " + ", ".join(PARSERS)):
        change(profile, "colour", "red")


def test_targets() -> None:
    assert Profile(host="node.example", port=1).target == "node.example:1"
    assert Profile(host="::1", port=1).target == "[::1]:1"


def test_registering_needs_a_price() -> None:
    with pytest.raises(CallerFault) as caught:
        Profile().wanted_price()
    assert caught.value.field == "--price"
    assert Profile(price=0).wanted_price() == 0


def test_the_users_key_is_made_once(tmp_path: Path) -> None:
    profile = Profile(data_dir=tmp_path / "user")
    assert profile.user_id() == profile.user_id() != Profile(data_dir=tmp_path / "other").user_id()
    assert profile.user_id().startswith("12D3KooW")
    assert Profile(id="me", data_dir=tmp_path / "never").user_id() == "me"
    assert not (tmp_path / "never").exists()
    (tmp_path / "file").touch()
    with pytest.raises(CallerFault, match="cannot keep a key"):
        Profile(data_dir=tmp_path / "file" / "below").user_id()
