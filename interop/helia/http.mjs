// A Helia node without libp2p: it asks delegated routers over HTTP, and gets blocks from trustless gateways.
//
//   node http.mjs ROUTER...
//
// The first line on stdout is {"ready": true}. Each line of stdin is a command, answered by a line:
//   {"op": "cat", "cid": C, "path": P, "offset": N, "length": N}   {"data": base64}: of the file at P below C
//   {"op": "ls", "cid": C, "path": P}                              {"names": [...]}
//   {"op": "cat-without-session", "cid": C}                        {"data": base64}
// All but the last look for providers of C alone, and ask these for all blocks below it, as verified-fetch does.
import { createInterface } from 'node:readline'
import { withHTTP } from '@helia/http'
import { unixfs } from '@helia/unixfs'
import { createHeliaLight } from 'helia'
import { CID } from 'multiformats/cid'

const TIMEOUT_MS = 30_000

const helia = await withHTTP(createHeliaLight(), {
  delegatedRouters: process.argv.slice(2),
  recursiveGateways: [],
  allowInsecure: true,
  allowLocal: true
}).start()
const sessions = new Map()

// One for each CID: a later one would find the root kept here, and look for providers of the first block that is not.
function below (root) {
  const key = root.toString()
  if (!sessions.has(key)) {
    sessions.set(key, unixfs({ blockstore: helia.blockstore.createSession(root) }))
  }
  return sessions.get(key)
}

async function cat (fs, cid, options) {
  const parts = []
  for await (const part of fs.cat(cid, { ...options, signal: AbortSignal.timeout(TIMEOUT_MS) })) {
    parts.push(part)
  }
  return { data: Buffer.concat(parts).toString('base64') }
}

const ops = {
  async cat ({ cid, path, offset, length }) {
    const root = CID.parse(cid)
    return cat(below(root), root, { path, offset, length })
  },
  async 'cat-without-session' ({ cid }) {
    return cat(unixfs(helia), CID.parse(cid), {})
  },
  async ls ({ cid, path }) {
    const root = CID.parse(cid)
    const names = []
    for await (const entry of below(root).ls(root, { path, signal: AbortSignal.timeout(TIMEOUT_MS) })) {
      names.push(entry.name)
    }
    return { names }
  }
}

console.log(JSON.stringify({ ready: true }))
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  try {
    console.log(JSON.stringify(await ops[command.op](command)))
  } catch (error) {
    const causes = (error.errors ?? []).map(cause => cause.message)
    console.log(JSON.stringify({ error: [`${error.name}: ${error.message}`, ...causes].join('; ') }))
  }
}
process.exit(0)
