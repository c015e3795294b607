"""Secrets as platforms hand them over: every option that names one follows the same rule."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastmarket import secret_files
from fastmarket.cli import configuration
from fastmarket.cli.profile import Profile
from fastmarket.cli.settings import ServerSettings, resolve
from fastmarket.errors import CallerFault, FastmarketError
from fastmarket.secret_files import MAX_SECRET_BYTES, check_mode, read_secret
from fastmarket.storage.keys import KEY_FILE, load_or_create_identity
from tests.certificates import Authority

TOKENS = "write 0123456789abcdef0123456789abcdef\n"
Use = Callable[[Path, int, str], None]


def settings(tmp_path: Path, mode: str, **more: object) -> ServerSettings:
    options = {name.replace("_", "-"): value for name, value in more.items()}
    return resolve({"secrets-mode": mode, **options}, {}, tmp_path / "home")


def check(found: ServerSettings) -> None:
    """As `config check` does."""
    faults = configuration.faults(found)
    if faults:
        raise CallerFault("settings", "; ".join(faults))


def tokens(tmp_path: Path, mode: int, widest: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(TOKENS)
    path.chmod(mode)
    check(settings(tmp_path, widest, tokens=str(path)))


def tls_key(tmp_path: Path, mode: int, widest: str) -> None:
    pair = Authority(tmp_path).issue("server")
    pair.key.chmod(mode)
    check(settings(tmp_path, widest, tls_key=str(pair.key), tls_cert=str(pair.cert)))


def passphrase_file(tmp_path: Path, mode: int, widest: str) -> None:
    path = tmp_path / "passphrase"
    path.write_text("a long one\n")
    path.chmod(mode)
    found = settings(tmp_path, widest, passphrase_file=str(path))
    assert configuration.passphrase(found) == "a long one"


def config_with_a_password(tmp_path: Path, mode: int, widest: str) -> None:
    path = tmp_path / "node.toml"
    path.write_text(f'store = "redis://me:geheim@127.0.0.1:1"\nsecrets-mode = "{widest}"\n')
    path.chmod(mode)
    check(resolve({"config": str(path)}, {}, tmp_path / "home"))


def clients_token(tmp_path: Path, mode: int, widest: str) -> None:
    path = tmp_path / "token"
    path.write_text("0123456789abcdef\n")
    path.chmod(mode)
    assert Profile(token_file=path, secrets_mode=widest).token() == "0123456789abcdef"


def clients_tls_key(tmp_path: Path, mode: int, widest: str) -> None:
    pair = Authority(tmp_path).issue("client")
    pair.key.chmod(mode)
    Profile(tls_key=pair.key, secrets_mode=widest).check_key()


HANDED_OVER: list[Use] = [
    tokens,
    tls_key,
    passphrase_file,
    config_with_a_password,
    clients_token,
    clients_tls_key,
]


def own_key(tmp_path: Path, mode: int, widest: str) -> None:
    if not (tmp_path / KEY_FILE).exists():
        load_or_create_identity(tmp_path)
    (tmp_path / KEY_FILE).chmod(mode)
    load_or_create_identity(tmp_path, None, widest)


def clients_key(tmp_path: Path, mode: int, widest: str) -> None:
    if not (tmp_path / KEY_FILE).exists():
        load_or_create_identity(tmp_path)
    (tmp_path / KEY_FILE).chmod(mode)
    Profile(data_dir=tmp_path, secrets_mode=widest).user_id()


@pytest.mark.parametrize("use", [*HANDED_OVER, own_key, clients_key])
def test_wider_ones_are_refused_until_the_operator_accepts_them(
    tmp_path: Path, use: Use, caplog: pytest.LogCaptureFixture
) -> None:
    for mode in (0o600, 0o400):
        use(tmp_path, mode, "0600")
    assert caplog.text == ""
    for mode, widest in ((0o444, "0600"), (0o644, "0640"), (0o666, "0644"), (0o460, "0440")):
        with pytest.raises(
            FastmarketError, match=rf"may be read by others \(mode {mode:o}\).*--secrets-mode"
        ):
            use(tmp_path, mode, widest)
    assert caplog.text == ""
    with caplog.at_level(logging.WARNING):
        use(tmp_path, 0o444, "0444")
    assert "may be read by others (mode 444); accepted" in caplog.text
    assert "geheim" not in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="files of root wanted")
@pytest.mark.parametrize("use", HANDED_OVER)
def test_roots_files_for_our_group_are_as_good_as_ours(
    tmp_path: Path, use: Use, caplog: pytest.LogCaptureFixture
) -> None:
    """Kubernetes with fsGroup."""
    for mode in (0o440, 0o640):
        use(tmp_path, mode, "0600")
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("uid", "gid", "mode", "accepted"),
    [
        (0, 2000, 0o440, True),
        (0, 2000, 0o640, True),
        (0, 2000, 0o660, False),  # the group could put another in its place
        (0, 2000, 0o444, False),
        (0, 3000, 0o440, False),  # others' group
        (1000, 2000, 0o440, False),  # a user's, who has made it so
        (1000, 2000, 0o600, True),
        (0, 1000, 0o440, True),
    ],
)
def test_whose_it_is_decides(
    monkeypatch: pytest.MonkeyPatch, uid: int, gid: int, mode: int, accepted: bool
) -> None:
    monkeypatch.setattr(secret_files.os, "getgroups", lambda: [2000])
    monkeypatch.setattr(secret_files.os, "getegid", lambda: 1000)
    status: os.stat_result = SimpleNamespace(st_uid=uid, st_gid=gid, st_mode=0o100000 | mode)  # type: ignore[assignment]
    if accepted:
        check_mode(status, "secret", "tokens")
        return
    with pytest.raises(CallerFault, match="may be read by others"):
        check_mode(status, "secret", "tokens")


def test_credentials_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They show an ACL as the group's bits."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    tokens(tmp_path, 0o460, "0600")
    with pytest.raises(CallerFault, match="may be read by others"):
        tokens(tmp_path, 0o444, "0600")


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CallerFault, match=r"tokens: cannot read .*none: No such file"):
        read_secret(str(tmp_path / "none"), "tokens")
    with pytest.raises(CallerFault, match=r"tokens: cannot read .*Is a directory"):
        read_secret(str(tmp_path), "tokens")
    endless = tmp_path / "endless"
    endless.touch(0o600)
    os.truncate(endless, MAX_SECRET_BYTES + 1)
    with pytest.raises(CallerFault, match="is longer than"):
        read_secret(str(endless), "tokens")


@pytest.mark.parametrize("mode", ["600", "0640", "0444", "777"])
def test_a_mode_is_octal_digits(tmp_path: Path, mode: str) -> None:
    assert settings(tmp_path, mode).secrets_mode == mode.zfill(4)


@pytest.mark.parametrize("mode", ["rw-------", "0888", "44", "04444", "-600", 444, 0o444, ""])
def test_anything_else_is_none(tmp_path: Path, mode: object) -> None:
    with pytest.raises(CallerFault, match="--secrets-mode: expects octal digits"):
        resolve({"secrets-mode": mode}, {}, tmp_path)


def test_a_config_file_without_a_password_may_be_open(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    for store in ("redis://127.0.0.1:1", "redis://me@127.0.0.1:1"):
        path.write_text(f'store = "{store}"\n')
        path.chmod(0o644)
        check(resolve({"config": str(path)}, {}, tmp_path / "home"))


def test_a_pipe_is_read_and_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_files, "PIPE_S", 0.05)
    read_end, write_end = os.pipe()
    try:
        os.write(write_end, b"secret")
        with pytest.raises(CallerFault, match="the pipe's writer did not finish"):
            secret_files.read_secret(f"/dev/fd/{read_end}", "tokens")
        os.write(write_end, b"secret")
        os.close(write_end)
        assert secret_files.read_secret(f"/dev/fd/{read_end}", "tokens") == b"secret"
    finally:
        os.close(read_end)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(CallerFault, match="the pipe's writer did not finish"):
        secret_files.read_secret(str(tmp_path / "pipe"), "tokens")
