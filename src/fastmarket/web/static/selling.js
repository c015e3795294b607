// Selling: a path that is typed or chosen, how far its reading is, and what sells.
import { get, lines, post } from './api.js'
import { arrange, button, byId, bytes, counted, element, fillRows, put, whole } from './dom.js'

const STATES = { importing: 'being read', selling: 'selling', changed: 'changed: not sold', gone: 'gone: not sold' }
const MOST_FAULTS = 3 // of the paths of one sale, told by name
let selling = null
let chosen = null // { shown, path } of the list; the path may have bytes that no text has

const say = text => put(byId('sell-state'), text)

// --- the list to choose from

async function list (path) {
  try {
    const { shown, parent, entries, more } = await post('market/paths', { in: path })
    const up = parent === null ? [] : [entry('↑ up', () => list(parent))]
    const itself = path ? [entry(`Sell this folder: ${shown}`, () => choose({ shown, path }), 'choice')] : []
    const items = entries.map(one => one.directory
      ? entry(`${one.name}/`, () => list(one.path))
      : entry(`${one.name} (${bytes(one.size)})`, () => choose({ shown: joined(shown, one.name), path: one.path })))
    arrange(byId('entries'), [...up, ...itself, ...items])
    put(byId('chooser-at'), `${shown || 'Folders that may be sold from'}${more ? ' (not all are shown)' : ''}`)
    byId('entries').querySelector('button')?.focus()
  } catch (error) {
    put(byId('chooser-at'), `${error.message}.`)
  }
}

const joined = (directory, name) => `${directory === '/' ? '' : directory}/${name}`

function entry (text, onClick, className) {
  const item = element('li')
  item.append(button(text, onClick, `entry ${className ?? ''}`))
  return item
}

function choose (what) {
  chosen = what
  byId('path').value = what.shown
  toggle(false)
  byId('price').focus()
}

function toggle (isOpen) {
  byId('chooser').hidden = !isOpen
  byId('choose').setAttribute('aria-expanded', String(isOpen))
  if (isOpen) list('')
}

// --- selling

function order () {
  const typed = byId('path').value
  return {
    path: chosen?.shown === typed ? chosen.path : typed,
    price: byId('price').value.trim(),
    name: byId('holder').value.trim(),
    each_file: byId('each-file').checked,
    watch: byId('watch').checked
  }
}

class Told {
  constructor () {
    this.sold = []
    this.faults = []
  }

  add (line) {
    if (line.done !== undefined) {
      byId('sell-bar').value = line.total ? line.done / line.total : 1
      say(`Reading ${line.path}: ${bytes(line.done)} of ${bytes(line.total)}`)
    } else if (line.cid) {
      this.sold.push(line)
      if (line.error) this.faults.push(`${line.path} is sold, and announced again: ${line.error}`)
    } else {
      this.faults.push(line.error)
    }
  }

  words () {
    const sold = this.sold.length === 1 ? `${this.sold[0].path} is sold as ${this.sold[0].cid}` : `${counted(this.sold.length, 'file is', 'files are')} sold`
    const faults = this.faults.slice(0, MOST_FAULTS).join('; ')
    const rest = this.faults.length - MOST_FAULTS
    return [this.sold.length || !faults ? sold : '', faults, rest > 0 ? `and ${rest} more` : ''].filter(Boolean).join('; ') + '.'
  }
}

async function sell () {
  const mine = selling = new AbortController()
  const told = new Told()
  busy(true)
  say('Reading …')
  try {
    for await (const line of lines('market/sell', { body: order(), signal: mine.signal })) if (!line.end) told.add(line)
    say(told.words())
  } catch (error) {
    say(mine.signal.aborted ? 'Paused: the node goes on when you sell it again, or by itself within a minute.' : `It is not sold: ${error.message}.`)
  }
  busy(false)
  await loadGoods()
}

function busy (isBusy) {
  byId('sell-go').disabled = isBusy
  byId('sell-stop').hidden = byId('sell-bar').hidden = !isBusy
  if (isBusy) byId('sell-bar').removeAttribute('value')
}

// --- what sells

async function unsell (good) {
  if (!confirm(`No longer sell ${good.shown}?`)) return
  try {
    await post('market/unsell', { content: good.path })
    say(`${good.shown} is no longer sold.`)
  } catch (error) {
    say(`${error.message}.`)
  }
  await loadGoods()
}

function goodRow (good) {
  const end = button('Unsell', () => unsell(good), 'second')
  end.setAttribute('aria-label', `No longer sell ${good.shown}`)
  const content = good.cid ?? ''
  const folder = good.directory ? '/' : ''
  return {
    key: `${good.path} ${content}`,
    same: JSON.stringify(good),
    cells: [
      [good.name + folder, '', good.shown], [STATES[good.state] + (good.watched ? ', followed' : ''), `good ${good.state}`],
      [whole(good.price), 'number'], [bytes(good.size), 'number'], [bytes(good.sent_bytes), 'number'],
      [content, 'id'], end
    ]
  }
}

export async function loadGoods () {
  const { goods, more } = await get('market/goods')
  byId('goods-none').hidden = goods.length > 0
  byId('goods-box').hidden = goods.length === 0
  byId('goods-more').hidden = more === null
  fillRows('goods', goods.map(goodRow))
  return goods.reduce((sum, good) => sum + good.sent_bytes, 0)
}

export function setUpSelling () {
  byId('choose').addEventListener('click', () => toggle(byId('chooser').hidden))
  byId('chooser').addEventListener('keydown', event => {
    if (event.key !== 'Escape') return
    toggle(false)
    byId('choose').focus()
  })
  byId('sell-form').addEventListener('submit', event => { event.preventDefault(); sell() })
  byId('sell-stop').addEventListener('click', () => selling?.abort())
}
