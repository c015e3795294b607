#!/usr/bin/env bash
# @libp2p/peer-id 6.0.15 (npm): peerIdFromString reads a CID in base32 and base36, but neither in base16
# ("f...") nor base58btc ("z..."), and its error says that only text beginning with "1" or "Q" is read. go-
# libp2p (peer.Decode) reads all of them, as the peer-ids spec asks of a decoder of CIDs.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @libp2p/peer-id@6.0.15 multiformats@14.0.5
cat > probe.mjs <<'JS'
import { peerIdFromString } from '@libp2p/peer-id'
import { base16 } from 'multiformats/bases/base16'
import { base32 } from 'multiformats/bases/base32'
import { base36 } from 'multiformats/bases/base36'
import { base58btc } from 'multiformats/bases/base58'
const peer = peerIdFromString('12D3KooWCKks4MmNNUjgdMaYfeRHYUxYLhpEDKmujyM9BKE2CpJ5')
for (const base of [base32, base36, base16, base58btc]) {
  const text = peer.toCID().toString(base)
  try {
    console.log(base.name, text.slice(0, 8), peerIdFromString(text).equals(peer))
  } catch (fault) { console.log(base.name, text.slice(0, 8), fault.message) }
}
JS
got=$(node probe.mjs 2>&1)
want=$(cat <<'WANT'
base32 bafzaaja true
base36 k51qzi5u true
base16 f0172002 Please pass a multibase decoder for strings that do not start with "1" or "Q"
base58btc z5AanNVJ Please pass a multibase decoder for strings that do not start with "1" or "Q"
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
