"""Values that seeds are made of: peers with keys of each type, addresses of each kind."""

from __future__ import annotations

from hashlib import sha256

from fastmarket.formats.identity import Identity
from fastmarket.formats.multiaddr import Multiaddr

ED25519 = tuple(Identity.from_seed(sha256(b"peer %d" % number).digest()) for number in range(5))
ADDR_TEXTS = (
    "/ip4/192.0.2.7/tcp/4001",
    "/ip6/2001:db8::7/tcp/1",
    "/dns/example.org/tcp/443",
    f"/dns4/x.example/tcp/1/p2p/{ED25519[0].peer_id}",
    "/dnsaddr/bootstrap.example.org",
    "/ip6zone/eth0/ip6/fe80::1/tcp/9",
    "/ip4/192.0.2.8/udp/9/quic-v1",
    f"/ip4/192.0.2.9/tcp/9/p2p/{ED25519[1].peer_id}/p2p-circuit/p2p/{ED25519[2].peer_id}",
    "/unix/tmp/x.sock",
    "/ip4/192.0.2.10/tcp/80/http/http-path/a%2Fb",
    "/memory/77",
    "/ip4/192.0.2.11/tcp/443/tls/sni/a.example/ws",
    "/ip6/::ffff:192.0.2.4/tcp/5",
    "/dns6/xn--bcher-kva.example/tcp/5",
    "/dns/bücher.example/tcp/5",
)
ADDRS = tuple(Multiaddr.from_text(text) for text in ADDR_TEXTS)
