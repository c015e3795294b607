#!/usr/bin/env bash
# @multiformats/multiaddr-to-uri 12.0.0 (npm) makes a URL of an address with /sni by putting the SNI name in
# the place of the host: the IP address to connect to is gone. /ip4/192.0.2.1/tcp/443/tls/sni/b.example/http
# becomes https://b.example, which asks DNS for a host that the address had already told, and may be another
# machine. boxo's HTTP client connects to the IP and sends the name.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @multiformats/multiaddr-to-uri@12.0.0 @multiformats/multiaddr@13.0.3
cat > probe.mjs <<'JS'
import { multiaddr } from '@multiformats/multiaddr'
import { multiaddrToUri } from '@multiformats/multiaddr-to-uri'
for (const text of ['/ip4/192.0.2.1/tcp/443/tls/http', '/ip4/192.0.2.1/tcp/443/tls/sni/b.example/http', '/dns4/a.example/tcp/443/tls/sni/b.example/http']) {
  console.log(text, multiaddrToUri(multiaddr(text)))
}
JS
got=$(node probe.mjs 2>&1)
want=$(cat <<'WANT'
/ip4/192.0.2.1/tcp/443/tls/http https://192.0.2.1
/ip4/192.0.2.1/tcp/443/tls/sni/b.example/http https://b.example
/dns4/a.example/tcp/443/tls/sni/b.example/http https://b.example
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
