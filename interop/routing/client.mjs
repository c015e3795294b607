// Asks a Delegated Routing V1 server as js programs do:
//   node client.mjs URL providers|peers|closest ID [PROTOCOL,...]   one JSON record on stdout for each that comes
//   node client.mjs URL publish ID HEX                              puts a record of a name
//   node client.mjs URL resolve ID                                  its record as hex
import '../js/polyfill.mjs'

import { delegatedRoutingV1HttpApiClient } from '@helia/delegated-routing-v1-http-api-client'
import { defaultLogger } from '@libp2p/logger'
import { peerIdFromCID, peerIdFromString } from '@libp2p/peer-id'
import { CID } from 'multiformats/cid'

const [url, what, id, more] = process.argv.slice(2)
const client = delegatedRoutingV1HttpApiClient({ url, cacheTTL: 0, filterProtocols: more?.split(',') })({
  logger: defaultLogger()
})
const found = {
  providers: () => client.getProviders(CID.parse(id)),
  peers: () => client.getPeers(peerIdFromString(id).toCID()),
  closest: () => client.getClosestPeers(CID.parse(id))
}

await client.start()
if (what === 'publish') {
  await client.putIPNS(peerIdFromString(id).toCID(), Buffer.from(more, 'hex'))
} else if (what === 'resolve') {
  console.log(Buffer.from(await client.getIPNS(peerIdFromString(id).toCID())).toString('hex'))
} else {
  for await (const { ID, Addrs, Protocols } of found[what]()) {
    console.log(JSON.stringify({ id: peerIdFromCID(ID).toString(), addrs: Addrs.map(String), protocols: Protocols }))
  }
}
await client.stop()
