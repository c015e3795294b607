// The libp2p node of this peer.

import { createHash } from 'node:crypto'
import { generateKeyPair, generateKeyPairFromSeed, privateKeyFromRaw } from '@libp2p/crypto/keys'
import { identify, identifyPush } from '@libp2p/identify'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'
import { serveEcho, serveReset } from './streams.mjs'

export const ECHO = '/fastmarket/interop/echo/1.0.0'
export const RESET = '/fastmarket/interop/reset/1.0.0'
const MAX_STREAMS = 10_000 // the tests, not the library's limits, say how many streams are open at once

/** The private key of a type, always the same one for the same seed where a seed is the whole key. */
async function makeKey (type, seed) {
  const secret = seed == null ? null : createHash('sha256').update(`fastmarket interop ${seed}`).digest()
  switch (type) {
    case 'ed25519':
      return secret == null ? generateKeyPair('Ed25519') : generateKeyPairFromSeed('Ed25519', secret)
    case 'secp256k1':
      return secret == null ? generateKeyPair('secp256k1') : privateKeyFromRaw(secret)
    case 'rsa':
      return generateKeyPair('RSA', 2048)
    default: // the library makes ECDSA keys, but no peer ids of them
      throw new Error(`no identities of type ${type}`)
  }
}

/** Noise that neither offers nor sees the muxers of the handshake's extensions, so multistream-select chooses one. */
function noiseWithoutMuxers (components) {
  const encrypter = noise()(components)
  const skip = method => (connection, options) => method(connection, { ...options, skipStreamMuxerNegotiation: true })
  encrypter.secureInbound = skip(encrypter.secureInbound.bind(encrypter))
  encrypter.secureOutbound = skip(encrypter.secureOutbound.bind(encrypter))
  return encrypter
}

export async function makeNode ({ listen, keyType, seed, kadPrefix, mode, earlyMuxer }) {
  const node = await createLibp2p({
    privateKey: await makeKey(keyType, seed),
    addresses: { listen },
    transports: [tcp()],
    connectionEncrypters: [earlyMuxer ? noise() : noiseWithoutMuxers],
    streamMuxers: [yamux()],
    connectionManager: {
      // Every peer of a test dials from one address: the default of 5 connections a second resets most of them.
      inboundConnectionThreshold: 10_000,
      maxIncomingPendingConnections: 1_000,
      maxParallelReconnects: 0 // a peer of the routing table is otherwise dialed again after a disconnect
    },
    services: {
      identify: identify(),
      identifyPush: identifyPush({ debounce: 10 }),
      ping: ping(),
      dht: kadDHT({
        protocol: `${kadPrefix}/kad/1.0.0`,
        clientMode: mode === 'client',
        peerInfoMapper: passthroughMapper, // the default drops loopback and private addresses
        initialQuerySelfInterval: 100, // every query waits for the first self-lookup
        validators: { fm: () => {} },
        selectors: { fm: () => 0 }
      })
    }
  })
  const limits = { maxInboundStreams: MAX_STREAMS, maxOutboundStreams: MAX_STREAMS }
  await node.handle(ECHO, serveEcho, limits)
  await node.handle(RESET, serveReset, limits)
  return node
}
