"""Values of the wire and of callers: addresses, content ids, peer ids, keys, envelopes, frames."""

from __future__ import annotations

from contextlib import suppress

from multiformats import multibase

from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.cid import Cid, cid_text, named
from fastmarket.formats.envelope import open_envelope, seal
from fastmarket.formats.identity import Identity, PeerId, PublicKey
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_record import decode_peer_record, encode_peer_record
from fastmarket.formats.scope import ip_of
from fastmarket.formats.varint import FrameDecoder, encode_uvarint, frame, try_uvarint
from fastmarket.libp2p.peerstore import worth_keeping
from fastmarket.native import cid as cid_kernel
from fastmarket.native import tcp_addr
from tests.fuzz.target import Shape, Target, as_text, is_sampled, round_trips
from tests.fuzz.values import ADDR_TEXTS, ADDRS, ED25519, PEERS, content
from tests.reference import cid as cid_twin
from tests.reference import tcp_addr as addr_twin

FRAME_LIMIT = 500
RSA_CHECK_S = 2.0  # the primes of a private key are tested: an operator's own, read once
BASES = (
    *("base2", "base16", "base16upper", "base32", "base32upper", "base32pad", "base32padupper", "base32hex"),
    *("base32hexupper", "base32hexpad", "base32hexpadupper", "base36", "base36upper", "base58btc"),
    *("base58flickr", "base64", "base64pad", "base64url", "base64urlpad"),
)
CIDS = (
    Cid(0, 0x70, content(1)),
    Cid(1, 0x55, content(2)),
    Cid(1, 0x70, b"\x13\x40" + bytes(range(64))),
    Cid(1, 0x72, ED25519[0].peer_id.raw),
)


def _use(addr: Multiaddr) -> None:
    """What a node does with each address that it takes: nothing of it may raise."""
    assert addr.parts
    worth_keeping(addr.without_peer())
    ip_of(addr)
    addr.plain_ip4()
    whole = addr.with_peer(PEERS[0].peer_id)
    assert whole.peer_id == PEERS[0].peer_id or addr.parts[-1][0] == "unix"
    if (endpoint := addr.host_port()) is not None:
        assert 0 <= endpoint.port <= 0xFFFF


def multiaddr_bytes(data: bytes) -> object:
    addr = Multiaddr.from_bytes(data)
    assert addr.raw == data
    if not is_sampled(data):
        return addr
    _use(addr)
    return round_trips(addr, lambda value: Multiaddr.from_text(str(value)))


def multiaddr_text(data: bytes) -> object:
    addr = Multiaddr.from_text(as_text(data))
    _use(addr)
    assert Multiaddr.from_bytes(addr.raw) == addr
    return round_trips(addr, lambda value: Multiaddr.from_text(str(value)))


def tcp_addr_text(data: bytes) -> object:
    text = as_text(data)
    raw = tcp_addr.addr_from_text(text)
    assert not is_sampled(data) or raw == _twin_from_text(text)
    if raw is not None:
        assert tcp_addr.addr_to_text(raw) == text
    return raw


def _twin_from_text(text: str) -> bytes | None:
    try:
        return addr_twin.addr_from_text(text)
    except (ValueError, PeerFault):
        return None


def tcp_addr_bytes(data: bytes) -> object:
    text = tcp_addr.addr_to_text(data)
    if text is not None:
        assert text == addr_twin.addr_to_text(data)
        assert tcp_addr.addr_from_text(text) == data
    return text


def cid_bytes(data: bytes) -> object:
    cid = Cid.from_bytes(data)
    assert cid.raw == data or cid.version == 0
    return round_trips(cid, lambda value: Cid.from_bytes(value.raw))


def cid_text_(data: bytes) -> object:
    cid = Cid.from_text(as_text(data))
    assert Cid.from_bytes(cid.raw) == cid
    return round_trips(cid, lambda value: Cid.from_text(str(value)))


def file_hash(data: bytes) -> object:
    found = named(as_text(data))
    again = named(cid_text(found.multihash, found.form))
    assert again.multihash == found.multihash
    return found.multihash


def cid_kernel_text(data: bytes) -> object:
    text = as_text(data)
    bound = cid_kernel.MAX_TEXT_CHARS
    for kernel, twin, encode in (
        (cid_kernel.base58_decode, cid_twin.base58_decode, cid_kernel.base58_encode),
        (cid_kernel.base32_decode, cid_twin.base32_decode, cid_kernel.base32_encode),
    ):
        with suppress(ValueError):
            raw = kernel(text)
            assert len(text) <= bound
            assert encode(raw) == text
            assert not is_sampled(data) or raw == twin(text)
    with suppress(ValueError):
        version, codec, multihash = cid_kernel.decode_cid(text)
        cid_kernel.check_multihash(multihash)
        raw = multihash if version == 0 else cid_kernel.encode_cid_bytes_v1(codec, multihash)
        assert cid_kernel.decode_cid_bytes(raw) == (version, codec, multihash)
    return cid_kernel.cid_to_multihash(text)


def multihash(data: bytes) -> object:
    cid_kernel.check_multihash(data)
    code, at = try_uvarint(data) or (0, 0)
    size, at = try_uvarint(data, at) or (0, 0)
    assert data == encode_uvarint(code) + encode_uvarint(size) + data[at:]
    assert len(data) == at + size
    return data


def peer_id_bytes(data: bytes) -> object:
    peer_id = PeerId.from_bytes(data)
    assert peer_id.raw == data
    key = peer_id.public_key()
    assert key is None or key.peer_id == peer_id
    return round_trips(peer_id, lambda value: PeerId.from_text(str(value)))


def peer_id_text(data: bytes) -> object:
    peer_id = PeerId.from_text(as_text(data))
    return round_trips(peer_id, lambda value: PeerId.from_text(str(value)))


SIGNATURES = tuple(peer.sign(b"message") for peer in PEERS)


def public_key(data: bytes) -> object:
    key = PublicKey.decode(data)
    for signature in SIGNATURES[len(data) % 3 :: 3]:
        key.verify(b"message", signature)
    assert PeerId.from_text(str(key.peer_id)) == key.peer_id
    return round_trips(key, lambda value: PublicKey.decode(value.encode()))


def signature(data: bytes) -> object:
    """By each kind of key: none raises, and a changed signature of Ed25519 or RSA is not one."""
    accepted = 0
    for peer, known in zip(PEERS[4:], SIGNATURES[4:], strict=True):
        if peer.public_key.verify(b"message", data):
            assert data == known or peer.public_key.key_type.name in ("ECDSA", "SECP256K1")
            accepted += 1
    return accepted


def private_key(data: bytes) -> object:
    identity = Identity.from_private_bytes(data)
    assert identity.public_key.verify(b"message", identity.sign(b"message"))
    again = Identity.from_private_bytes(identity.to_private_bytes())
    assert again.peer_id == identity.peer_id
    return identity.peer_id.raw


def private_key_der(data: bytes) -> object:
    identity = Identity.from_pkcs8(data)
    assert identity.public_key.verify(b"message", identity.sign(b"message"))
    assert Identity.from_pkcs8(identity.to_pkcs8()).peer_id == identity.peer_id
    return identity.peer_id.raw


def envelope(data: bytes) -> object:
    opened = open_envelope(data, "fuzz", payload_types=(b"/fuzz",))
    assert (opened.payload, opened.peer_id) in ENVELOPES, "a forged envelope is accepted"
    return opened.payload


ENVELOPES = {(b"payload %d" % number * 9, peer.peer_id) for number, peer in enumerate(PEERS)}


def peer_record(data: bytes) -> object:
    record = decode_peer_record(data)
    assert record.seq == 7, "a forged record is accepted"
    for addr in record.addrs:
        _use(addr)
    return record.addrs


def frames(data: bytes) -> object:
    """Whole and in pieces: the same frames, or both refused."""
    whole = _cut(data, len(data) or 1)
    for size in (1, 3, 50):
        assert _cut(data, size) == whole, f"pieces of {size} bytes differ"
    if whole is None:
        raise PeerFault("refused")
    rest = data[sum(len(frame(body)) for body in whole) :]
    assert b"".join(map(frame, whole)) + rest == data
    return whole


def _cut(data: bytes, size: int) -> list[bytes] | None:
    decoder, found = FrameDecoder(FRAME_LIMIT), list[bytes]()
    try:
        for at in range(0, len(data), size):
            found += decoder.feed(data[at : at + size])
            assert decoder.pending <= FRAME_LIMIT + 9
    except PeerFault:
        return None
    return found


def quick_frames(data: bytes) -> object:
    return FrameDecoder(FRAME_LIMIT).feed(data)


def quick_envelope(data: bytes) -> object:
    return open_envelope(data, "fuzz", payload_types=(b"/fuzz",))


def quick_cid_text(data: bytes) -> object:
    return cid_kernel.decode_cid(data.decode("latin-1"))


def quick_addr_text(data: bytes) -> object:
    return tcp_addr.addr_from_text(data.decode("latin-1"))


def _cid_texts() -> list[bytes]:
    texts = [str(cid) for cid in CIDS]
    texts += [multibase.encode(cid.raw, base) for cid in CIDS[1:] for base in BASES]
    texts += [f"{before}{CIDS[1]}{after}" for before in LINKS for after in ("", "/", "?a=b", "/x")]
    return [text.encode() for text in texts]


LINKS = ("ipfs://", "/ipfs/", "https://gateway.example/ipfs/", " ")


def _peer_texts() -> list[bytes]:
    texts = [str(peer.peer_id) for peer in PEERS]
    texts += [str(Cid(1, 0x72, peer.peer_id.raw)) for peer in PEERS]
    texts += [
        multibase.encode(b"\x01\x72" + peer.peer_id.raw, base) for peer in PEERS[:5] for base in BASES[1:]
    ]
    return [text.encode() for text in texts]


def _seal() -> list[bytes]:
    return [seal(peer, "fuzz", b"/fuzz", b"payload %d" % number * 9) for number, peer in enumerate(PEERS)]


_MULTIADDR = "fastmarket.formats.multiaddr.Multiaddr"
_CID = "fastmarket.formats.cid"
_IDENTITY = "fastmarket.formats.identity"
_KERNEL = "fastmarket.native"

TARGETS: tuple[Target, ...] = (
    Target(
        "multiaddr-bytes",
        f"{_MULTIADDR}.from_bytes",
        lambda: [addr.raw for addr in ADDRS],
        multiaddr_bytes,
        (PeerFault,),
        Shape.BYTES,
        first=True,
        quick=Multiaddr.from_bytes,
    ),
    Target(
        "multiaddr-text",
        f"{_MULTIADDR}.from_text",
        lambda: [text.encode() for text in ADDR_TEXTS],
        multiaddr_text,
        (CallerFault,),
        Shape.TEXT,
    ),
    Target(
        "tcp-addr-text",
        f"{_KERNEL}.tcp_addr.addr_from_text",
        lambda: [str(addr).encode() for addr in ADDRS],
        tcp_addr_text,
        (),
        Shape.TEXT,
        quick=quick_addr_text,
    ),
    Target(
        "tcp-addr-bytes",
        f"{_KERNEL}.tcp_addr.addr_to_text",
        lambda: [addr.raw for addr in ADDRS],
        tcp_addr_bytes,
        (),
        Shape.BYTES,
        quick=tcp_addr.addr_to_text,
        first=True,
    ),
    Target(
        "cid-bytes",
        f"{_CID}.Cid.from_bytes",
        lambda: [cid.raw for cid in CIDS],
        cid_bytes,
        (PeerFault, CallerFault),
        Shape.BYTES,
        quick=Cid.from_bytes,
        first=True,
    ),
    Target("cid-text", f"{_CID}.Cid.from_text", _cid_texts, cid_text_, (CallerFault,), Shape.TEXT),
    Target("file-hash", f"{_CID}.named", _cid_texts, file_hash, (CallerFault,), Shape.TEXT),
    Target(
        "cid-kernel",
        f"{_KERNEL}.cid.decode_cid",
        _cid_texts,
        cid_kernel_text,
        (ValueError,),
        Shape.TEXT,
        quick=quick_cid_text,
    ),
    Target(
        "multihash",
        f"{_KERNEL}.cid.check_multihash",
        lambda: [cid.multihash for cid in CIDS],
        multihash,
        (ValueError,),
        Shape.BYTES,
        quick=cid_kernel.check_multihash,
    ),
    Target(
        "peer-id-bytes",
        f"{_IDENTITY}.PeerId.from_bytes",
        lambda: [peer.peer_id.raw for peer in PEERS],
        peer_id_bytes,
        (PeerFault,),
        Shape.BYTES,
        quick=PeerId.from_bytes,
    ),
    Target(
        "peer-id-text",
        f"{_IDENTITY}.PeerId.from_text",
        _peer_texts,
        peer_id_text,
        (CallerFault,),
        Shape.TEXT,
    ),
    Target(
        "public-key",
        f"{_IDENTITY}.PublicKey.decode",
        lambda: [peer.public_key.encode() for peer in PEERS],
        public_key,
        (PeerFault,),
        Shape.PROTOBUF,
        quick=PublicKey.decode,
    ),
    Target(
        "signature",
        f"{_IDENTITY}.PublicKey.verify",
        lambda: SIGNATURES,
        signature,
        (),
        Shape.BYTES,
    ),
    Target(
        "private-key",
        f"{_IDENTITY}.Identity.from_private_bytes",
        lambda: [peer.to_private_bytes() for peer in PEERS],
        private_key,
        (CallerFault,),
        Shape.PROTOBUF,
        longest=8192,
        max_cpu_s=RSA_CHECK_S,
    ),
    Target(
        "private-key-der",
        f"{_IDENTITY}.Identity.from_pkcs8",
        lambda: [peer.to_pkcs8() for peer in PEERS],
        private_key_der,
        (CallerFault,),
        Shape.BYTES,
        longest=8192,
        max_cpu_s=RSA_CHECK_S,
    ),
    Target(
        "envelope",
        "fastmarket.formats.envelope.open_envelope",
        _seal,
        envelope,
        (PeerFault,),
        Shape.PROTOBUF,
        quick=quick_envelope,
    ),
    Target(
        "peer-record",
        "fastmarket.formats.peer_record.decode_peer_record",
        lambda: [encode_peer_record(peer, ADDRS[:9], 7) for peer in PEERS],
        peer_record,
        (PeerFault,),
        Shape.PROTOBUF,
        first=True,
        quick=decode_peer_record,
    ),
    Target(
        "frames",
        "fastmarket.formats.varint.FrameDecoder",
        lambda: [frame(b"x" * size) + frame(b"y") for size in (0, 1, 100, 127, 128, 300, FRAME_LIMIT)],
        frames,
        (PeerFault,),
        Shape.VARINT_FRAMES,
        longest=2 * FRAME_LIMIT,
        first=True,
        quick=quick_frames,
    ),
)
