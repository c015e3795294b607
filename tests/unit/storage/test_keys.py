from __future__ import annotations

import base64
import json
import multiprocessing
import os
import subprocess
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from fastmarket.errors import CallerFault, NodeFault
from fastmarket.formats.identity import Identity
from fastmarket.storage.directory import KEY_FILE
from fastmarket.storage.keys import (
    MAX_KEY_FILE_BYTES,
    export_identity,
    import_identity,
    load_or_create_identity,
    save_identity,
)

KEYS = json.loads((Path(__file__).parents[2] / "vectors" / "peer_ids.json").read_text())["keys"]
MAKE: dict[str, Callable[[], object]] = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}
each_kind = pytest.mark.parametrize("vector", KEYS, ids=lambda vector: vector["type"])


def of(vector: dict[str, str]) -> Identity:
    return Identity.from_private_bytes(bytes.fromhex(vector["private"]))


def field_of(call: pytest.ExceptionInfo[CallerFault]) -> str:
    return call.value.field


def test_made_once_and_kept(tmp_path: Path) -> None:
    home = tmp_path / "not" / "yet"
    identity = load_or_create_identity(home)
    assert load_or_create_identity(home).to_private_bytes() == identity.to_private_bytes()
    assert load_or_create_identity(tmp_path / "other").peer_id != identity.peer_id


def test_for_the_owner_alone_and_nothing_left_beside(tmp_path: Path) -> None:
    home = tmp_path / "home"
    previous = os.umask(0)
    try:
        load_or_create_identity(home)
    finally:
        os.umask(previous)
    assert (home / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700
    assert os.listdir(home) == [KEY_FILE]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_refused_when_open_to_others(tmp_path: Path, mode: int) -> None:
    load_or_create_identity(tmp_path)
    (tmp_path / KEY_FILE).chmod(mode)
    with pytest.raises(CallerFault, match=KEY_FILE) as caught:
        load_or_create_identity(tmp_path)
    assert field_of(caught) == "identity"
    (tmp_path / KEY_FILE).chmod(0o400)
    load_or_create_identity(tmp_path)


def test_passphrase(tmp_path: Path) -> None:
    identity = load_or_create_identity(tmp_path, "correct horse")
    content = (tmp_path / KEY_FILE).read_bytes()
    assert content.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert load_or_create_identity(tmp_path, "correct horse").peer_id == identity.peer_id
    for wrong in ("battery staple", None, ""):
        with pytest.raises(CallerFault, match=KEY_FILE) as caught:
            load_or_create_identity(tmp_path, wrong)
        assert field_of(caught) == "passphrase"
    assert (tmp_path / KEY_FILE).read_bytes() == content


def test_a_passphrase_that_protects_nothing_is_refused(tmp_path: Path) -> None:
    load_or_create_identity(tmp_path)
    with pytest.raises(CallerFault, match="not encrypted"):
        load_or_create_identity(tmp_path, "secret")
    with pytest.raises(CallerFault, match="empty"):
        load_or_create_identity(tmp_path / "new", "")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk",
        b"\xff\xfe" * 100,
        b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n",
    ],
)
def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / KEY_FILE
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(NodeFault, match=KEY_FILE):
        load_or_create_identity(tmp_path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("keep", [10, 60, 100])
def test_a_truncated_file(tmp_path: Path, keep: int) -> None:
    load_or_create_identity(tmp_path)
    path = tmp_path / KEY_FILE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(NodeFault, match=KEY_FILE):
        load_or_create_identity(tmp_path)
    assert len(path.read_bytes()) == keep


def test_an_encrypted_file_with_a_changed_byte(tmp_path: Path) -> None:
    load_or_create_identity(tmp_path, "secret")
    path = tmp_path / KEY_FILE
    lines = path.read_bytes().split(b"\n")
    der = bytearray(base64.b64decode(b"".join(lines[1:-2])))
    der[-20] ^= 1
    path.write_bytes(b"\n".join([lines[0], base64.b64encode(der), *lines[-2:]]))
    with pytest.raises((CallerFault, NodeFault), match=KEY_FILE):
        load_or_create_identity(tmp_path, "secret")


def test_not_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / KEY_FILE, 0o600)
    with pytest.raises(CallerFault, match="not a regular file"):
        load_or_create_identity(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / KEY_FILE).mkdir()
    with pytest.raises(CallerFault, match="not a regular file"):
        load_or_create_identity(tmp_path / "a")


def test_a_link_that_leads_nowhere_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).symlink_to(tmp_path / "gone")
    with pytest.raises(NodeFault, match=KEY_FILE):
        load_or_create_identity(tmp_path)
    assert os.listdir(tmp_path) == [KEY_FILE]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NodeFault, match="file"):
        load_or_create_identity(tmp_path / "file")
    with pytest.raises(NodeFault, match="file"):
        load_or_create_identity(tmp_path / "file" / "below")


def _create_together(home: Path, barrier: Barrier, results: multiprocessing.Queue[bytes]) -> None:
    barrier.wait()
    results.put(load_or_create_identity(home).peer_id.raw)


def test_processes_that_start_at_once_get_one_key(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(5):
        home = tmp_path / str(attempt)
        barrier, results = context.Barrier(4), context.Queue()
        processes = [
            context.Process(target=_create_together, args=(home, barrier, results)) for _ in range(4)
        ]
        for process in processes:
            process.start()
        ids = {results.get(timeout=30) for _ in processes}
        for process in processes:
            process.join()
        assert ids == {load_or_create_identity(home).peer_id.raw}
        assert os.listdir(home) == [KEY_FILE]


@each_kind
@pytest.mark.parametrize("passphrase", [None, "secret"])
def test_export_and_import(vector: dict[str, str], passphrase: str | None) -> None:
    identity = of(vector)
    pem = export_identity(identity, passphrase)
    assert import_identity(pem, passphrase).to_private_bytes() == identity.to_private_bytes()
    # PKCS#8 that others read, too
    theirs = load_pem_private_key(pem, None if passphrase is None else passphrase.encode())
    assert Identity(theirs).peer_id == identity.peer_id  # type: ignore[arg-type]


@each_kind
@pytest.mark.parametrize("form", ["message", "base64", "base64 in lines"])
def test_import_of_a_libp2p_key(vector: dict[str, str], form: str) -> None:
    raw = bytes.fromhex(vector["private"])
    source = {
        "message": raw,
        "base64": base64.b64encode(raw),
        "base64 in lines": base64.encodebytes(raw),
    }[form]
    assert import_identity(source).public_key.encode().hex() == vector["public"]


@each_kind
def test_an_imported_key_becomes_the_nodes(tmp_path: Path, vector: dict[str, str]) -> None:
    save_identity(tmp_path, of(vector), "secret")
    assert load_or_create_identity(tmp_path, "secret").peer_id == of(vector).peer_id
    with pytest.raises(CallerFault, match=KEY_FILE) as caught:
        save_identity(tmp_path, Identity.from_seed(bytes(32)))
    assert field_of(caught) == "identity"
    assert load_or_create_identity(tmp_path, "secret").peer_id == of(vector).peer_id


FORMS = [
    *((kind, PrivateFormat.PKCS8) for kind in MAKE),
    *((kind, PrivateFormat.TraditionalOpenSSL) for kind in MAKE if kind != "ed25519"),
]


@pytest.mark.parametrize(("kind", "form"), FORMS)
@pytest.mark.parametrize("passphrase", [None, "secret"])
def test_import_of_pem(kind: str, form: PrivateFormat, passphrase: str | None) -> None:
    key = MAKE[kind]()
    protection = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
    pem = key.private_bytes(Encoding.PEM, form, protection)
    expected = Identity(key).peer_id
    assert import_identity(pem, passphrase).peer_id == expected
    assert import_identity(pem.replace(b"\n", b"\r\n"), passphrase).peer_id == expected
    if passphrase is not None:
        for wrong in ("another", None):
            with pytest.raises(CallerFault) as caught:
                import_identity(pem, wrong)
            assert field_of(caught) == "passphrase"


def test_import_of_what_openssl_writes(tmp_path: Path) -> None:
    pem = tmp_path / "key.pem"
    subprocess.run(["openssl", "ecparam", "-name", "secp256k1", "-genkey", "-out", pem], check=True)
    assert b"EC PARAMETERS" in pem.read_bytes()
    assert str(import_identity(pem.read_bytes()).peer_id).startswith("16Uiu2")


@pytest.mark.parametrize("passphrase", ["secret", "pässwörd 🔑"])
def test_openssl_reads_what_we_write(tmp_path: Path, passphrase: str) -> None:
    load_or_create_identity(tmp_path, passphrase)
    read = ["openssl", "pkey", "-in", str(tmp_path / KEY_FILE), "-passin", f"pass:{passphrase}", "-noout"]
    subprocess.run(read, check=True)


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"junk",
        bytes(1000),
        bytes(MAX_KEY_FILE_BYTES + 1),
        b"-----BEGIN PRIVATE KEY-----",
        b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
        b"-----BEGIN RSA PRIVATE KEY-----\nMAA=\n-----END RSA PRIVATE KEY-----\n",
    ],
)
def test_import_of_no_key(source: bytes) -> None:
    with pytest.raises(CallerFault) as caught:
        import_identity(source)
    assert field_of(caught) == "private_key"
