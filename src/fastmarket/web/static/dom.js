// Elements, and numbers for people. What a stranger wrote only ever becomes text of an element.

export const byId = id => document.getElementById(id)

export function element (name, text, className) {
  const made = document.createElement(name)
  if (text !== undefined) made.textContent = text
  if (className) made.className = className
  return made
}

export function drawn (name, attributes, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name)
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
  made.append(...children)
  return made
}

export function button (text, onClick, className) {
  const made = element('button', text, className)
  made.type = 'button'
  made.addEventListener('click', onClick)
  return made
}

export function put (node, text) {
  if (node.textContent !== text) node.textContent = text
}

// The names of a table's columns, which the narrow layout shows beside each cell.
function columns (body) {
  return [...body.closest('table').querySelectorAll('th')].map(head => head.textContent)
}

// Cells: [text, class, title] or a node.
function filledRow (cells, names) {
  const made = element('tr')
  made.setAttribute('role', 'row')
  cells.forEach((content, i) => {
    const cell = Array.isArray(content) ? element('td', content[0], content[1]) : element('td')
    if (!Array.isArray(content)) cell.append(content)
    else if (content[2]) cell.title = content[2]
    cell.setAttribute('role', 'cell')
    cell.dataset.label = names[i] ?? ''
    made.append(cell)
  })
  return made
}

// Replaces only rows that changed, so that the reader keeps position, selection and focus.
const shown = new WeakMap()
export function fillRows (id, rows) {
  const body = byId(id)
  const names = columns(body)
  const before = shown.get(body) ?? new Map()
  const now = new Map()
  for (const { key, cells, same } of rows) {
    const mark = same ?? JSON.stringify(cells)
    const held = before.get(key)
    now.set(key, held?.mark === mark ? held : { mark, node: filledRow(cells, names) })
  }
  shown.set(body, now)
  arrange(body, [...now.values()].map(({ node }) => node))
}

// Puts these children in this order, and touches no child that is in its place.
export function arrange (parent, children) {
  const wanted = new Set(children)
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove()
  children.forEach((child, i) => {
    if (parent.children[i] !== child) parent.insertBefore(child, parent.children[i] ?? null)
  })
}

export function bytes (count) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB']
  let step = 0
  for (count = Number(count); count >= 1000 && step < units.length - 1; step++) count /= 1000
  return `${count >= 100 || step === 0 ? Math.round(count) : count.toFixed(1)} ${units[step]}`
}

export function span (seconds) {
  const days = Math.floor(seconds / 86400)
  const [hours, minutes] = [Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60]
  if (days) return `${days} d ${hours} h`
  return hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min` : `${Math.floor(seconds)} s`
}

export const whole = text => BigInt(text).toLocaleString()
export const counted = (count, one, many) => `${count} ${count === 1 ? one : many}`
export const when = seconds => new Date(seconds * 1000).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' })
export const short = id => id.length > 20 ? `${id.slice(0, 8)}…${id.slice(-6)}` : id
export const compare = (a, b) => BigInt(a) < BigInt(b) ? -1 : BigInt(a) > BigInt(b) ? 1 : 0
