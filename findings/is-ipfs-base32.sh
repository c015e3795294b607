#!/usr/bin/env bash
# is-ipfs 8.0.4 (npm): base32cid is true for a CID in base36 ("k..."), and cid is false for CIDs in upper-case
# base32 ("B...") and base16 ("f..."), which go-cid, rust's cid and gateways read. An ipfs:// URL, the native
# form, is no url for it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund is-ipfs@8.0.4
cat > probe.mjs <<'JS'
import * as isIPFS from 'is-ipfs'
const texts = {
  base32: 'bafybeibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq',
  base36: 'k2jmtxshftbvrdof1z3qg5p2h3ikoogqns7mwkrp24dbii8uaksgjg2s',
  base16: 'f017012202cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824',
  BASE32: 'BAFYBEIBM6JG3UX5QUMHCN2B3FLC3TYU6DMLB4XA7U5BF44YEGNRJHC4YEQ'
}
for (const [base, text] of Object.entries(texts)) {
  console.log(base, 'cid', isIPFS.cid(text), 'base32cid', isIPFS.base32cid(text))
}
console.log('ipfs://', isIPFS.url('ipfs://' + texts.base32))
JS
got=$(node probe.mjs 2>&1)
want=$(cat <<'WANT'
base32 cid true base32cid true
base36 cid true base32cid true
base16 cid false base32cid false
BASE32 cid false base32cid false
ipfs:// false
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
