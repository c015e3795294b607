// Payments: what was earned and spent, and who owes what.
import { get } from './api.js'
import { arrange, byId, bytes, counted, element, fillRows, put, short, whole } from './dom.js'

const EVERY_MS = 10000 // the node adds up all its tabs for an answer
let askedAt = -EVERY_MS

const paid = (debt, currency) => `${whole(debt.amount)} ${currency} (${bytes(debt.bytes)})`

function figures (ledger) {
  const inMonth = side => ledger.months.filter(one => one.side === side && one.month === ledger.month)
  const amounts = some => some.map(one => `${whole(one.amount)} ${one.currency}`).join(', ') || '0'
  const budget = ledger.budget_per_day === null ? '' : ` of ${whole(ledger.budget_per_day)}`
  const sold = ledger.totals.filter(one => one.side === 'sold')
  const lost = sold.filter(one => one.lost.bytes > 0)
  return [
    ['earned this month', amounts(inMonth('sold'))],
    ['spent this month', amounts(inMonth('bought'))],
    ['spent today', `${whole(ledger.spent_today)}${budget} ${ledger.currency}`],
    ['unpaid by buyers', sold.map(one => paid(one.unpaid, one.currency)).join(', ') || '0'],
    ['lost to buyers', lost.map(one => `${paid(one.lost, one.currency)}, ${counted(one.defaults, 'default', 'defaults')}`).join(', ') || '0']
  ]
}

function showFacts (facts) {
  arrange(byId('money-facts'), facts.flatMap(([name, value]) => [element('dt', name), element('dd', value)]))
}

function tabRow (tab) {
  const states = [tab.blocked ? 'blocked' : '', tab.proof ? 'signed two receipts of one number' : '']
  return {
    key: `${tab.side} ${tab.peer_id} ${tab.currency}`,
    cells: [
      [tab.side === 'sold' ? 'buyer' : 'seller'], [short(tab.peer_id), 'id', tab.peer_id],
      [`${whole(tab.signed.amount)} ${tab.currency}`, 'number'], [paid(tab.unpaid, tab.currency), 'number'],
      [tab.lost.bytes ? paid(tab.lost, tab.currency) : '', 'number'], [states.filter(Boolean).join(', ')]
    ]
  }
}

export async function loadMoney (now) {
  if (now - askedAt < EVERY_MS) return
  askedAt = now
  const ledger = await get('market/ledger')
  showFacts(figures(ledger))
  byId('tabs-none').hidden = ledger.tabs.length > 0
  byId('tabs-box').hidden = ledger.tabs.length === 0
  fillRows('tabs', ledger.tabs.map(tabRow))
  put(byId('tabs-state'), ledger.tabs.length ? counted(ledger.tabs.length, 'tab', 'tabs') : '')
}
