// Rates over the last minutes, as small lines that say in words what they show.
import { arrange, byId, drawn, element, put } from './dom.js'

const KEPT_MS = 5 * 60 * 1000
const [WIDTH, HEIGHT] = [300, 48]
const charts = new Map()

class Chart {
  constructor (name, format) {
    this.name = name
    this.format = format
    this.points = []
    this.line = drawn('path', { class: 'line' })
    this.area = drawn('path', { class: 'area' })
    this.svg = drawn('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' }, this.area, this.line)
    this.svg.setAttribute('aria-label', `${name}: nothing yet`)
    this.now = element('b', '–')
    this.peak = element('span', '', 'quiet')
    this.node = element('div', undefined, 'chart')
    const words = element('p')
    words.append(element('span', name, 'what'), this.now, this.peak)
    this.node.append(words, this.svg)
  }

  add (at, value) {
    this.points.push([at, value])
    while (this.points[0][0] < at - KEPT_MS) this.points.shift()
    const peak = Math.max(...this.points.map(([, y]) => y))
    const [now, most] = [this.format(value), this.format(peak)]
    put(this.now, now)
    put(this.peak, `at most ${most}`)
    this.svg.setAttribute('aria-label', `${this.name}, the last five minutes: now ${now}, at most ${most}`)
    const x = time => (WIDTH - (at - time) / KEPT_MS * WIDTH).toFixed(1)
    const y = height => (HEIGHT - 2 - (peak ? height / peak : 0) * (HEIGHT - 6)).toFixed(1)
    const path = this.points.map(([time, height], i) => `${i ? 'L' : 'M'}${x(time)} ${y(height)}`).join('')
    this.line.setAttribute('d', path)
    this.area.setAttribute('d', `${path}V${HEIGHT}H${x(this.points[0][0])}Z`)
  }
}

// `rates`: [name, value, how to write it]; values may be null while there is nothing to compare with.
export function showCharts (rates) {
  const at = performance.now()
  for (const [name, value, format] of rates) {
    if (!charts.has(name)) charts.set(name, new Chart(name, format))
    if (value !== null) charts.get(name).add(at, value)
  }
  arrange(byId('charts'), [...charts.values()].map(({ node }) => node))
}
