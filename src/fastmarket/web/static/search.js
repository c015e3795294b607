// The search, its holders as they come, and what a file will cost before it is got.
import { lines } from './api.js'
import { byId, bytes, compare, counted, fillRows, put, short, when, whole } from './dom.js'
import { rateOf, start } from './gets.js'

const THERE = { live: 'yes', missing: 'does not have it', silent: 'does not answer' }
let searching = new AbortController()
let planning = new AbortController()
let plan = null
let found = null

class Found {
  constructor (content) {
    this.content = content
    this.began = performance.now()
    this.offers = new Map()
    this.probes = new Map()
  }

  // Of two versions of an offer the higher seq wins; withdrawn offers are not shown.
  add (line) {
    if (line.probed !== undefined) {
      this.probes.set(line.probed, line)
      return
    }
    this.took = performance.now() - this.began
    const key = `${line.provider} ${line.user_id}`
    const held = this.offers.get(key)
    if (held === undefined || BigInt(line.seq) > BigInt(held.seq)) this.offers.set(key, line)
  }

  live () {
    const offers = [...this.offers].filter(([, offer]) => !offer.withdrawn)
    return offers.sort(([, a], [, b]) => compare(a.price_per_mb, b.price_per_mb))
  }
}

function speed (offer, probe) {
  const rate = rateOf(offer.provider)
  const answer = probe?.ms ? `answers in ${probe.ms} ms` : ''
  return [rate ? `${bytes(rate)}/s` : '', answer].filter(Boolean).join(', ') || '–'
}

function showFound () {
  const offers = found.live()
  byId('found-box').hidden = offers.length === 0
  fillRows('found', offers.map(([key, offer]) => {
    const probe = found.probes.get(offer.url)
    const there = probe ? THERE[probe.liveness] : offer.url ? '…' : offer.ways.length ? offer.ways.join(', ') : 'not asked'
    return {
      key,
      cells: [
        [offer.holder, '', offer.provider], [whole(offer.price_per_mb), 'number'],
        [there, `there ${probe?.liveness ?? ''}`], [speed(offer, probe), 'number'],
        [offer.size === null ? '' : bytes(offer.size), 'number'], [offer.at, 'at'], [when(offer.not_after), 'time']
      ]
    }
  }))
  return offers
}

function showEnd (end) {
  const count = showFound().length
  const took = `in ${Math.max(1, Math.round(found.took ?? performance.now() - found.began))} ms`
  const unpriced = end.providers_without_price
  const without = unpriced ? ` No offers; ${counted(unpriced, 'provider', 'providers')} without a price.` : ''
  const isName = end.named_by === 'TEXT_HASH'
  const name = isName ? ' It is not a CID or SHA-256, so the hash of its text was used.' : ''
  const path = end.path ? ` They hold the folder of ${end.path}.` : ''
  put(byId('found-state'), (count ? `${counted(count, 'holder', 'holders')} ${took}.` : `No holders found ${took}.`) + path + without + name)
  byId('get-offer').hidden = isName || (count === 0 && !unpriced)
}

export async function search (content) {
  searching.abort()
  closePanel()
  const mine = searching = new AbortController()
  found = new Found(content)
  showFound()
  byId('get-offer').hidden = true
  put(byId('found-state'), 'Searching …')
  try {
    const query = new URLSearchParams({ content })
    for await (const line of lines(`find?${query}`, { signal: mine.signal })) {
      if (line.end) {
        showEnd(line)
      } else {
        found.add(line)
        showFound()
      }
    }
  } catch (error) {
    if (!mine.signal.aborted) put(byId('found-state'), `The search failed: ${error.message}.`)
  }
}

// --- the panel

function closePanel () {
  planning.abort()
  plan = null
  byId('get').hidden = true
  byId('get-open').setAttribute('aria-expanded', 'false')
}

function likelyName () {
  const offer = found.live().map(([, one]) => one).find(one => one.file)
  const path = found.content.replace(/[?#].*$/, '').replace(/\/+$/, '')
  const behind = /^(?:ipfs:\/\/|\/ipfs\/)?[^/]+\/(.+)$/.exec(path)
  return behind ? behind[1].split('/').pop() : offer?.file ?? short(found.content)
}

function showPlan () {
  const asked = plan.holders.filter(holder => !holder.ended)
  const cost = plan.most_cost === '0' ? 'costs nothing' : `costs at most ${whole(plan.most_cost)}`
  const from = asked.length ? `, from ${counted(asked.length, 'holder', 'holders')}` : ''
  put(byId('get-plan'), `${bytes(plan.size)}: it ${cost}${from}.`)
  put(byId('get-go'), plan.most_cost === '0' ? 'Get it' : `Get it for at most ${whole(plan.most_cost)}`)
  byId('get-go').disabled = false
}

function wanted () {
  const price = byId('get-price').value.trim()
  // A file is got by its CID; digits of a digest name one, too, and the offers say which.
  const content = /^[0-9a-f]{64}$/i.test(found.content) ? found.live()[0]?.[1].cid ?? found.content : found.content
  return { content, ...(price ? { max_price: price } : {}) }
}

async function makePlan () {
  planning.abort()
  const mine = planning = new AbortController()
  plan = null
  byId('get-go').disabled = true
  put(byId('get-plan'), 'Asking the holders …')
  try {
    for await (const line of lines('market/plan', { body: wanted(), signal: mine.signal })) {
      if (line.end) continue
      plan = line
      showPlan()
    }
    if (plan === null) throw new Error('nobody says what it is')
  } catch (error) {
    if (!mine.signal.aborted) put(byId('get-plan'), `It cannot be got: ${error.message}.`)
  }
}

function openPanel () {
  if (!byId('get').hidden) return closePanel()
  byId('get').hidden = false
  byId('get-open').setAttribute('aria-expanded', 'true')
  byId('get-name').value = likelyName()
  byId('get-price').value = ''
  makePlan()
  byId('get-name').focus()
}

async function buy () {
  if (plan === null) return
  byId('get-go').disabled = true
  try {
    await start({ ...wanted(), name: byId('get-name').value, max_cost: plan.most_cost })
    closePanel()
    byId('get-open').focus()
  } catch (error) {
    put(byId('get-plan'), `It cannot be got: ${error.message}.`)
    byId('get-go').disabled = false
  }
}

export function setUpSearch () {
  byId('search').addEventListener('submit', event => {
    event.preventDefault()
    search(byId('content').value.trim())
  })
  byId('get-open').addEventListener('click', openPanel)
  byId('get-cancel').addEventListener('click', () => { closePanel(); byId('get-open').focus() })
  byId('get-price').addEventListener('change', () => { if (byId('get-price').checkValidity()) makePlan() })
  byId('get').addEventListener('submit', event => { event.preventDefault(); buy() })
  byId('get').addEventListener('keydown', event => { if (event.key === 'Escape') byId('get-cancel').click() })
}
