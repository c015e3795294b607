// A Helia node with libp2p alone: TCP on loopback, Bitswap, the DHT of local networks.
//
// The first line on stdout is {"listen": [...]}. Each line of stdin is a command, answered by a line:
//   {"op": "connect", "addr": A}      connects
//   {"op": "cat", "cid": C}           {"data": base64}: the file, whose blocks are fetched
//   {"op": "add", "data": base64}     {"cid": C}
import { createInterface } from 'node:readline'
import { unixfs } from '@helia/unixfs'
import { withBitswap } from '@helia/bitswap'
import { withLibp2pLight } from '@helia/libp2p'
import { identify } from '@libp2p/identify'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createHeliaLight } from 'helia'
import { CID } from 'multiformats/cid'

const TIMEOUT_MS = 30_000

const helia = await withBitswap(withLibp2pLight(createHeliaLight(), {
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: {
    identify: identify(),
    ping: ping(),
    dht: kadDHT({
      protocol: '/ipfs/lan/kad/1.0.0',
      peerInfoMapper: passthroughMapper,
      clientMode: false
    })
  }
})).start()
const fs = unixfs(helia)

const ops = {
  async connect ({ addr }) {
    await helia.libp2p.dial(multiaddr(addr), { signal: AbortSignal.timeout(TIMEOUT_MS) })
    return {}
  },
  async cat ({ cid }) {
    const parts = []
    for await (const part of fs.cat(CID.parse(cid), { signal: AbortSignal.timeout(TIMEOUT_MS) })) {
      parts.push(part)
    }
    return { data: Buffer.concat(parts).toString('base64') }
  },
  async add ({ data }) {
    return { cid: (await fs.addBytes(Buffer.from(data, 'base64'))).toString() }
  }
}

console.log(JSON.stringify({ listen: helia.libp2p.getMultiaddrs().map(String) }))
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  try {
    console.log(JSON.stringify(await ops[command.op](command)))
  } catch (error) {
    console.log(JSON.stringify({ error: `${error.name}: ${error.message}` }))
  }
}
process.exit(0)
