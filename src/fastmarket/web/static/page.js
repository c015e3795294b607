// The page: asks the node every two seconds how it is, and puts the parts together.
import { get, hasToken, onToken, useToken } from './api.js'
import { showBuckets } from './buckets.js'
import { showCharts } from './charts.js'
import { arrange, byId, bytes, counted, element, fillRows, put, short, span, when, whole } from './dom.js'
import { gotBytes, loadGets } from './gets.js'
import { loadMoney } from './money.js'
import { setUpSearch } from './search.js'
import { loadGoods, setUpSelling } from './selling.js'

const POLL_MS = 2000
let before = null
let market = null // what can be done here; null while that is not known

function showFacts (status) {
  const facts = { 'Peer id': [status.peer_id], 'Listening on': status.listen, Announced: status.announced, Version: [`${status.version}, ${status.mode}`] }
  const items = Object.entries(facts).flatMap(([name, values]) =>
    [element('dt', name), ...values.map((value, i) => element('dd', value, i ? 'next' : ''))])
  if (byId('facts').textContent !== items.map(item => item.textContent).join('')) byId('facts').replaceChildren(...items)
}

function showFigures (counts) {
  const figures = [
    ['peers known', counts.peers], ['connections', counts.connections], ['offers stored', counts.offers],
    ['own offers', counts.own_offers], ['lookups in progress', counts.jobs]
  ]
  const list = byId('figures')
  if (list.children.length === 0) {
    arrange(list, figures.map(([name]) => {
      const item = element('li')
      item.append(element('b'), element('span', name))
      return item
    }))
  }
  figures.forEach(([, value], i) => put(list.children[i].firstChild, value.toLocaleString()))
}

function showRates (totals, sentContent) {
  const now = { at: performance.now(), totals: { ...totals, sold: sentContent, got: gotBytes() } }
  const rate = name => {
    const [was, is] = [before?.totals[name] ?? null, now.totals[name]]
    return was === null || is === null ? null : Math.max(0, (is - was) * 1000 / (now.at - before.at))
  }
  const perSecond = value => `${bytes(value)}/s`
  const rates = [
    ['bought, through this page', rate('got'), perSecond], ['sold', rate('sold'), perSecond],
    ['received from peers', rate('received_bytes'), perSecond], ['sent to peers', rate('sent_bytes'), perSecond],
    ['offers stored per second', rate('stores'), value => value.toFixed(1)]
  ]
  showCharts(market?.sells ? rates : rates.filter(([name]) => name !== 'sold'))
  before = now
}

function showOffers (offers) {
  byId('offers-none').hidden = offers.length > 0
  byId('offers-box').hidden = offers.length === 0
  put(byId('offers-count'), counted(offers.length, 'offer', 'offers'))
  fillRows('offers', offers.map(offer => ({
    key: `${offer.provider} ${offer.user_id} ${offer.cid}`,
    cells: [
      [offer.file ?? short(offer.cid), offer.file ? '' : 'id', offer.cid], [offer.holder], [whole(offer.price_per_mb), 'number'],
      [offer.at, 'at'], [when(offer.not_after), 'time'], [offer.own ? 'ours' : short(offer.provider), offer.own ? '' : 'id', offer.provider]
    ]
  })))
}

function showPeers (peers) {
  byId('peers-none').hidden = peers.length > 0
  byId('buckets-box').hidden = byId('peers-box').hidden = peers.length === 0
  showBuckets(peers)
  fillRows('peers', peers.map(peer => ({
    key: peer.id,
    cells: [
      [short(peer.id), 'id', peer.id], [String(peer.bucket), 'number'], [peer.agent || 'unknown'],
      [peer.connected ? 'yes' : 'no'], [peer.addrs[0] ?? 'unknown', 'at']
    ]
  })))
}

// --- the market, which not everybody may use

function closeMarket (why, isToken) {
  market = null
  byId('token-form').hidden = !isToken
  put(byId('token-note'), hasToken() ? `${why}.` : '')
  byId('closed').hidden = isToken
  put(byId('closed'), isToken ? '' : `Here you can look, not buy or sell: ${why}.`)
  byId('sell-form').hidden = byId('money').hidden = byId('money-link').hidden = true
  if (isToken) onToken(openMarket)
}

async function openMarket () {
  try {
    market = await get('market')
  } catch (error) {
    if (error.status) closeMarket(error.message, error.status === 401)
    return
  }
  byId('token-form').hidden = byId('closed').hidden = true
  byId('sell-form').hidden = !market.sells
  byId('sell-none').hidden = market.sells
  byId('money').hidden = byId('money-link').hidden = !market.pays
  byId('choose').hidden = !market.chooses
  byId('choose-none').hidden = market.chooses
  await loadGets()
}

async function poll () {
  const state = byId('state')
  try {
    const status = await get('status.json')
    if (market === null && byId('token-form').hidden && byId('closed').hidden) await openMarket()
    const sent = market?.sells ? await loadGoods() : null
    if (market?.pays) await loadMoney(performance.now())
    showFacts(status)
    showFigures(status.counts)
    showRates(status.totals, sent)
    showOffers(status.offers)
    showPeers(status.peers)
    // Screen readers announce only failures and recoveries, not every poll.
    state.setAttribute('aria-live', state.className ? 'assertive' : 'off')
    put(state, `Running for ${span(status.uptime_s)}`)
    state.className = ''
  } catch (error) {
    state.setAttribute('aria-live', 'assertive')
    put(state, error.status ? `The node refuses: ${error.message}` : 'The node does not answer.')
    state.className = 'trouble'
    before = null
    market = null
  }
  setTimeout(poll, POLL_MS)
}

byId('token-form').addEventListener('submit', event => {
  event.preventDefault()
  useToken(byId('token').value.trim())
  byId('token').value = ''
})
setUpSearch()
setUpSelling()
poll()
