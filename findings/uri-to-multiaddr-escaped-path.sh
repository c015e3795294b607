#!/usr/bin/env bash
# @multiformats/uri-to-multiaddr 10.0.0 (npm) escapes a path that is escaped already: https://a.example/a%20b
# becomes /http-path/a%2520b, whose value is the five letters "a%20b". Its sister multiaddr-to-uri undoes
# both, so a round trip looks right; any other reader (here Python's multiaddr 0.2.0) asks the server for a
# path with a literal percent sign.
# Likewise ?q=1 becomes part of the path, and an upper-case scheme, which URLs allow (RFC 3986 3.1), is
# refused.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @multiformats/uri-to-multiaddr@10.0.0
cat > probe.mjs <<'JS'
import { uriToMultiaddr } from '@multiformats/uri-to-multiaddr'
for (const uri of ['https://a.example/a%20b', 'https://a.example/x?q=1', 'HTTPS://a.example/']) {
  try { console.log(uri, uriToMultiaddr(uri).toString()) } catch (fault) { console.log(uri, fault.message) }
}
JS
js=$(node probe.mjs 2>&1)
python3 -m venv py
py/bin/pip install -q --disable-pip-version-check multiaddr==0.2.0
python=$(py/bin/python - 2>&1 <<'PY'
from multiaddr import Multiaddr
print("read by Python:", Multiaddr("/dns/a.example/tcp/443/tls/http/http-path/a%2520b").value_for_protocol("http-path"))
print("its bytes:", Multiaddr("/http-path/a%2520b").to_bytes()[3:])
PY
)
got=$(printf "%s\n" "$js" "$python")
want=$(cat <<'WANT'
https://a.example/a%20b /dns/a.example/tcp/443/tls/http/http-path/a%2520b
https://a.example/x?q=1 /dns/a.example/tcp/443/tls/http/http-path/x%3Fq%3D1
HTTPS://a.example/ Protocol HTTPS was unknown
read by Python: a%2520b
its bytes: b'a%20b'
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
