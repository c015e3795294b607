// Reading and writing of streams, and the protocols that are only for tests.

import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

const BLOCK = Uint8Array.from({ length: 65_536 }, (_, i) => i % 251) // 251: no power of two divides the pattern
const READ_LIMIT = 1 << 20
const LARGEST_WINDOW = 16 << 20 // to which the library's yamux lets a stream grow

/** Waits until a stream takes more; the library's own onDrain() waits only the first time it is called. */
function drained (stream, signal) {
  return new Promise((resolve, reject) => {
    const done = new AbortController()
    const once = { signal: done.signal }
    const settle = (act, value) => { done.abort(); act(value) }
    stream.addEventListener('drain', () => settle(resolve), once)
    stream.addEventListener('close', ({ error }) => settle(reject, error ?? new Error('the stream closed')), once)
    signal?.addEventListener('abort', () => settle(reject, signal.reason), once)
  })
}

async function write (stream, data, signal) {
  if (!stream.send(data)) {
    await drained(stream, signal)
  }
}

/**
 * Gives `take` what a stream receives, up to the other side's half-close; rejects if the stream is reset.
 * Not `for await`: that ends at the half-close itself and drops what a pause held back.
 */
function readAll (stream, take, signal) {
  stream.maxReadBufferLength = LARGEST_WINDOW // the default is smaller: a paused stream would be reset
  return new Promise((resolve, reject) => {
    const ended = () => {
      // A reset is an end as well; its 'close' follows and tells the error.
      if (stream.readableEnded && stream.status !== 'reset' && stream.status !== 'aborted') {
        resolve()
      }
    }
    signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
    stream.addEventListener('end', ended)
    stream.addEventListener('close', ({ error }) => error == null ? ended() : reject(error))
    stream.addEventListener('message', ({ data }) => take(data.subarray()))
    ended()
  })
}

/** Sends back what comes, as it comes: reads nothing while the other side takes nothing. */
export async function serveEcho (stream) {
  let fault
  await readAll(stream, data => {
    if (!stream.send(data)) {
      stream.pause()
      drained(stream).then(() => stream.resume()).catch(error => { fault = error })
    }
  })
  if (fault != null) {
    throw fault
  }
  await stream.close()
}

export async function serveReset (stream) {
  await readAll(stream, () => stream.abort(new Error('a reset was asked for'))).catch(() => {})
}

/** Echoes `size` bytes, reading nothing for the first `delayMs`. */
export async function echo (stream, size, delayMs, signal) {
  const sent = createHash('sha256')
  const back = createHash('sha256')
  let bytes = 0
  if (delayMs > 0) {
    stream.pause()
    sleep(delayMs).then(() => stream.resume()).catch(() => {})
  }
  const reading = readAll(stream, data => {
    bytes += data.byteLength
    back.update(data)
  }, signal)
  const writing = (async () => {
    for (let left = size; left > 0; left -= BLOCK.byteLength) {
      const block = BLOCK.subarray(0, Math.min(left, BLOCK.byteLength))
      sent.update(block)
      await write(stream, block, signal)
    }
    await stream.close({ signal })
  })()
  await Promise.all([writing, reading])
  return { bytes, sha256_ok: sent.digest('hex') === back.digest('hex') }
}

/** Resolves when the other side resets the stream. */
export async function expectReset (stream, signal) {
  const reading = readAll(stream, () => {}, signal)
  stream.send(Uint8Array.of(1))
  try {
    await reading
  } catch (error) {
    if (error.name === 'StreamResetError') {
      return
    }
    throw error
  }
  throw new Error('the stream was closed, not reset')
}

export async function exchange (stream, data, halfClose, signal) {
  const chunks = []
  let bytes = 0
  const reading = readAll(stream, chunk => {
    bytes += chunk.byteLength
    if (bytes > READ_LIMIT) {
      stream.abort(new Error(`more than ${READ_LIMIT} bytes came`))
    } else {
      chunks.push(Buffer.from(chunk))
    }
  }, signal)
  const writing = (async () => {
    if (data.byteLength > 0) {
      await write(stream, data, signal)
    }
    if (halfClose) {
      await stream.close({ signal })
    }
  })()
  await Promise.all([writing, reading])
  return Buffer.concat(chunks)
}
