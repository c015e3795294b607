"""The node's private key at rest: one PKCS#8 PEM file, for its owner's eyes only, encrypted on request.

What stands there is never overwritten: a damaged key is reported, and its owner decides.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from fastmarket.errors import CallerFault, NodeFault
from fastmarket.formats.identity import Identity
from fastmarket.formats.key_types import ED25519_BYTES
from fastmarket.secret_files import OWNER_ALONE, check_mode
from fastmarket.storage.directory import KEY_FILE

log = logging.getLogger(__name__)

# RSA of 8192 bits takes some 6,500 bytes as PEM.
MAX_KEY_FILE_BYTES = 64 * 1024
# OWASP's scrypt setting of 16 MiB and 5 rounds, some 0.2 s. OpenSSL reads no more than 32 MiB by default.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**14, 8, 5
_PROTECTION = "scryptAndAES256-CBC"

_RSA_OID = "1.2.840.113549.1.1.1"
_EC_OID = "1.2.840.10045.2.1"
# An EC PARAMETERS block may stand before the key.
_PEM_BLOCK = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)
_PLAIN_PKCS8 = "PRIVATE KEY"
_ENCRYPTED_PKCS8 = "ENCRYPTED PRIVATE KEY"
_PEM_LINE_CHARS = 64  # RFC 7468
_READABLE = (_PLAIN_PKCS8, _ENCRYPTED_PKCS8, "RSA PRIVATE KEY", "EC PRIVATE KEY")
# All that pycryptodome raises on damaged input; a ValueError is also its answer to a wrong passphrase.
_PARSER_ERRORS = (ValueError, TypeError, IndexError, KeyError)


def load_or_create_identity(
    data_dir: Path, passphrase: str | None = None, secrets_mode: str = OWNER_ALONE
) -> Identity:
    """The identity in `data_dir`; at the first call a new Ed25519 one, durable on return.

    Several processes that call at once get the same. CallerFault: the file is open to others ("identity"), or
    the passphrase is missing, wrong or not used by it ("passphrase"). NodeFault: the file is damaged, or
    cannot be read or written. Either names the file. `secrets_mode`: how open the file may be (secret_files).
    """
    path = data_dir / KEY_FILE
    identity = _load(path, passphrase, secrets_mode)
    if identity is not None:
        return identity
    identity = Identity.from_seed(secrets.token_bytes(ED25519_BYTES))
    if _store_new(path, export_identity(identity, passphrase)):
        log.info("a new identity, %s, is in %s", identity.peer_id, path)
        return identity
    identity = _load(path, passphrase, secrets_mode)  # another process was first
    if identity is None:
        raise NodeFault(f"{path} exists, but what it points to does not")
    return identity


def save_identity(data_dir: Path, identity: Identity, passphrase: str | None = None) -> None:
    """Keep `identity` as that of `data_dir`; CallerFault("identity") if there is one already."""
    path = data_dir / KEY_FILE
    if not _store_new(path, export_identity(identity, passphrase)):
        raise CallerFault("identity", f"{path} exists; move it away first")


def export_identity(identity: Identity, passphrase: str | None = None) -> bytes:
    """PKCS#8 PEM, encrypted (PBES2: scrypt, AES-256-CBC) if there is a passphrase."""
    if passphrase is None:
        return _pem(identity.to_pkcs8(), _PLAIN_PKCS8)
    return _pem(_rewrap(identity.to_pkcs8(), None, _secret(passphrase)), _ENCRYPTED_PKCS8)


def import_identity(source: bytes, passphrase: str | None = None) -> Identity:
    """From a key made elsewhere: Ed25519, RSA, ECDSA (NIST curves) or secp256k1.

    `source` is PEM (PKCS#8, PKCS#1, SEC1, encrypted or not) or a libp2p PrivateKey message, as it is or in
    base64. CallerFault: "passphrase" if it is missing or wrong, "private_key" otherwise.
    """
    if len(source) > MAX_KEY_FILE_BYTES:
        raise CallerFault("private_key", f"longer than {MAX_KEY_FILE_BYTES} bytes")
    if b"-----BEGIN" in source:
        return _from_pem(_pem_block(source), passphrase)
    with suppress(binascii.Error):  # bytes that are no base64 are the message itself
        source = base64.b64decode(b"".join(source.split()), validate=True)
    return Identity.from_private_bytes(source)


def _secret(passphrase: str) -> bytes:
    if not passphrase:
        raise CallerFault("passphrase", "is empty")
    return passphrase.encode("utf-8", "surrogateescape")  # a command line may hold any bytes


def _rewrap(der: bytes, opened_by: bytes | None, closed_by: bytes | None) -> bytes:
    """PKCS#8 DER, encrypted with one passphrase or none, under another or none; `_PARSER_ERRORS`."""
    # Here and below: 5 MB that most nodes, whose key is not encrypted, do without.
    from Crypto.IO import PKCS8
    from Crypto.Util.asn1 import DerNull, DerObject, DerObjectId

    oid, key, params = PKCS8.unwrap(der, opened_by)
    algorithm: DerObject | None = None
    if oid == _RSA_OID:
        algorithm = DerNull()
    elif oid == _EC_OID and params is not None:
        algorithm = DerObjectId().decode(params)
    if closed_by is None:
        return PKCS8.wrap(key, oid, key_params=algorithm)
    return PKCS8.wrap(
        key,
        oid,
        closed_by,
        _PROTECTION,
        {
            "iteration_count": _SCRYPT_N,
            "block_size": _SCRYPT_R,
            "parallelization": _SCRYPT_P,
            "salt_size": 16,
        },
        key_params=algorithm,
    )


def _pem_block(source: bytes) -> str:
    found = _PEM_BLOCK.search(source.decode("utf-8", "replace"))
    if found is None or found[1] not in _READABLE:
        raise CallerFault("private_key", f"no PEM block of {', '.join(_READABLE)}")
    return found[0]


def _is_encrypted(block: str) -> bool:
    return _ENCRYPTED_PKCS8 in block or "Proc-Type: 4,ENCRYPTED" in block


def _from_pem(block: str, passphrase: str | None) -> Identity:
    if not _is_encrypted(block):
        return Identity.from_pkcs8(_plain_body(block))
    if passphrase is None:
        raise CallerFault("passphrase", "missing; the key is encrypted")
    secret = _secret(passphrase)
    from Crypto.IO import PEM

    try:
        der, marker, _ = PEM.decode(block, secret)
        if marker == _ENCRYPTED_PKCS8:
            der = _rewrap(der, secret, None)
    except _PARSER_ERRORS:
        # `from None`: an error of the parser could quote the key
        raise CallerFault("passphrase", "wrong, or the key is damaged") from None
    return Identity.from_pkcs8(der)


def _plain_body(block: str) -> bytes:
    """What stands between the first line and the last."""
    try:
        return base64.b64decode("".join("".join(block.splitlines()[1:-1]).split()), validate=True)
    except (binascii.Error, ValueError):
        raise CallerFault("private_key", "damaged PEM") from None


def _pem(der: bytes, label: str) -> bytes:
    text = base64.b64encode(der).decode()
    lines = [text[at : at + _PEM_LINE_CHARS] for at in range(0, len(text), _PEM_LINE_CHARS)]
    return "\n".join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", "")).encode()


def _load(path: Path, passphrase: str | None, secrets_mode: str) -> Identity | None:
    """The identity in the file, None if there is no file."""
    try:
        content = _read_private(path, secrets_mode)
    except OSError as error:
        raise NodeFault(f"cannot read {path}: {error.strerror}") from error
    if content is None:
        return None
    try:
        block = _pem_block(content)
        if passphrase is not None and not _is_encrypted(block):
            raise CallerFault("passphrase", "the key is not encrypted")
        return _from_pem(block, passphrase)
    except CallerFault as fault:
        if fault.field == "passphrase":
            raise CallerFault("passphrase", f"of {path}: {fault.reason}") from None
        raise NodeFault(f"{path} holds no usable key and was left as it is: {fault.reason}") from None


def _read_private(path: Path, secrets_mode: str) -> bytes | None:
    """The content of a file that only its owner may open; None if it does not exist. OSError, CallerFault."""
    try:
        # Non-blocking: opening a pipe would wait for its other end.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CallerFault("identity", f"{path} is not a file")
        check_mode(status, str(path), "identity", secrets_mode, ours=True)
        return os.read(descriptor, MAX_KEY_FILE_BYTES)
    finally:
        os.close(descriptor)


def _store_new(path: Path, content: bytes) -> bool:
    """Whether `content` is now, durably, at `path`; False if something stood there. NodeFault."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _link_new(path, content)
    except OSError as error:
        raise NodeFault(f"cannot write {path}: {error.strerror}") from error


def _link_new(path: Path, content: bytes) -> bool:
    """Writes aside and links into place: atomic, and unlike a rename it never replaces. OSError."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(aside, path)
        except FileExistsError:
            return False
    finally:
        aside.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return True
