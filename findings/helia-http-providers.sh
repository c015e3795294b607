#!/usr/bin/env bash
# Helia 7.1.15 with @helia/http 4.0.7 looks for providers of every single block that it lacks, unless it is given
# a session, and a session looks for providers of the first block that it lacks, not of the CID it was made for.
# So a file whose provider announced its root alone (as Kubo's strategies `roots` and `entities` have it) is not
# found by `unixfs(helia).cat`, nor by a session once the root has been kept: the gateway that has all of it is
# not asked. Shown: what a router is asked about a file of two leaves.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >/dev/null
# helia needs Node 22, which npm has as well
npm install --silent --no-audit --no-fund helia@7.1.15 @helia/http@4.0.7 @helia/unixfs@8.0.5 multiformats@14.0.5 node@26.10.0
cat > probe.mjs <<'JS'
import { createServer } from 'node:http'
import { withHTTP } from '@helia/http'
import { unixfs } from '@helia/unixfs'
import { createHeliaLight } from 'helia'

const blocks = new Map()
const store = {
  async put (cid, block) { blocks.set(cid.toString(), block); return cid },
  async * get (cid) { yield blocks.get(cid.toString()) },
  async has (cid) { return blocks.has(cid.toString()) }
}
const root = await unixfs({ blockstore: store }).addBytes(Uint8Array.from({ length: 2_000_000 }, (_, i) => i >> 8))

// A router that knows a provider of the root: a gateway, at the same port, that has all blocks.
let asked = []
const server = createServer((request, response) => {
  const path = request.url.split('?')[0]
  const cid = path.split('/').at(-1)
  const what = cid === root.toString() ? 'the root' : 'a leaf'
  if (path.startsWith('/routing/')) {
    asked.push(what)
    const addr = `/ip4/127.0.0.1/tcp/${server.address().port}/http`
    const record = { Schema: 'peer', ID: '12D3KooWCKks4MmNNUjgdMaYfeRHYUxYLhpEDKmujyM9BKE2CpJ5', Addrs: [addr], Protocols: ['transport-ipfs-gateway-http'] }
    response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    response.end(what === 'the root' ? JSON.stringify(record) + '\n' : '')
    return
  }
  response.writeHead(blocks.has(cid) ? 200 : 404, { 'content-type': 'application/vnd.ipld.raw' })
  response.end(blocks.get(cid))
}).listen(0, '127.0.0.1')
await new Promise(resolve => server.once('listening', resolve))

async function helia () {
  return withHTTP(createHeliaLight(), {
    delegatedRouters: [`http://127.0.0.1:${server.address().port}`],
    recursiveGateways: [],
    allowInsecure: true,
    allowLocal: true
  }).start()
}

async function cat (what, fs) {
  asked = []
  let size = 0
  let fault = ''
  try {
    for await (const part of fs.cat(root, { signal: AbortSignal.timeout(20_000) })) size += part.length
  } catch (error) {
    fault = ` ${error.name}`
  }
  console.log(`${what}: ${size} bytes${fault}, providers looked for: ${[...new Set(asked)].join(', ')}`)
}

const first = await helia()
await cat('helia, no session', unixfs(first))
const second = await helia()
await cat('helia, a session', unixfs({ blockstore: second.blockstore.createSession(root) }))
const third = await helia()
for await (const _ of third.blockstore.createSession(root).get(root)) { /* it is kept */ }
await cat('helia, a session when the root is kept', unixfs({ blockstore: third.blockstore.createSession(root) }))
process.exit(0)
JS
got=$(node_modules/node/bin/node probe.mjs 2>&1)
want=$(cat <<'WANT'
helia, no session: 0 bytes LoadBlockFailedError, providers looked for: the root, a leaf
helia, a session: 2000000 bytes, providers looked for: the root
helia, a session when the root is kept: 0 bytes LoadBlockFailedError, providers looked for: a leaf
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
