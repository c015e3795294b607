// Asks a Delegated Routing V1 server as js programs do: node client.mjs URL providers|peers|closest ID
// One JSON record on stdout for each that comes.
import '../js/polyfill.mjs'

import { delegatedRoutingV1HttpApiClient } from '@helia/delegated-routing-v1-http-api-client'
import { defaultLogger } from '@libp2p/logger'
import { peerIdFromCID, peerIdFromString } from '@libp2p/peer-id'
import { CID } from 'multiformats/cid'

const [url, what, id] = process.argv.slice(2)
const client = delegatedRoutingV1HttpApiClient({ url, cacheTTL: 0 })({ logger: defaultLogger() })
const asks = {
  providers: () => client.getProviders(CID.parse(id)),
  peers: () => client.getPeers(peerIdFromString(id).toCID()),
  closest: () => client.getClosestPeers(CID.parse(id))
}

await client.start()
for await (const { ID, Addrs, Protocols } of asks[what]()) {
  console.log(JSON.stringify({ id: peerIdFromCID(ID).toString(), addrs: Addrs.map(String), protocols: Protocols }))
}
await client.stop()
