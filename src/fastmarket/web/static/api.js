// Requests to the node that serves this page, and to nobody else.

// In memory only, and of this page only.
let token = ''
const waiting = []

export function useToken (text) {
  token = text
  for (const tell of waiting.splice(0)) tell()
}

export const hasToken = () => token !== ''

// Calls back when there is another token.
export const onToken = tell => waiting.push(tell)

export class Refused extends Error {
  constructor (status, reason) {
    super(reason)
    this.status = status
  }
}

async function reason (response) {
  const text = await response.text()
  try {
    const { error, plain } = JSON.parse(text)
    return plain ?? error
  } catch {
    return text.trim() || `the node answered with status ${response.status}`
  }
}

async function ask (path, options) {
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) }
  const response = await fetch(path, { ...options, headers, credentials: 'omit', redirect: 'error' })
  if (!response.ok) throw new Refused(response.status, await reason(response))
  return response
}

const posted = (body, signal) =>
  ({ method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' }, signal })

export const get = async path => (await ask(path, {})).json()
export const post = async (path, body) => (await ask(path, posted(body))).json()

// The lines of a stream; its end is the last one. Raises if the node says that it failed.
export async function * lines (path, { body, signal } = {}) {
  const response = await ask(path, body === undefined ? { signal } : posted(body, signal))
  let rest = ''
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  for (;;) {
    const { done, value } = await reader.read()
    if (done) throw new Error('the node ended the answer early')
    const parts = (rest + value).split('\n')
    rest = parts.pop()
    for (const part of parts) {
      const line = JSON.parse(part)
      if (line.end === 'failed') throw new Error(line.plain ?? line.error)
      yield line
      if (line.end) return
    }
  }
}
