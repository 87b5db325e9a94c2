// Signs a user in for a service's own tests, in place of the gateway. Keys are made in memory.

import { Buffer } from 'node:buffer'
import { createHmac, randomBytes } from 'node:crypto'

import { encodeValue, encodeWords } from './caller.js'
import { checkedKey } from './keys.js'
import {
  Body, CONTENT_DIGEST, IDENTITY_HEADERS, LABEL, LIFETIME_S, MAX_DIGEST_BODY, REQUEST_ID, SIGNATURE, SIGNATURE_INPUT,
  TAG,
} from './profile.js'
import { contentDigest, coverable, signatureBase, spellComponents } from './verify.js'

// How old an expired signature is: longer than any leeway of a service's clock.
const LONG_AGO_S = 3600
const GATEWAY = 'gateway'
const PROOF = [CONTENT_DIGEST, SIGNATURE_INPUT, SIGNATURE]

// In place of a body that is not covered. A symbol, because any text is a body.
export const STREAMED = Symbol('streamed')

// What is wrong with the identity of a request that a service has to refuse with 401.
export const Fault = Object.freeze({
  // The identity header fields are there, and no signature: a request that went past the gateway.
  UNSIGNED: 'unsigned',
  // The signature was made an hour ago.
  EXPIRED: 'expired',
  // The signature is by the key of a link to another service.
  FOREIGN: 'foreign',
})

// A fresh key of the link from `origin` to `target`, in memory only: `new LinkKeys('orders', [key])` takes it.
export function makeLinkKey(origin, target) {
  const id = `${origin}.${target}.${randomBytes(4).toString('hex')}`
  return checkedKey({ id, origin, target, secret: randomBytes(32) })
}

// The header fields that one request gets from the gateway, as an object. `body`: a Buffer, a text, `STREAMED` for one
// that is not covered, or nothing. Claims: `user`, `roles`, `scopes`, `sessionId`, `tokenId`, `authTime`, `traceparent`;
// without `user` the request is anonymous.
export function identityHeaders(key, { method = 'GET', path, query = '', body, now, requestId, fault, ...claims }) {
  const headers = identityOf(key, requestId ?? randomBytes(16).toString('hex'), claims)
  const said = digestOrWord(body)
  if (said.digest !== undefined) headers.set(CONTENT_DIGEST, said.digest)
  const signer = fault === Fault.FOREIGN ? makeLinkKey(key.origin, `not-${key.target}`) : key
  const created = Math.floor(now ?? Date.now() / 1000) - (fault === Fault.EXPIRED ? LONG_AGO_S : 0)
  const covered = coverable(headers)
  const params =
    `(${spellComponents(covered.keys())});created=${created};expires=${created + LIFETIME_S};nonce="${said.word}` +
    `${randomBytes(12).toString('hex')}";keyid="${signer.id}";tag="${TAG}"`
  const base = signatureBase(params, covered, { method, path, query })
  headers.set(SIGNATURE_INPUT, `${LABEL}=${params}`)
  headers.set(SIGNATURE, `${LABEL}=:${createHmac('sha256', signer.secret).update(base).digest('base64')}:`)
  if (fault === Fault.UNSIGNED) for (const name of PROOF) headers.delete(name)
  return Object.fromEntries(headers)
}

// `fetch` for one user: `const alice = signedIn('http://127.0.0.1:3000', { key, user: 'alice' })`, then
// `await alice('/notes/7')`. A body is a text or a Buffer; redirects are not followed, for each request is signed by itself.
export function signedIn(address, { key, ...claims }) {
  return async function fetchSigned(target, { method = 'GET', headers = {}, body, ...more } = {}) {
    const url = new URL(target, address)
    const [path, query] = [url.pathname, url.search.slice(1)]
    const identity = identityHeaders(key, { method, path, query, body, ...claims })
    return fetch(url, { redirect: 'manual', ...more, method, body, headers: { ...headers, ...identity } })
  }
}

function identityOf(key, requestId, { user, roles = [], scopes = [], sessionId, tokenId, authTime, traceparent }) {
  const encoded = (text) => (text === undefined ? undefined : encodeValue(text))
  const said = {
    [REQUEST_ID]: requestId,
    traceparent,
    'x-caller': key.origin === GATEWAY ? undefined : key.origin,
    'x-user-id': encoded(user),
    'x-user-roles': user === undefined ? undefined : encodeWords(roles),
    'x-user-scopes': user === undefined ? undefined : encodeWords(scopes),
    'x-session-id': encoded(sessionId),
    'x-token-id': encoded(tokenId),
    'x-auth-time': authTime === undefined ? undefined : String(authTime),
  }
  const present = IDENTITY_HEADERS.filter((name) => said[name] !== undefined)
  return new Map(present.map((name) => [name, said[name]]))
}

// The digest of a body, or the word at the beginning of the nonce that tells of it.
function digestOrWord(body) {
  if (body === undefined || body === null || body.length === 0) return { word: `${Body.NONE}-` }
  const bytes = body === STREAMED ? null : Buffer.from(body)
  if (bytes === null || bytes.length > MAX_DIGEST_BODY) return { word: `${Body.STREAMED}-` }
  return { word: '', digest: contentDigest(bytes) }
}
