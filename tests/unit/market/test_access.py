"""Token files, certificates, and when plain text is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastmarket.config import AccessConfig
from fastmarket.errors import CallerFault
from fastmarket.market.access import AccessScope, credentials, is_loopback, read_tokens
from fastmarket.market.guard import from_here, host_of
from tests.certificates import Authority

READ, WRITE = "r" * 16, "w" * 20


def tokens_file(folder: Path, text: str, mode: int = 0o600) -> AccessConfig:
    path = folder / "tokens"
    path.touch(mode)
    path.chmod(mode)
    path.write_text(text)
    return AccessConfig(tokens=str(path))


def test_tokens_and_what_they_are_good_for(tmp_path: Path) -> None:
    tokens = read_tokens(tokens_file(tmp_path, f"# ours\n\nread {READ}\n  write\t{WRITE}\n"))
    assert tokens is not None
    assert len(tokens) == 2
    assert [found.scope for secret in (READ, WRITE) if (found := tokens.find(secret))] == [
        AccessScope.READ,
        AccessScope.WRITE,
    ]
    assert tokens.find("x" * 16) is None
    assert tokens.find("\udcff") is None
    write = tokens.find(WRITE)
    assert write is not None
    assert WRITE not in repr(write) + write.name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "1 to 1024 tokens, got 0"),
        ("read short", "line 1: a token has at least 16"),
        (f"\nadmin {READ}", "line 2: expects `read TOKEN`"),
        (f"read {READ} {READ}", "line 1: expects"),
    ],
)
def test_what_is_wrong_with_a_tokens_file_is_said_without_the_secret(
    tmp_path: Path, text: str, reason: str
) -> None:
    with pytest.raises(CallerFault, match=reason) as caught:
        read_tokens(tokens_file(tmp_path, text))
    assert caught.value.field == "tokens"
    assert READ not in str(caught.value)


def test_secrets_that_others_may_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CallerFault, match=r"may be read by others \(mode 644\); chmod 600"):
        read_tokens(tokens_file(tmp_path, f"read {READ}", 0o644))
    pair = Authority(tmp_path).issue("server")
    pair.key.chmod(0o644)
    with pytest.raises(CallerFault, match=r"tls-key: .* may be read by others"):
        credentials(AccessConfig(tls_cert=str(pair.cert), tls_key=str(pair.key)), "0.0.0.0")


def test_plain_text_stays_on_this_machine() -> None:
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        assert credentials(AccessConfig(), host) is None
    for host in ("0.0.0.0", "::", "192.0.2.1", "node.example.org"):
        assert not is_loopback(host)
        with pytest.raises(CallerFault, match=f"host: {host} is not loopback.*--insecure"):
            credentials(AccessConfig(), host)
        assert credentials(AccessConfig(insecure=True), host) is None


def test_faults_of_certificates_name_their_setting(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, other = authority.issue("one"), authority.issue("other")
    nonsense = tmp_path / "nonsense"
    nonsense.touch(0o600)
    cases = [
        (AccessConfig(tls_cert=str(one.cert)), "tls-key: missing"),
        (AccessConfig(tls_key=str(one.key)), "tls-cert: missing"),
        (AccessConfig(tls_client_ca=str(authority.ca)), "tls-cert: missing"),
        (AccessConfig(tls_cert=str(tmp_path / "no"), tls_key=str(one.key)), "tls-cert: cannot read"),
        (AccessConfig(tls_cert=str(nonsense), tls_key=str(one.key)), "tls-cert: .* holds no PEM certificate"),
        (AccessConfig(tls_cert=str(one.cert), tls_key=str(nonsense)), "tls-key: .* holds no PEM private key"),
        (AccessConfig(tls_cert=str(one.cert), tls_key=str(other.key)), "tls-key: .* is not the key of"),
    ]
    for config, reason in cases:
        with pytest.raises(CallerFault, match=reason):
            credentials(config, "0.0.0.0")


def test_who_calls() -> None:
    assert host_of("ipv4:192.0.2.1:4000") == "192.0.2.1"
    assert host_of("ipv6:%5B2001:db8::1%5D:4000") == "2001:db8::1"
    assert host_of("unix:") == "unix"
    assert [from_here(host_of(peer)) for peer in ("ipv4:127.0.0.1:1", "ipv6:%5B::1%5D:1", "unix:")] == [
        True
    ] * 3
    assert not from_here("192.0.2.1")
