#!/usr/bin/env bash
# @multiformats/uri-to-multiaddr 10.0.0 (npm) makes QUIC over TCP of a quic: URL, /ip4/192.0.2.1/tcp/53/quic.
# QUIC runs over UDP, no stack dials such an address, and the sister library cannot turn it back into a URL.
# udp: URLs come out right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @multiformats/uri-to-multiaddr@10.0.0 @multiformats/multiaddr-to-uri@12.0.0
cat > probe.mjs <<'JS'
import { uriToMultiaddr } from '@multiformats/uri-to-multiaddr'
import { multiaddrToUri } from '@multiformats/multiaddr-to-uri'
for (const uri of ['udp://192.0.2.1:53', 'quic://192.0.2.1:53']) {
  const address = uriToMultiaddr(uri)
  let back
  try { back = multiaddrToUri(address) } catch (fault) { back = fault.message }
  console.log(uri, address.toString(), back)
}
JS
got=$(node probe.mjs 2>&1)
want=$(cat <<'WANT'
udp://192.0.2.1:53 /ip4/192.0.2.1/udp/53 udp://192.0.2.1:53
quic://192.0.2.1:53 /ip4/192.0.2.1/tcp/53/quic No interpreter found for quic
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
