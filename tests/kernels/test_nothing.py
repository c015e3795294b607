"""Every kernel that takes bytes, given none: sizes of zero, where C lets no NULL go to memcpy and memcmp.

The answers are those of the twins and the standard library; a build with -fsanitize=undefined says the rest.
"""

from __future__ import annotations

import array
import hashlib
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from fastmarket import _kbucket, _xor
from fastmarket.formats.identity import PeerId
from fastmarket.native import batch as _batch
from fastmarket.native import cid as _cid
from fastmarket.native import frames as _frames
from fastmarket.native import kad_fields as _kad_fields
from fastmarket.native import merkle as _merkle
from fastmarket.native import peer_cache as _peer_cache
from fastmarket.native import sha256 as _sha256
from fastmarket.native import sim_net as _sim_net
from fastmarket.native import sodium as _sodium
from fastmarket.native import tcp_addr as _tcp_addr
from fastmarket.offers.model.metadata import FileMetadata, is_host
from fastmarket.offers.model.offer import Offer, SignedAlone
from fastmarket.pb.fastmarket.v1.offer_pb2 import OfferBody
from tests.kernels.kernel_table import ROWS, Row
from tests.reference import frames as frames_twin
from tests.reference import kad_fields as kad_fields_twin
from tests.reference import merkle as merkle_twin
from tests.reference import sodium as sodium_twin
from tests.reference import tcp_addr as tcp_addr_twin
from tests.reference.batched import BatchedOffer

EMPTY = hashlib.sha256(b"").digest()
NOTHING = [b"", bytearray(), memoryview(b""), array.array("B")]  # the last one's buffer is NULL
SIGNER = PeerId(b"\x12\x20" + bytes(32))
REFUSED = "ValueError"


def refused(call: Callable[[], object]) -> object:
    try:
        return call()
    except ValueError:
        return REFUSED


class Mux:
    out = bytearray()
    streams: dict[int, Any] = {}  # noqa: RUF012 - never written to


def written(write: Callable[[bytearray, Any, bytes], object]) -> object:
    stream = _frames.StreamState()
    stream.stream_id, stream.send_window, stream.outbox = 1, 0, bytearray()
    out = bytearray()
    done = write(out, stream, b"")
    return (done, bytes(out)) if done is not None else None


# Of each function that takes bytes or text: what it says of none.
CALLS: dict[str, tuple[Callable[[], object], object]] = {
    "native.sha256.sha256": (lambda: _sha256.sha256(b""), EMPTY),
    "native.sha256.sha256_portable": (lambda: _sha256.sha256_portable(b""), EMPTY),
    "native.sha256.sha256_many": (
        lambda: (_sha256.sha256_many([]), _sha256.sha256_many([b""] * 3)),
        ([], [EMPTY] * 3),
    ),
    "native.sha256.sha256_packed": (lambda: _sha256.sha256_packed(b"", 1), b""),
    "native.sodium.ed25519_secret": (lambda: _sodium.ed25519_secret(b""), REFUSED),
    "native.sodium.ed25519_sign": (
        lambda: _sodium.ed25519_verify(
            _sodium.ed25519_secret(bytes(32))[32:],
            b"",
            _sodium.ed25519_sign(_sodium.ed25519_secret(bytes(32)), b""),
        ),
        True,
    ),
    "native.sodium.ed25519_verify": (lambda: _sodium.ed25519_verify(b"", b"", b""), False),
    "native.sodium.x25519_public": (lambda: _sodium.x25519_public(b""), REFUSED),
    "native.sodium.x25519": (lambda: _sodium.x25519(b"", b""), REFUSED),
    "native.merkle.merkle_root": (
        lambda: _merkle.merkle_root(b"", 0, 2, bytes(32)),
        merkle_twin.merkle_root(b"", 0, 2, bytes(32)),
    ),
    "native.merkle.split_batched": (lambda: _merkle.split_batched(b""), REFUSED),
    "native.merkle.plain_body": (lambda: _merkle.plain_body(b""), merkle_twin.body(b"")),
    "native.merkle.body_of": (lambda: _merkle.body_of(b"\x5a\x00\x60\x00\x6a\x00\x72\x00"), b""),
    "native.merkle.claims": (lambda: _merkle.claims(b""), merkle_twin.claims(b"")),
    "native.merkle.split_store": (lambda: _merkle.split_store(b""), merkle_twin.split_store(b"")),
    "native.merkle.untracked": (lambda: _merkle.untracked(()), ()),
    "native.batch.tree_root": (lambda: _batch.tree_root([b"", b""]), merkle_twin.merkle_tree([b"", b""])[0]),
    "native.batch.count_signatures": (
        lambda: (_batch.count_signatures([]), _batch.count_signatures([b"", b""])),
        (0, 1),
    ),
    "native.batch.encode_body": (
        lambda: _batch.encode_body(b"", b"", b"", "", "", 0, 0, None, None, 0, 0, 0, False),
        OfferBody().SerializeToString(),
    ),
    "native.cid.base58_encode": (lambda: _cid.base58_encode(b""), ""),
    "native.cid.base58_decode": (lambda: _cid.base58_decode(""), b""),
    "native.cid.base32_encode": (lambda: _cid.base32_encode(b""), ""),
    "native.cid.base32_decode": (lambda: _cid.base32_decode(""), b""),
    "native.cid.check_multihash": (lambda: _cid.check_multihash(b""), REFUSED),
    "native.cid.decode_cid": (lambda: _cid.decode_cid(""), REFUSED),
    "native.cid.cid_to_multihash": (lambda: _cid.cid_to_multihash(""), REFUSED),
    "native.cid.decode_cid_bytes": (lambda: _cid.decode_cid_bytes(b""), REFUSED),
    "native.cid.encode_cid_bytes_v1": (lambda: _cid.encode_cid_bytes_v1(0x55, b""), REFUSED),
    "native.cid.encode_cid_v0": (lambda: _cid.encode_cid_v0(b""), REFUSED),
    "native.cid.encode_cid_v1": (lambda: _cid.encode_cid_v1(0x55, b""), REFUSED),
    "native.cid.leaf_digests": (lambda: _cid.leaf_digests(0, 0, 0, 1, True), b""),
    "native.cid.file_digests": (lambda: _cid.file_digests([], 1, True, 0), []),
    "native.frames.write_frame": (lambda: written(_frames.write_frame), written(frames_twin.write_frame)),
    "native.frames.flag_frame": (
        lambda: written(lambda out, stream, data: _frames.flag_frame(out, stream, 4)),
        None,
    ),
    "native.frames.receive_frames": (lambda: _frames.receive_frames(Mux(), b"", 0, 0.0, 1), 0),
    "native.kad_fields.message_fields": (
        lambda: _kad_fields.message_fields(b"", 0, 0),
        kad_fields_twin.message_fields(b"", 0, 0),
    ),
    "native.tcp_addr.addr_from_text": (lambda: _tcp_addr.addr_from_text(""), None),
    "native.tcp_addr.addr_to_text": (lambda: _tcp_addr.addr_to_text(b""), tcp_addr_twin.addr_to_text(b"")),
    "_xor.distance": (lambda: _xor.distance(b"", b""), REFUSED),
    "_xor.common_prefix_length": (lambda: _xor.common_prefix_length(b"", b""), REFUSED),
    "_xor.closer": (lambda: _xor.closer(b"", b"", b""), REFUSED),
    "_xor.nearest": (
        lambda: (_xor.nearest(bytes(32), b"", 5), _xor.nearest(bytes(32), bytes(32), 0)),
        ([], []),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_nothing_given(name: str) -> None:
    call, wanted = CALLS[name]
    assert refused(call) == wanted


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_no_function_is_left_out(row: Row) -> None:
    """Of any kernel in the table."""
    kernel, module = importlib.import_module(row.module), row.module.removeprefix("fastmarket.")
    found = {
        f"{module}.{name}"
        for name, value in vars(kernel).items()
        if not name.startswith("_") and callable(value) and not inspect.isclass(value)
        if getattr(value, "__module__", None) == kernel.__name__
    }
    assert found == {name for name in CALLS if name.startswith(f"{module}.")}


@pytest.mark.parametrize("plain", NOTHING, ids=lambda plain: type(plain).__name__)
@pytest.mark.parametrize("associated", [None, b""])
def test_a_cipher(plain: Any, associated: bytes | None) -> None:
    ours, theirs = _sodium.Aead(bytes(32)), sodium_twin.Aead(bytes(32))
    sealed = ours.encrypt(7, plain, associated)
    assert sealed == theirs.encrypt(7, b"", associated)
    assert ours.decrypt(7, sealed, associated) == b""
    assert ours.decrypt(7, plain, associated) is None
    assert ours.frame(7, plain) == len(sealed).to_bytes(2, "big") + ours.encrypt(7, b"")
    assert ours.decrypt_part(7, b"", 0, 0) is None


def test_a_handshake() -> None:
    """`split` takes no material at all."""
    ours, theirs = _sodium.SymmetricState(bytes(32)), sodium_twin.SymmetricState(bytes(32))
    assert ours.split() == theirs.split()
    for state in (ours, theirs):
        state.mix_hash(b"")
    assert ours.encrypt_and_hash(b"") == theirs.encrypt_and_hash(b"") == b""
    assert ours.decrypt_and_hash(b"") == theirs.decrypt_and_hash(b"") == b""
    assert ours.hash == theirs.hash
    public = _sodium.x25519_public(b"\x05" * 32)
    assert ours.mix_shared(bytes([1]) * 32, public)
    assert theirs.mix_shared(bytes([1]) * 32, public)
    assert ours.encrypt_and_hash(b"") == theirs.encrypt_and_hash(b"")
    assert ours.decrypt_and_hash(b"") is None
    assert ours.split() == theirs.split()


@pytest.mark.parametrize("left_out", ["user_id", "user_name", "ip", "provider", "content", "name"])
def test_an_offer_without_a_field(left_out: str) -> None:
    """What is compared with the offer before it is not there, and was not there in that one either."""
    fields: dict[str, Any] = {
        "content": b"\x12\x20" + bytes(32),
        "provider": SIGNER.raw,
        "user_id": b"me",
        "user_name": "Ann",
        "ip": "192.0.2.1",
        "port": 1,
        "name": "a",
        "issued_at": 1,
        "not_after": 2,
    }
    del fields[left_out]
    bodies = [OfferBody(**fields, seq=seq).SerializeToString(deterministic=True) for seq in (1, 2, 3)]
    root, paths = merkle_twin.merkle_tree(bodies)
    quick = _merkle.PlainOffers(Offer, FileMetadata, SignedAlone, is_host)
    needed = left_out in ("ip", "provider", "content")
    for index, (path, body) in enumerate(zip(paths, bodies, strict=True)):
        signed = BatchedOffer(b"batch", index, path, body).encode()
        quick.expect(b"batch", root, len(bodies), SIGNER, SIGNER.raw)
        for offer in (quick.open(signed), quick.read(signed, SIGNER.raw, SIGNER)):
            assert (offer is None) is needed
            if offer is not None:
                assert (offer.user_id, offer.user_name) == (
                    fields.get("user_id", b""),
                    fields.get("user_name", ""),
                )
                assert offer.metadata.name == fields.get("name")


def test_tables_that_are_empty() -> None:
    table = _kbucket.BucketTable(bytes(32))
    assert table.nearest(bytes(32), 20) == []
    assert table.nearest_keys(bytes(32), 20) == []
    assert table.joined(b"", bytes(32), None, 20, 0) == b""
    assert table.get(bytes(32)) is None
    cache = _peer_cache.PeerInfoCache(4, 64, lambda raw: raw)
    assert [cache.get(b""), cache.get(b"")] == [b"", b""]
    assert cache.read_all(b"", b"", 0x42, 4, False) == ()
    log = _sim_net.MessageLog()
    assert log.hexdigest() == hashlib.sha256(b"").hexdigest()
