"""Access control: TLS certificates and tokens from files, read when the server starts."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from fastmarket.errors import CallerFault
from fastmarket.secret_files import read_secret

if TYPE_CHECKING:  # a client, which takes no part of a node's configuration, loads this module as well
    from fastmarket.config import AccessConfig

_LINE = re.compile(r"(read|write)[ \t]+([\x21-\x7e]+)")


class AccessScope(Enum):
    """The access that a token grants and a method requires."""

    READ = "read"
    WRITE = "write"  # includes read access

    def allows(self, wanted: AccessScope) -> bool:
        """Whether a token of this scope may call a method that requires `wanted`."""
        return self is wanted or self is AccessScope.WRITE


@dataclass(frozen=True, slots=True)
class Token:
    """A token; only the SHA-256 of its secret is kept."""

    digest: bytes
    scope: AccessScope

    @property
    def name(self) -> str:
        """A name for counters and logs; it reveals nothing about the secret."""
        return f"token {self.digest[:4].hex()}"


class Tokens:
    """All tokens of a file. The lookup time depends only on their number."""

    def __init__(self, tokens: Iterable[Token]) -> None:
        self._tokens = tuple(tokens)

    def __len__(self) -> int:
        return len(self._tokens)

    def __iter__(self) -> Iterator[Token]:
        return iter(self._tokens)

    def find(self, secret: str) -> Token | None:
        """The token with that secret."""
        digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
        found = None
        for token in self._tokens:
            if hmac.compare_digest(token.digest, digest):
                found = token
        return found


def read_tokens(config: AccessConfig) -> Tokens | None:
    """The tokens in the file, or None if no file is configured. Raises CallerFault ("tokens")."""
    if not config.tokens:
        return None
    tokens = []
    lines = read_secret(config.tokens, "tokens", config.secrets_mode).decode("utf-8", "replace").splitlines()
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        where = f"{config.tokens}, line {number}"
        if match is None:
            raise CallerFault("tokens", f"{where}: expects `read TOKEN` or `write TOKEN`")
        if len(match[2]) < config.min_token_chars:
            raise CallerFault(
                "tokens", f"{where}: a token needs at least {config.min_token_chars} characters"
            )
        tokens.append(Token(hashlib.sha256(match[2].encode()).digest(), AccessScope(match[1])))
    if not 0 < len(tokens) <= config.max_tokens:
        raise CallerFault(
            "tokens", f"{config.tokens}: expects 1 to {config.max_tokens} tokens, got {len(tokens)}"
        )
    return Tokens(tokens)


def credentials(config: AccessConfig, host: str) -> grpc.ServerCredentials | None:
    """The TLS credentials to serve, or None for plain text. Renewed certificates need no restart.

    Raises CallerFault for an unusable file, and for plain text on an address other machines can reach.
    """
    if config.tls_cert or config.tls_key or config.tls_client_ca:
        for field in ("tls_cert", "tls_key"):
            if not getattr(config, field):
                raise CallerFault(field.replace("_", "-"), "missing; TLS needs a certificate and its key")
        return _Certificates(config).credentials()
    if not config.insecure and not is_loopback(host):
        raise CallerFault(
            "host",
            f"{host} is not loopback: others could read and change calls on the way. "
            "Give --tls-cert and --tls-key, or --insecure",
        )
    return None


def check_certificates(config: AccessConfig) -> None:
    """Raises CallerFault for files that TLS cannot be served with."""
    if config.tls_cert:
        _Certificates(config).credentials()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


class _Certificates:
    """The credential files; read again when they change."""

    def __init__(self, config: AccessConfig) -> None:
        self._config = config
        self._seen = self._state()

    def credentials(self) -> grpc.ServerCredentials:
        client_auth = bool(self._config.tls_client_ca)
        return grpc.dynamic_ssl_server_credentials(self._read(), self._renewed, client_auth)  # type: ignore[arg-type]

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """gRPC calls this before each handshake; None means no change."""
        state = self._state()
        if state == self._seen:
            return None
        self._seen = state
        try:
            return self._read()
        except CallerFault:
            return None  # partly written; the next change is noticed as well

    def _read(self) -> grpc.ServerCertificateConfiguration:
        config = self._config
        key = read_secret(config.tls_key, "tls-key", config.secrets_mode)
        cert = _pem(config.tls_cert, "tls-cert", b"CERTIFICATE")
        if b"PRIVATE KEY" not in key:
            raise CallerFault("tls-key", f"{config.tls_key} contains no PEM private key")
        _check_pair(cert, key, config)
        client_ca = config.tls_client_ca
        roots = _pem(client_ca, "tls-client-ca", b"CERTIFICATE") if client_ca else None
        return grpc.ssl_server_certificate_configuration([(key, cert)], root_certificates=roots)

    def _state(self) -> tuple[int, ...]:
        names = (self._config.tls_cert, self._config.tls_key, self._config.tls_client_ca)
        return tuple(_changed_at(Path(name)) for name in names if name)


def _check_pair(cert: bytes, key: bytes, config: AccessConfig) -> None:
    """Checks the pair here because gRPC reports a mismatch only in its own log."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        public = x509.load_pem_x509_certificate(cert).public_key()
    except ValueError as error:
        raise CallerFault("tls-cert", f"{config.tls_cert}: {error}") from None
    try:
        ours = load_pem_private_key(key, None).public_key()
    except (ValueError, TypeError) as error:
        raise CallerFault("tls-key", f"{config.tls_key}: {error}") from None
    if public != ours:
        raise CallerFault("tls-key", f"{config.tls_key} does not match {config.tls_cert}")


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _pem(name: str, field: str, what: bytes) -> bytes:
    text = _read(name, field)
    if b"-----BEGIN " + what not in text:
        raise CallerFault(field, f"{name} contains no PEM {what.decode().lower()}")
    return text


def _read(name: str, field: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise CallerFault(field, f"cannot read {name}: {error.strerror}") from None
