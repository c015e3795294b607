"""Values that seeds are made of: peers with keys of each type, addresses of each kind, offers, batches."""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from fastmarket.formats.identity import Identity
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import Offer, OfferTerms, Signing, sign_offers
from tests.virtual.values import START

NOW: Final = START
VECTORS: Final = Path(__file__).parents[1] / "vectors"


def vectors(name: str) -> Any:
    """What other implementations made."""
    return json.loads((VECTORS / name).read_text())


ED25519: Final = tuple(Identity.from_seed(sha256(b"peer %d" % number).digest()) for number in range(1, 6))
"""The first ones are the nodes of a `VirtualNetwork`."""
OTHERS: Final = tuple(
    Identity.from_private_bytes(bytes.fromhex(key["private"])) for key in vectors("peer_ids.json")["keys"]
)
"""One of each other key type, and one more Ed25519: the specification's."""
PEERS: Final = (*ED25519, *OTHERS)

ADDR_TEXTS: Final = (
    "/ip4/192.0.2.7/tcp/4001",
    "/ip6/2001:db8::7/tcp/1",
    "/dns/example.org/tcp/443",
    f"/dns4/x.example/tcp/1/p2p/{ED25519[0].peer_id}",
    "/dnsaddr/bootstrap.example.org",
    "/ip6zone/eth0/ip6/fe80::1/tcp/9",
    "/ip4/192.0.2.8/udp/9/quic-v1",
    "/ip4/192.0.2.8/udp/9/quic-v1/webtransport/certhash/uEiAsGPzpiPGQzSlVHRXrUCT5EkTV7YFrV4VZ3hpEKTd_zg",
    f"/ip4/192.0.2.9/tcp/9/p2p/{ED25519[1].peer_id}/p2p-circuit/p2p/{ED25519[2].peer_id}",
    "/unix/tmp/x.sock",
    "/ip4/192.0.2.10/tcp/80/http/http-path/a%2Fb",
    "/memory/77",
    "/ip4/192.0.2.11/tcp/443/tls/sni/a.example/ws",
    "/ip6/::ffff:192.0.2.4/tcp/5",
    "/dns6/xn--bcher-kva.example/tcp/5",
    "/dns/bücher.example/tcp/5",
    *(f"/ip4/192.0.2.12/tcp/4001/p2p/{peer.peer_id}" for peer in PEERS),
)
ADDRS: Final = tuple(Multiaddr.from_text(text) for text in ADDR_TEXTS)
INFOS: Final = tuple(
    PeerInfo(peer.peer_id, ADDRS[number : number + number % 7]) for number, peer in enumerate(PEERS)
)


def content(number: int) -> bytes:
    """A multihash."""
    return b"\x12\x20" + sha256(b"content %d" % number).digest()


def terms(number: int, name: str | None = None) -> OfferTerms:
    """Of an offer of that content."""
    size = number if number % 2 else None
    metadata = FileMetadata("192.0.2.7", 4000 + number, 5 + number, size, name)
    return OfferTerms(content(number), b"u", "someone", metadata)


def offers(signer: Identity, count: int) -> list[Offer]:
    """Signed at `NOW`, with one signature, by slot."""
    made = sign_offers(signer, [Signing(terms(number)) for number in range(count)], NOW)
    return sorted(made, key=lambda offer: offer.slot)


@cache
def batches() -> tuple[list[Offer], ...]:
    """Of few and many offers, and of keys of each type."""
    pairs = zip(PEERS, (2, 3, 8, 17, 5, 2, 2, 2, 2, 2, 2), strict=False)
    return tuple(offers(peer, count) for peer, count in pairs)


@cache
def whole_batches() -> tuple[bytes, ...]:
    """As they are sent to a storer of all their offers."""
    from fastmarket.native.batch import SignedBatch

    made = [batch[0].signed for batch in batches()]
    return tuple(signed.data for signed in made if isinstance(signed, SignedBatch))


@cache
def singles() -> tuple[bytes, ...]:
    """Offers with a signature each."""
    return tuple(offers(peer, 1)[0].envelope for peer in PEERS)


@cache
def of_batches() -> tuple[bytes, ...]:
    """Offers of batches, each as it travels by itself."""
    return tuple(offer.envelope for batch in batches() for offer in batch)
