// Files that are got here, while they come and after: how much, how fast, from whom, for how much.
import { get, lines, post } from './api.js'
import { arrange, button, byId, bytes, counted, element, put, span, when, whole } from './dom.js'

const ENDS = new Set(['done', 'failed', 'stopped'])
const KEY = /^[0-9a-f]{32}$/
const cards = new Map() // by key, in the order in which they were asked for, the newest first
const rates = new Map() // bytes per second by provider, as last seen

export const rateOf = provider => rates.get(provider)

const WORDS = {
  waiting: () => 'waiting for your browser',
  running: one => one.size === null ? 'asking the holders' : `${bytes(one.done)} of ${bytes(one.size)}${rate(one)}`,
  done: one => `${bytes(one.size)}, verified, ${one.cost === '0' ? 'for nothing' : `for ${whole(one.cost)}`}, in ${took(one.took_s)}`,
  failed: one => `failed after ${bytes(one.done)}: ${one.error}`,
  stopped: one => `stopped after ${bytes(one.done)}${one.cost === '0' ? '' : `, for ${whole(one.cost)}`}`
}
const took = seconds => seconds < 10 ? `${seconds.toFixed(1)} s` : span(seconds)

function rate (one) {
  const sum = one.holders.reduce((all, holder) => all + (holder.ended ? 0 : holder.rate), 0)
  const left = one.size - one.done
  return sum > 0 ? `, ${bytes(sum)}/s, ${span(left / sum)} left, ${whole(one.cost)} of at most ${whole(one.most_cost)} so far` : ''
}

class Card {
  constructor (one) {
    this.node = element('li', undefined, 'card')
    this.title = element('b', one.name)
    this.title.title = one.content
    this.when = element('span', when(one.asked_at), 'quiet')
    this.state = element('p')
    this.bar = element('progress')
    this.bar.max = 1
    this.bar.setAttribute('aria-label', `${one.name}, so far`)
    this.stop = button('Stop', () => post(`market/get/${one.key}/stop`, {}).then(show, () => {}), 'second')
    this.stop.setAttribute('aria-label', `Stop getting ${one.name}`)
    this.holders = element('ul', undefined, 'plain holders')
    this.fold = element('details')
    this.summary = element('summary', 'Holders')
    this.fold.append(this.summary, this.holders)
    const head = element('p', undefined, 'row spread')
    head.append(this.title, this.when)
    this.node.append(head, this.bar, this.state, this.fold, this.stop)
    this.rows = new Map()
  }

  show (one) {
    this.one = one
    const isOver = ENDS.has(one.state)
    this.node.dataset.state = one.state
    put(this.state, WORDS[one.state](one))
    this.bar.hidden = isOver
    if (one.size) this.bar.value = one.done / one.size
    else this.bar.removeAttribute('value')
    this.stop.hidden = isOver
    this.showHolders(one, isOver)
  }

  showHolders (one, isOver) {
    const used = one.holders.filter(holder => holder.bytes || !isOver || holder.ended)
    this.fold.hidden = used.length === 0
    put(this.summary, `From ${counted(used.filter(holder => holder.bytes).length, 'holder', 'holders')}`)
    if (!isOver && !this.isOpened) this.fold.open = this.isOpened = true
    for (const holder of one.holders) if (holder.provider && holder.rate > 0) rates.set(holder.provider, holder.rate)
    const rows = used.map(holder => {
      const key = `${holder.provider} ${holder.source}`
      if (!this.rows.has(key)) this.rows.set(key, new HolderRow(holder))
      const row = this.rows.get(key)
      row.show(holder, one, isOver)
      return row.node
    })
    arrange(this.holders, rows)
  }
}

class HolderRow {
  constructor (holder) {
    this.node = element('li')
    const name = element('span', holder.name || holder.source, 'who')
    name.title = `${holder.source} ${holder.provider}`
    this.bar = element('meter')
    this.bar.setAttribute('aria-label', `Share of ${holder.name || holder.source}`)
    this.words = element('span', '', 'quiet')
    this.node.append(name, this.bar, this.words)
  }

  show (holder, one, isOver) {
    this.bar.value = one.size ? holder.bytes / one.size : 0
    const speed = !isOver && !holder.ended && holder.rate > 0 ? `, ${bytes(holder.rate)}/s` : ''
    const cost = holder.cost === '0' ? '' : `, cost ${whole(holder.cost)}`
    const ended = holder.ended ? `, ${holder.ended}` : ''
    put(this.words, `${bytes(holder.bytes)} at ${whole(holder.price)} per MB${speed}${cost}${ended}`)
  }
}

function show (one) {
  if (!KEY.test(one.key)) return
  if (!cards.has(one.key)) cards.set(one.key, new Card(one))
  const card = cards.get(one.key)
  const before = card.one?.state
  card.show(one)
  if (before && before !== one.state && ENDS.has(one.state)) put(byId('gets-state'), `${one.name}: ${WORDS[one.state](one)}`)
  const newestFirst = [...cards.values()].sort((a, b) => b.one.asked_at - a.one.asked_at)
  arrange(byId('gets'), newestFirst.map(({ node }) => node))
  byId('gets-none').hidden = cards.size > 0
  showSum(newestFirst.map(({ one }) => one))
}

function showSum (all) {
  const complete = all.filter(({ state }) => state === 'done')
  const cost = all.reduce((sum, one) => sum + BigInt(one.cost), 0n)
  byId('gets-sum').hidden = all.length < 2
  put(byId('gets-sum'), `${counted(complete.length, 'file', 'files')}, ${bytes(gotBytes())} in all, for ${whole(cost)}`)
}

// Of all that is known, for the chart.
export const gotBytes = () => [...cards.values()].reduce((sum, { one }) => sum + one.done, 0)

async function watch (key) {
  try {
    for await (const line of lines(`market/get/${key}/progress`)) if (!line.end) show(line)
  } catch {
    // The node is gone, which the page tells, or has forgotten it.
  }
}

// Has the browser save the file: it takes it as it comes, and asks where to put it if it is set to.
export async function start (body) {
  const one = await post('market/get', body)
  if (!KEY.test(one.key)) throw new Error('the node answers nonsense')
  show(one)
  watch(one.key)
  const link = element('a')
  link.href = `market/get/${one.key}`
  link.download = ''
  link.click()
}

export async function loadGets () {
  for (const one of (await get('market/gets')).gets) {
    const isKnown = cards.has(one.key)
    show(one)
    if (!isKnown && !ENDS.has(one.state)) watch(one.key)
  }
}
