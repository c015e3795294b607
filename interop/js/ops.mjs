// What each command does: op name -> function of (arguments, abort signal) giving the result.

import { setTimeout as sleep } from 'node:timers/promises'
import { peerIdFromString } from '@libp2p/peer-id'
import { multiaddr } from '@multiformats/multiaddr'
import { CID } from 'multiformats/cid'
import { ECHO, RESET } from './node.mjs'
import { echo, exchange, expectReset } from './streams.mjs'

const SLOW_READER_MS = 1_000
const IDENTIFY_MS = 5_000 // as long as the library tries
const POLL_MS = 20

const bytes = base64 => Buffer.from(base64, 'base64')
const base64 = data => Buffer.from(data).toString('base64')

/** The events of a DHT query that have this name. */
async function eventsOf (query, name) {
  const found = []
  for await (const event of query) {
    if (event.name === name) {
      found.push(event)
    }
  }
  return found
}

export function makeOps (node) {
  const { dht, identify, ping } = node.services
  const identified = new WeakSet()
  node.addEventListener('peer:identify', ({ detail }) => identified.add(detail.connection))

  /** Waits for the identify that the library starts by itself: a second one at the same time is refused. */
  async function settled (connection, signal) {
    const deadline = Date.now() + IDENTIFY_MS
    while (!identified.has(connection) && Date.now() < deadline) {
      await sleep(POLL_MS, undefined, { signal })
    }
    return connection
  }

  async function connect (addr, signal) {
    return settled(await node.dial(multiaddr(addr), { signal }), signal)
  }

  function connectionTo (peer) {
    const open = node.getConnections(peerIdFromString(peer)).find(({ status }) => status === 'open')
    if (open == null) {
      throw new Error(`no connection to ${peer}`)
    }
    return open
  }

  const openStream = (peer, protocol, signal) => connectionTo(peer).newStream(protocol, { signal, maxOutboundStreams: Infinity })

  async function closest (key, signal) {
    const found = await eventsOf(dht.getClosestPeers(key, { signal }), 'FINAL_PEER')
    return { peers: found.map(({ peer }) => peer.id.toString()) }
  }

  return {
    async connect ({ addr }, signal) {
      const { remotePeer } = await connect(addr, signal)
      return { peer_id: remotePeer.toString() }
    },

    async disconnect ({ peer }, signal) {
      await node.hangUp(peerIdFromString(peer), { signal })
      return {}
    },

    async connections () {
      return { peers: node.getPeers().map(String) }
    },

    async identify ({ peer }, signal) {
      const connection = await settled(connectionTo(peer), signal)
      const seen = await identify.identify(connection, { signal })
      return {
        agent_version: seen.agentVersion,
        protocol_version: seen.protocolVersion,
        protocols: seen.protocols,
        listen_addrs: seen.listenAddrs.map(String),
        observed_addr: seen.observedAddr?.toString() ?? null,
        public_key: base64(seen.publicKey),
        signed_peer_record: seen.signedPeerRecord != null // a bad one fails the whole identify
      }
    },

    async known_protocols ({ peer }) {
      return { protocols: (await node.peerStore.get(peerIdFromString(peer))).protocols }
    },

    async push ({ protocol }) {
      // A change of the own protocols is pushed by the library itself.
      await node.handle(protocol, stream => stream.close())
      return {}
    },

    async ping ({ peer, count }, signal) {
      let max = 0
      for (let i = 0; i < count; i++) {
        max = Math.max(max, await ping.ping(peerIdFromString(peer), { signal }))
      }
      return { count, max_ms: max }
    },

    async echo ({ peer, size, streams }, signal) {
      const all = await Promise.all(Array.from({ length: streams }, async () =>
        echo(await openStream(peer, ECHO, signal), size, 0, signal)))
      return {
        bytes: all.reduce((sum, one) => sum + one.bytes, 0),
        sha256_ok: all.every(one => one.sha256_ok)
      }
    },

    async echo_slow ({ peer, size }, signal) {
      return echo(await openStream(peer, ECHO, signal), size, SLOW_READER_MS, signal)
    },

    async reset ({ peer }, signal) {
      await expectReset(await openStream(peer, RESET, signal), signal)
      return {}
    },

    async raw ({ peer, protocol, data, half_close: halfClose }, signal) {
      const stream = await openStream(peer, protocol, signal)
      return { data: base64(await exchange(stream, bytes(data), halfClose, signal)) }
    },

    async bootstrap ({ addrs }, signal) {
      const connections = await Promise.all(addrs.map(addr => connect(addr, signal)))
      for (const { remotePeer } of connections) {
        // The library pings a server before it takes it into its table.
        while (await dht.routingTable.find(remotePeer) == null) {
          await sleep(POLL_MS, undefined, { signal })
        }
      }
      const found = await closest(node.peerId.toMultihash().bytes, signal)
      // A lookup of the library's goes from a peer only to closer ones. It finds all of a small network if it begins
      // at all of it, so let everyone of whom was heard get into the table.
      await dht.routingTable.routingTableUpdateQueue.onIdle({ signal })
      return found
    },

    async routing_table () {
      const self = node.peerId.toMultihash().digest.subarray(-32)
      return { peers: dht.routingTable.closestPeers(self, { count: Infinity }).map(String) }
    },

    async find_node ({ key, peer }, signal) {
      return closest(peer == null ? bytes(key) : peerIdFromString(peer).toMultihash().bytes, signal)
    },

    async put_value ({ key, value, quorum }, signal) {
      const replies = await eventsOf(dht.put(bytes(key), bytes(value), { signal }), 'PEER_RESPONSE')
      const stored = replies.filter(reply => reply.messageName === 'PUT_VALUE').length
      if (stored < (quorum ?? 1)) {
        throw new Error(`stored by ${stored} peers only`)
      }
      return { stored }
    },

    async get_value ({ key }, signal) {
      const values = await eventsOf(dht.get(bytes(key), { signal }), 'VALUE')
      if (values.length === 0) {
        throw new Error('not found')
      }
      return { value: base64(values.at(-1).value) }
    },

    async provide ({ cid }, signal) {
      const replies = await eventsOf(dht.provide(CID.parse(cid), { signal }), 'PEER_RESPONSE')
      const announced = replies.filter(reply => reply.messageName === 'ADD_PROVIDER').length
      if (announced === 0) {
        throw new Error('announced to no peer')
      }
      return { announced }
    },

    async find_providers ({ cid, count }, signal) {
      const providers = new Map()
      for await (const event of dht.findProviders(CID.parse(cid), { signal })) {
        if (event.name === 'PROVIDER') {
          for (const { id, multiaddrs } of event.providers) {
            providers.set(id.toString(), multiaddrs.map(String))
          }
        }
        if (providers.size >= (count ?? Infinity)) {
          break
        }
      }
      return { providers: [...providers].map(([peerId, addrs]) => ({ peer_id: peerId, addrs })) }
    }
  }
}
