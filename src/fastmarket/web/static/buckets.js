// The routing table as a drawing: our own key is the line, each bucket a branch of it.
import { byId, counted, drawn } from './dom.js'

const [TOP, ROW] = [24, 24]
const [LEFT, STEP, DOT, RADIUS] = [40, 4, 14, 5]
const MOST_DOTS = 20 // a bucket holds as many; of a larger one the rest is a number
const MOST_ROWS = 64
let drawnFor = ''

function text (x, y, words, className) {
  const made = drawn('text', { x, y, class: className })
  made.textContent = words
  return made
}

function rowOf (bits, peers, i) {
  const [x, y] = [LEFT + i * STEP, TOP + ROW * i + ROW / 2]
  const parts = [text(LEFT - 16, y + 4, String(bits), 'bits'), drawn('path', { d: `M${x} ${y - ROW / 2}q0 ${ROW / 2} 12 ${ROW / 2}`, class: 'branch' })]
  const ordered = [...peers].sort((a, b) => b.connected - a.connected)
  ordered.slice(0, MOST_DOTS).forEach((peer, n) => {
    parts.push(drawn('circle', { cx: x + 20 + n * DOT, cy: y, r: RADIUS, class: peer.connected ? 'connected' : 'known' }))
  })
  const rest = peers.length - MOST_DOTS
  if (rest > 0) parts.push(text(x + 16 + MOST_DOTS * DOT, y + 4, `+${rest}`))
  return parts
}

export function showBuckets (peers) {
  const buckets = new Map()
  for (const peer of peers) buckets.set(peer.bucket, [...buckets.get(peer.bucket) ?? [], peer])
  if (buckets.size === 0) return
  const deepest = Math.min(Math.max(...buckets.keys()), MOST_ROWS - 1)
  const rows = Array.from({ length: deepest + 1 }, (_, bits) => [bits, buckets.get(bits) ?? []])
  const mark = JSON.stringify(rows.map(([bits, inIt]) => [bits, inIt.length, inIt.filter(peer => peer.connected).length]))
  if (mark === drawnFor) return
  drawnFor = mark
  const end = [LEFT + rows.length * STEP, TOP + ROW * rows.length]
  const [width, height] = [end[0] + 20 + (MOST_DOTS + 2) * DOT, end[1] + 18]
  const connected = peers.filter(peer => peer.connected).length
  const label = `${counted(peers.length, 'peer', 'peers')} in ${counted(buckets.size, 'bucket', 'buckets')}, ${connected} connected: ` +
    rows.filter(([, inIt]) => inIt.length).map(([bits, inIt]) => `${inIt.length} with ${counted(bits, 'bit', 'bits')}`).join(', ')
  const svg = drawn('svg', { viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': label },
    text(0, 11, 'bits shared with this node, and the peers'),
    drawn('path', { d: `M${LEFT} ${TOP - 4}L${end[0]} ${end[1]}`, class: 'spine' }),
    ...rows.flatMap(([bits, inIt], i) => rowOf(bits, inIt, i)),
    drawn('rect', { x: end[0] - 5, y: end[1] - 2, width: 10, height: 10, class: 'ours' }),
    text(end[0] + 14, end[1] + 8, 'this node'))
  byId('buckets').replaceChildren(svg)
}
