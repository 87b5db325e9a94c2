// Verifies the caller of a service behind the gateway, by the fixed profile of RFC 9421 that `lockgate_trust` describes. The
// public library http-message-signatures computes the signature; the other checks of the profile are here.
'use strict'

const { createHash } = require('node:crypto')
const { httpbis } = require('http-message-signatures')

const CLOCKS_MAY_DIFFER_S = 10 // the gateway's `token.leeway_s`
const MAX_LIFETIME_S = 60
const MAX_REMEMBERED = 100_000
const IDENTITY = [
  'x-request-id', 'traceparent', 'x-caller', 'x-user-id', 'x-user-roles', 'x-user-scopes', 'x-session-id',
  'x-token-id', 'x-auth-time',
]
const PROFILE = [...IDENTITY, 'content-digest', 'signature', 'signature-input']
// One signature, with these parameters in this order. The library alone would accept others, and several at once.
const INPUT = new RegExp(
  '^lockgate=\\("[a-z0-9@-]+"(?: "[a-z0-9@-]+")*\\);created=([1-9]\\d{0,11});expires=([1-9]\\d{0,11})' +
    ';nonce="[\\w-]{8,64}";keyid="[\\w.-]{1,128}";tag="lockgate-identity"$',
)

class Refused extends Error {}

// A function that takes a request of node:http and its whole body, and returns the caller or throws Refused. `keyOf`: see keys.js.
function verifier(keyOf) {
  const seen = new Map() // Signature-Input, with its nonce → its expiry, in the order of arrival

  return async function callerOf(request, body) {
    const headers = profileHeaders(request.rawHeaders)
    const now = Date.now() / 1000
    const [, created, expires] = INPUT.exec(headers['signature-input'] ?? '') ?? []
    if (created === undefined) throw new Refused('no signature of the profile')
    if (expires - created <= 0 || expires - created > MAX_LIFETIME_S) throw new Refused('its life is too long')
    if (now >= Number(expires) + CLOCKS_MAY_DIFFER_S) throw new Refused('expired')
    const origin = await verified(keyOf, request, headers, now)
    if (headers['x-caller'] !== undefined && headers['x-caller'] !== origin) throw new Refused('in another name')
    checkBody(headers['content-digest'], body)
    claim(seen, headers['signature-input'], Number(expires), now)
    return caller(headers, origin)
  }
}

// Each header of the profile once: a value that node:http has joined could look like a signed one.
function profileHeaders(raw) {
  const found = {}
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index].toLowerCase()
    if (!PROFILE.includes(name)) continue
    if (name in found) throw new Refused('a header comes twice')
    found[name] = raw[index + 1]
  }
  return found
}

async function verified(keyOf, request, headers, now) {
  const [, path, query] = /^([^?]*)(.*)$/s.exec(request.url)
  // As they came over the wire: the library would resolve `..` and spell characters anew.
  const asReceived = { '@method': request.method, '@path': path, '@query': query || '?' }
  let origin
  const valid = await httpbis
    .verifyMessage(
      {
        keyLookup: async ({ keyid }) => {
          const key = keyOf(keyid)
          origin = key?.origin
          return key ?? null
        },
        notAfter: Math.floor(now),
        tolerance: CLOCKS_MAY_DIFFER_S,
        requiredFields: ['@method', '@path', '@query', 'x-request-id', ...covered(headers)],
        componentParser: (name) => (name in asReceived ? [asReceived[name]] : null),
      },
      { method: request.method, url: `http://service.invalid${request.url}`, headers },
    )
    .catch(() => false) // malformed in one of many ways, none of which is the client's to know
  if (valid !== true) throw new Refused('not signed with the key of a link to this service')
  return origin
}

// Everything of the profile that is there has to be covered: what is not could have been added on the way.
function covered(headers) {
  return Object.keys(headers).filter((name) => name !== 'signature' && name !== 'signature-input')
}

// Stricter than the profile, which lets bodies go uncovered that their signer says it streams.
function checkBody(digest, body) {
  if (digest === undefined && body.length === 0) return
  const actual = `sha-256=:${createHash('sha256').update(body).digest('base64')}:`
  if (digest !== actual) throw new Refused('another body than the signed one')
}

// A signature is good for one request. In memory: each process remembers its own. Not the signature itself, which base64
// can spell in several ways.
function claim(seen, input, expires, now) {
  for (const [old, end] of seen) {
    // Once while it is accepted, and once more, so that a clock set back by as much brings none back to life.
    if (end + 2 * CLOCKS_MAY_DIFFER_S > now) break
    seen.delete(old)
  }
  if (seen.has(input) || seen.size >= MAX_REMEMBERED) throw new Refused('seen before, or no room to remember')
  seen.set(input, expires)
}

function caller(headers, service) {
  const words = (value) => (value ? value.split(' ').map(decodeURIComponent) : [])
  const userId = headers['x-user-id']
  return {
    service,
    requestId: headers['x-request-id'],
    userId: userId === undefined ? null : decodeURIComponent(userId),
    roles: words(headers['x-user-roles']),
    scopes: words(headers['x-user-scopes']),
  }
}

module.exports = { Refused, verifier }
