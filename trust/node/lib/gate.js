// What Express, Fastify and node:http have in common: which requests may reach the application, and what a refused one
// is told.

import { Buffer } from 'node:buffer'

import { readAhead } from './body.js'
import { Body, CONTENT_DIGEST, LEEWAY_S, MAX_DIGEST_BODY, Reason, refuse } from './profile.js'
import { ReplayGuard } from './replay.js'
import { bodyRefused, verify } from './verify.js'

const LOGGED = 200
const CONTENT_LENGTH = /^[0-9]{1,18}$/

// A map and no property of the request: no other code can put a caller there.
const callers = new WeakMap()

// The caller of a request of node:http, Express or Fastify, or null without a verified signature.
export function knownCaller(request) {
  return callers.get(rawOf(request)) ?? null
}

// The caller of a request, for code behind the middleware; an Error where the request did not pass it, or came on one of
// its open paths.
export function callerOf(request) {
  const caller = knownCaller(request)
  if (caller === null) throw new Error('no caller: lockgate-trust has not verified this request')
  return caller
}

// Fastify wraps the request of node:http, and Express extends it.
const rawOf = (request) => request.raw ?? request

// Writes a line to the standard error: the reason and the quoted path, no query, no header value.
export function logRefusal(refused, request) {
  const [path] = splitTarget(request)
  const about = refused.about === '' ? '' : ` (${refused.about})`
  const quoted = (text) => JSON.stringify(text).slice(0, LOGGED)
  console.warn(`lockgate-trust: refused ${quoted(request.method)} ${quoted(path)}: ${refused.reason}${about}`)
}

// Decides about each request: the caller of it, or a refusal.
//
// - `keys`: `LinkKeys` or `LiveLinkKeys` of this service.
// - `clock`: seconds since the epoch.
// - `openPaths`: raw paths that need no signature. No caller is known there.
// - `onRefusal`: told of each refusal, with the request of node:http.
// - `replays`: the memory of used signatures.
// - `shortBodiesCovered`: refuse a body that its signer did not see. `false` for a front proxy that has only asked the
//   gateway (forward-auth), and for nothing else.
// - `leewayS`: by how many seconds clocks may differ: the gateways' `token.leeway_s`.
export class IdentityGate {
  #keys
  #clock
  #openPaths
  #onRefusal
  #replays
  #shortBodiesCovered
  #leewayS

  constructor({
    keys,
    clock = () => Date.now() / 1000,
    openPaths = ['/healthz'],
    onRefusal = logRefusal,
    leewayS = LEEWAY_S,
    replays = new ReplayGuard({ leewayS }),
    shortBodiesCovered = true,
  }) {
    if (typeof keys?.inbound !== 'function') throw new TypeError('lockgate-trust needs `keys`: LinkKeys or LiveLinkKeys')
    this.#keys = keys
    this.#clock = clock
    this.#openPaths = new Set(openPaths)
    this.#onRefusal = onRefusal
    this.#replays = replays
    this.#shortBodiesCovered = shortBodiesCovered
    this.#leewayS = leewayS
  }

  // Null for a request of node:http that may be served: on an open path, or with its caller known and its covered body
  // checked and given back to it. Otherwise the refusal. A promise; it stays open where the client went away.
  async admit(request) {
    callers.delete(request)
    // Later versions have bodies of which no field tells, and the gateway speaks HTTP/1.1 to services.
    if (!request.httpVersion.startsWith('1.')) throw new Error('lockgate-trust verifies requests of HTTP/1 only')
    const [path, query] = splitTarget(request)
    if (this.#openPaths.has(path)) return null
    const outcome = this.#checkHead(request, path, query)
    const refused = outcome.ok ? await checkBody(outcome, request) : outcome
    if (refused === null) callers.set(request, outcome.caller)
    else this.#onRefusal(refused, request)
    return refused
  }

  #checkHead(request, path, query) {
    const now = this.#clock()
    const headers = pairsOf(request.rawHeaders)
    const outcome = verify(this.#keys, { method: request.method, path, query, headers, now, leewayS: this.#leewayS })
    if (!outcome.ok) return outcome
    const refused = this.#unsaidBody(outcome.body, headers) ?? strangeHandshake(outcome.body, request)
    if (refused !== null) return refused
    const replay = this.#replays.claim(outcome.signature, { expires: outcome.expires, now })
    return replay === null ? outcome : refuse(replay)
  }

  // The refusal of a request with fields that tell of a body, and a signature that does not.
  #unsaidBody(said, headers) {
    const lengths = valuesOf(headers, 'content-length')
    const chunked = valuesOf(headers, 'transfer-encoding').length > 0
    if (lengths.length > 1 || lengths.some((value) => !CONTENT_LENGTH.test(value))) {
      return refuse(Reason.MALFORMED, 'content-length')
    }
    const length = Number(lengths[0] ?? 0)
    const unsaid = this.#mustBeEmpty(said)
      ? length > 0 || chunked
      : said === Body.STREAMED && length > 0 && length <= MAX_DIGEST_BODY
    return unsaid ? refuse(Reason.NOT_COVERED, CONTENT_DIGEST) : null
  }

  #mustBeEmpty(said) {
    return said === Body.NONE || (this.#shortBodiesCovered && (said === Body.UNSEEN || said === Body.UNSAID))
  }
}

// What a refused client gets (RFC 9457). It does not tell why: all that a forger could learn stays in the log.
export function problemOf({ reason }) {
  // A service cannot tell a wrong signature from a right one here, so it is not the caller's fault.
  if (reason === Reason.REPLAY_MEMORY_FULL) {
    return problem(503, 'Too many requests at once', 'overloaded', { 'retry-after': '1' })
  }
  const code = reason === Reason.MISSING ? 'signature_required' : 'signature_invalid'
  // RFC 9110 section 15.5.2 asks for a challenge with each 401.
  return problem(401, 'A valid identity signature is required', code, { 'www-authenticate': 'Signature' })
}

function problem(status, title, code, hint) {
  // Without a valid signature, the id of a request is anything that its sender wrote, so none is told.
  const members = { type: 'about:blank', title, status, detail: title, code, request_id: null }
  const body = Buffer.from(JSON.stringify(members))
  const headers = { 'content-type': 'application/problem+json', 'cache-control': 'no-store', ...hint }
  return { status, headers: { ...headers, 'content-length': String(body.length) }, body }
}

// A covered body is checked before the application may see any of it. The fields that frame other bodies have been
// looked at, and what HTTP/1 frames no body for has none (RFC 9112 section 6.3).
async function checkBody(verified, request) {
  return verified.body === Body.DIGEST ? bodyRefused(verified, await readAhead(request, MAX_DIGEST_BODY)) : null
}

// A handshake has no body. The fields of a streamed upload, caught on their way, must not open a WebSocket.
function strangeHandshake(said, request) {
  const handshake = (request.headers.upgrade ?? '').toLowerCase().includes('websocket')
  const bodied = said === Body.DIGEST || said === Body.STREAMED
  return handshake && bodied ? refuse(Reason.BODY_MISMATCH, CONTENT_DIGEST) : null
}

// The raw path and the raw query, as they came over the wire: a router may have changed `url` since.
function splitTarget(request) {
  const target = request.originalUrl ?? request.url
  const mark = target.indexOf('?')
  return mark === -1 ? [target, ''] : [target.slice(0, mark), target.slice(mark + 1)]
}

function pairsOf(rawHeaders) {
  const pairs = []
  for (let index = 0; index < rawHeaders.length; index += 2) pairs.push([rawHeaders[index], rawHeaders[index + 1]])
  return pairs
}

function valuesOf(headers, name) {
  return headers.filter(([spelled]) => spelled.toLowerCase() === name).map(([, value]) => value)
}
