// The status page: polls the node every two seconds, and shows search results as they arrive.
'use strict'

const POLL_MS = 2000
const byId = id => document.getElementById(id)
let before = null

function element (name, text, className) {
  const made = document.createElement(name)
  if (text !== undefined) made.textContent = text
  if (className) made.className = className
  return made
}

function row (cells) {
  const made = document.createElement('tr')
  for (const [text, className, title] of cells) {
    const cell = element('td', text, className)
    if (title) cell.title = title
    made.append(cell)
  }
  return made
}

// Replaces children only when they have changed, to preserve the reader's position and selection.
function fill (id, children) {
  const fresh = element(byId(id).tagName)
  fresh.append(...children)
  if (fresh.innerHTML !== byId(id).innerHTML) byId(id).replaceChildren(...fresh.childNodes)
}

function bytes (count) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB']
  let step = 0
  for (count = Number(count); count >= 1000 && step < units.length - 1; step++) count /= 1000
  return `${count >= 100 || step === 0 ? Math.round(count) : count.toFixed(1)} ${units[step]}`
}

function span (seconds) {
  const days = Math.floor(seconds / 86400)
  const [hours, minutes] = [Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60]
  if (days) return `${days} d ${hours} h`
  return hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min` : `${Math.floor(seconds)} s`
}

const when = seconds => new Date(seconds * 1000).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' })
const short = id => `${id.slice(0, 8)}…${id.slice(-6)}`

function showNode (status) {
  const facts = { 'Peer id': [status.peer_id], 'Listening on': status.listen, Announced: status.announced, Version: [`${status.version}, ${status.mode}`] }
  fill('node', Object.entries(facts).flatMap(([name, values]) =>
    [element('dt', name), ...values.map((value, i) => { const dd = element('dd', value); if (i) dd.style.gridColumn = '2'; return dd })]))
  const now = performance.now()
  const rate = name => {
    if (before === null) return '–'
    return (status.totals[name] - before.totals[name]) * 1000 / (now - before.at)
  }
  const perSecond = value => typeof value === 'number' ? `${bytes(value)}/s` : value
  const stores = rate('stores')
  const figures = [
    ['peers known', status.counts.peers], ['connections', status.counts.connections],
    ['offers stored', status.counts.offers], ['own offers', status.counts.own_offers],
    ['lookups in progress', status.counts.jobs], ['offers stored per second', typeof stores === 'number' ? stores.toFixed(1) : stores],
    ['received', perSecond(rate('received_bytes'))], ['sent', perSecond(rate('sent_bytes'))]
  ]
  fill('figures', figures.map(([name, value]) => {
    const item = element('li')
    item.append(element('b', String(value)), element('span', name))
    return item
  }))
  before = { totals: status.totals, at: now }
}

function showOffers (offers) {
  byId('offers-none').hidden = offers.length > 0
  byId('offers-box').hidden = offers.length === 0
  fill('offers', offers.map(offer => row([
    [offer.file ?? short(offer.cid), offer.file ? '' : 'id', offer.cid], [offer.holder], [offer.price_per_mb, 'number'],
    [offer.at, 'at'], [when(offer.not_after), 'time'], [offer.own ? 'ours' : short(offer.provider), offer.own ? '' : 'id', offer.provider]
  ])))
}

function showPeers (peers) {
  byId('peers-none').hidden = peers.length > 0
  byId('buckets-box').hidden = byId('peers-box').hidden = peers.length === 0
  const buckets = new Map()
  for (const peer of peers) buckets.set(peer.bucket, [...buckets.get(peer.bucket) ?? [], peer])
  fill('buckets', [...buckets].sort(([a], [b]) => a - b).map(([bits, inIt]) => {
    const connected = inIt.filter(peer => peer.connected).length
    const made = row([[String(bits), 'number'], [String(inIt.length), 'number']])
    const dots = element('span', '●'.repeat(connected) + '○'.repeat(inIt.length - connected), 'dots')
    dots.setAttribute('role', 'img')
    dots.setAttribute('aria-label', `${connected} of ${inIt.length} connected`)
    const cell = element('td')
    cell.append(dots)
    made.append(cell)
    return made
  }))
  fill('peers', peers.map(peer => row([
    [short(peer.id), 'id', peer.id], [peer.agent || 'unknown'], [peer.connected ? 'yes' : 'no'], [peer.addrs[0] ?? 'unknown', 'at']
  ])))
}

async function poll () {
  const state = byId('state')
  try {
    const status = await (await fetch('status.json')).json()
    showNode(status)
    showOffers(status.offers)
    showPeers(status.peers)
    const text = `Running for ${span(status.uptime_s)}`
    // Screen readers announce only failures and recoveries, not every poll.
    state.setAttribute('aria-live', state.className ? 'assertive' : 'off')
    if (state.textContent !== text) state.textContent = text
    state.className = ''
  } catch {
    state.setAttribute('aria-live', 'assertive')
    state.textContent = 'The node does not answer.'
    state.className = 'trouble'
    before = null
  }
  setTimeout(poll, POLL_MS)
}

let searching = new AbortController()

async function * lines (response) {
  let rest = ''
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    const parts = (rest + value).split('\n')
    rest = parts.pop()
    for (const part of parts) yield JSON.parse(part)
  }
}

// Of two versions of an offer the higher seq wins; withdrawn offers are not shown.
function add (found, offer) {
  const key = `${offer.provider} ${offer.user_id}`
  const held = found.get(key)
  if (held === undefined || BigInt(offer.seq) > BigInt(held.seq)) found.set(key, offer)
}

function showFound (found) {
  const offers = [...found.values()].filter(offer => !offer.withdrawn)
  offers.sort((a, b) => BigInt(a.price_per_mb) < BigInt(b.price_per_mb) ? -1 : 1)
  byId('found-box').hidden = offers.length === 0
  fill('found', offers.map(offer => row([
    [offer.holder], [offer.price_per_mb, 'number'], [offer.at, 'at'], [offer.size === null ? '' : bytes(offer.size), 'number'],
    [when(offer.not_after), 'time'], [short(offer.provider), 'id', offer.provider]
  ])))
  return offers.length
}

byId('search').addEventListener('submit', async event => {
  event.preventDefault()
  searching.abort()
  const mine = searching = new AbortController()
  const state = byId('found-state')
  const found = new Map()
  const began = performance.now()
  showFound(found)
  state.textContent = 'Searching …'
  try {
    const query = new URLSearchParams({ content: byId('content').value.trim() })
    const response = await fetch(`find?${query}`, { signal: mine.signal })
    if (!response.ok) throw new Error((await response.json()).error)
    let end = {}
    for await (const line of lines(response)) {
      if (line.end === 'failed') throw new Error(line.error)
      if (line.end === undefined) add(found, line)
      else end = line
      showFound(found)
    }
    const count = showFound(found)
    const took = `in ${Math.max(1, Math.round(performance.now() - began))} ms`
    const unpriced = end.providers_without_price
    const without = unpriced ? ` No offers; ${unpriced} ${unpriced === 1 ? 'provider' : 'providers'} without a price.` : ''
    const name = end.named_by === 'TEXT_HASH' ? ' It is not a CID or SHA-256, so the hash of its text was used.' : ''
    state.textContent = (count ? `${count} ${count === 1 ? 'holder' : 'holders'} ${took}.` : `No holders found ${took}.`) + without + name
  } catch (error) {
    if (!mine.signal.aborted) state.textContent = `The search failed: ${error.message}.`
  }
})

poll()
