#!/usr/bin/env bash
# @helia/delegated-routing-v1-http-api-client 9.0.2 does not look at a record's Schema: a record of any schema
# that has an ID is given to the caller as a peer. The HTTP routing specification has clients skip schemas
# they do not know, which is how a router may tell of other things than peers.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @helia/delegated-routing-v1-http-api-client@9.0.2 multiformats@14.0.5
cat > probe.mjs <<'JS'
// Node before 22 lacks it, and the package names no engine.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new Promise((yes, no) => { resolve = yes; reject = no })
  return { promise, resolve, reject }
}
const { createServer } = await import('node:http')
const { delegatedRoutingV1HttpApiClient } = await import('@helia/delegated-routing-v1-http-api-client')
const { CID } = await import('multiformats/cid')
let record
const server = createServer((request, response) => {
  response.writeHead(200, { 'content-type': 'application/json' })
  response.end(JSON.stringify({ Providers: [record] }))
}).listen(0, '127.0.0.1')
await new Promise(resolve => server.once('listening', resolve))
const silent = Object.assign(() => {}, { error () {}, trace () {} })
const client = delegatedRoutingV1HttpApiClient({ url: `http://127.0.0.1:${server.address().port}`, cacheTTL: 0 })({ logger: { forComponent: () => silent } })
const good = '/ip4/192.0.2.1/tcp/4001'
for (const [what, change] of [['schema peer:', {}], ['another schema:', { Schema: 'reservation' }]]) {
  record = { Schema: 'peer', ID: '12D3KooWCKks4MmNNUjgdMaYfeRHYUxYLhpEDKmujyM9BKE2CpJ5', Addrs: [good], Protocols: ['transport-bitswap'], ...change }
  let found = 0
  for await (const provider of client.getProviders(CID.parse('bafybeibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq'))) found++
  console.log('helia', what, found)
}
process.exit(0)
JS
got=$(node probe.mjs 2>&1)
want=$(cat <<'WANT'
helia schema peer: 1
helia another schema: 1
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
