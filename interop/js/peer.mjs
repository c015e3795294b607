// A js-libp2p peer of the interoperability matrix; ../README.md describes the conversation.

import './polyfill.mjs' // first: imports run in this order
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { makeNode } from './node.mjs'
import { makeOps } from './ops.mjs'

const DEFAULT_TIMEOUT_S = 20

const { values: args } = parseArgs({
  options: {
    listen: { type: 'string', multiple: true, default: [] },
    'key-type': { type: 'string', default: 'ed25519' },
    seed: { type: 'string' },
    'kad-prefix': { type: 'string', default: '/fastmarket' },
    mode: { type: 'string', default: 'server' },
    'early-muxer': { type: 'string', default: 'on' }
  }
})

const say = message => process.stdout.write(`${JSON.stringify(message)}\n`)
const oneLine = error => `${error?.name ?? 'Error'}: ${error?.message ?? error}`.replace(/\s+/g, ' ')

async function answer (ops, { id, op, timeout_s: timeoutS = DEFAULT_TIMEOUT_S, ...rest }) {
  if (!Object.hasOwn(ops, op)) {
    return { id, ok: false, error: 'unsupported', unsupported: true }
  }
  const signal = AbortSignal.timeout(timeoutS * 1000)
  const late = new Promise((resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  try {
    return { id, ok: true, result: await Promise.race([ops[op](rest, signal), late]) }
  } catch (error) {
    return { id, ok: false, error: oneLine(error) }
  }
}

const node = await makeNode({
  listen: args.listen,
  keyType: args['key-type'],
  seed: args.seed,
  kadPrefix: args['kad-prefix'],
  mode: args.mode,
  earlyMuxer: args['early-muxer'] === 'on'
})
const ops = makeOps(node)
const { dependencies } = JSON.parse(readFileSync(new URL('package.json', import.meta.url)))
say({
  ready: true,
  peer_id: node.peerId.toString(),
  listen: node.getMultiaddrs().map(String),
  implementation: 'js-libp2p',
  version: dependencies.libp2p,
  can: ['ed25519', 'secp256k1', 'rsa', 'early-muxer', 'values-fm-only']
})

for await (const line of createInterface({ input: process.stdin })) {
  if (line.trim() !== '') {
    answer(ops, JSON.parse(line)).then(say)
  }
}
await node.stop()
process.exit(0) // a timer of the library's would keep the process
