from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastmarket.errors import NetworkFault, PeerFault
from fastmarket.libp2p.tcp.noise import MAX_NONCE, MAX_PLAINTEXT_BYTES, CipherState, KeyPair, XXHandshake

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "noise.json").read_text())


def key(hexed: str) -> KeyPair:
    return KeyPair(bytes.fromhex(hexed))


def sides(vector: dict[str, str]) -> tuple[XXHandshake, XXHandshake]:
    def side(name: str) -> XXHandshake:
        return XXHandshake(
            initiator=name == "init",
            static=key(vector[f"{name}_static"]),
            ephemeral=key(vector[f"{name}_ephemeral"]),
            prologue=bytes.fromhex(vector[f"{name}_prologue"]),
        )

    return side("init"), side("resp")


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["source"].split()[0])
def test_published_vectors(vector: dict[str, object]) -> None:
    initiator, responder = sides(vector)  # type: ignore[arg-type]
    messages = [
        (bytes.fromhex(m["payload"]), bytes.fromhex(m["ciphertext"]))
        for m in vector["messages"]  # type: ignore[attr-defined]
    ]
    writer, reader = initiator, responder
    for payload, wire in messages[:3]:
        assert writer.write_message(payload) == wire
        assert reader.read_message(wire) == payload
        writer, reader = reader, writer
    assert initiator.is_finished
    assert responder.is_finished
    assert initiator.handshake_hash == responder.handshake_hash
    if "handshake_hash" in vector:
        assert initiator.handshake_hash.hex() == vector["handshake_hash"]
    (i_send, i_receive), (r_send, r_receive) = initiator.split(), responder.split()
    turns = [(r_send, i_receive), (i_send, r_receive)]
    assert len(messages) > 3
    for n, (payload, wire) in enumerate(messages[3:]):
        sender, receiver = turns[n % 2]
        assert sender.encrypt(payload) == wire
        assert receiver.decrypt(wire) == payload


def test_short_and_damaged_messages_are_the_peers_fault() -> None:
    initiator, responder = sides(VECTORS[0])
    with pytest.raises(PeerFault):
        responder.read_message(bytes(31))
    initiator, responder = sides(VECTORS[0])
    responder.read_message(initiator.write_message())
    reply = bytearray(responder.write_message(b"payload"))
    reply[-1] ^= 1
    with pytest.raises(PeerFault):
        initiator.read_message(bytes(reply))


def test_a_low_order_key_is_the_peers_fault() -> None:
    _, responder = sides(VECTORS[0])
    responder.read_message(bytes(32))
    with pytest.raises(PeerFault):
        responder.write_message(b"")


def test_seal_splits_at_the_largest_message() -> None:
    plaintext = bytearray(range(256)) * 600
    sender, receiver = CipherState(bytes(32)), CipherState(bytes(32))
    wire, got, sizes = sender.seal(plaintext), b"", []
    while wire:
        size = int.from_bytes(wire[:2], "big")
        sizes.append(size - 16)
        got += receiver.decrypt(wire[2 : 2 + size])
        wire = wire[2 + size :]
    assert got == plaintext
    assert sizes == [MAX_PLAINTEXT_BYTES, MAX_PLAINTEXT_BYTES, len(plaintext) - 2 * MAX_PLAINTEXT_BYTES]


def test_nonces_are_never_used_twice() -> None:
    cipher = CipherState(bytes(32))
    cipher.nonce = MAX_NONCE
    cipher.encrypt(b"last")
    with pytest.raises(NetworkFault):
        cipher.encrypt(b"one more")
    with pytest.raises(NetworkFault):
        cipher.decrypt(bytes(16))
