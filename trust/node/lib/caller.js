// The caller: what a service learns about a request once its signature has been verified.

import { REQUEST_ID } from './profile.js'

const PLAIN = /^[!-$&-+\--~]*$/
const ENCODED = /^(?:[!-$&-+\--~]|%[0-9A-F]{2})*$/
const ESCAPED_RUN = /(?:%[0-9A-F]{2})+/g
const ESCAPABLE = /[^!-$&-+\--~]/gu
const VISIBLE = /^[!-~]{1,256}$/
const SECONDS = /^(?:0|[1-9][0-9]{0,14})$/
const OF_A_USER = ['x-user-roles', 'x-user-scopes', 'x-session-id', 'x-token-id', 'x-auth-time']

// Strict, and a byte order mark is a character like any other: one text, one spelling.
const UTF_8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

// An identity header is malformed or contradicts another one. The message is the name of the header.
export class IdentityError extends Error {}

export function encodeValue(text) {
  return text.replace(ESCAPABLE, (character) =>
    [...Buffer.from(character, 'utf8')]
      .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`)
      .join(''),
  )
}

// Roles or scopes as one value: sorted, separated by single spaces, empty for none.
export function encodeWords(words) {
  return [...new Set(words)].map(encodeValue).sort().join(' ')
}

// The caller that the identity headers speak of, or an IdentityError. `headers`: those that are present, by name, from a
// request with a verified signature. `service`: the service that signed.
export function callerFrom(headers, service) {
  const requestId = visible(headers, REQUEST_ID)
  if (requestId === null) throw new IdentityError(REQUEST_ID)
  const userId = text(headers, 'x-user-id')
  const caller = {
    requestId,
    service,
    userId,
    roles: words(headers, 'x-user-roles'),
    scopes: words(headers, 'x-user-scopes'),
    sessionId: text(headers, 'x-session-id'),
    tokenId: text(headers, 'x-token-id'),
    authTime: seconds(headers, 'x-auth-time'),
    traceparent: visible(headers, 'traceparent'),
    onBehalf: text(headers, 'x-caller'),
    anonymous: userId === null,
  }
  // A service can speak on a user's behalf but never in another service's name.
  if (caller.onBehalf !== null && caller.onBehalf !== service) throw new IdentityError('x-caller')
  // An anonymous caller with the role `admin` would be a trap for every handler that asks for the role only.
  if (userId === null && OF_A_USER.some((name) => headers.has(name))) throw new IdentityError('x-user-id')
  return Object.freeze(caller)
}

function visible(headers, name) {
  const value = headers.get(name)
  if (value === undefined) return null
  if (!VISIBLE.test(value)) throw new IdentityError(name)
  return value
}

function text(headers, name) {
  const value = headers.get(name)
  if (value === undefined) return null
  return decodeValue(value, name) || refuseIdentity(name)
}

function words(headers, name) {
  const value = headers.get(name) ?? ''
  if (value === '') return Object.freeze([])
  const found = value.split(' ').map((word) => decodeValue(word, name) || refuseIdentity(name))
  return Object.freeze([...new Set(found)].sort())
}

function seconds(headers, name) {
  const value = headers.get(name)
  if (value === undefined) return null
  if (!SECONDS.test(value)) throw new IdentityError(name)
  return Number(value)
}

// Each text has exactly one encoded spelling, and no other is accepted.
function decodeValue(value, name) {
  if (PLAIN.test(value)) return value
  if (!ENCODED.test(value)) refuseIdentity(name)
  let decoded
  try {
    decoded = value.replace(ESCAPED_RUN, (run) => UTF_8.decode(Buffer.from(run.replaceAll('%', ''), 'hex')))
  } catch {
    refuseIdentity(name)
  }
  return encodeValue(decoded) === value ? decoded : refuseIdentity(name)
}

function refuseIdentity(name) {
  throw new IdentityError(name)
}
