// Verifies identity headers by the profile of RFC 9421 that `profile.js` has.

import { createHash, createHmac, timingSafeEqual } from 'node:crypto'

import { callerFrom, IdentityError } from './caller.js'
import {
  Body, CONTENT_DIGEST, IDENTITY_HEADERS, LABEL, LEEWAY_S, LINE, MAX_DIGEST_BODY, MAX_FURTHER, MAX_LIFETIME_S, Reason,
  refuse, REQUEST_ID, SIGNATURE, SIGNATURE_INPUT, TAG,
} from './profile.js'

const COVERABLE = [...IDENTITY_HEADERS, CONTENT_DIGEST]
const PROFILE_HEADERS = new Set([...COVERABLE, SIGNATURE, SIGNATURE_INPUT])

const bare = (name) => name.replace(/[^0-9a-z]+/g, '')
const BARE_NAMES = new Map([...PROFILE_HEADERS].map((name) => [bare(name), name]))

const TARGET = [
  ['@method', /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/],
  ['@path', /^[!-~]+$/],
  ['@query', /^[!-~]*$/],
]
const DIGEST = /^sha-256=:[A-Za-z0-9+/]{43}=:$/
const SIGNATURE_VALUE = new RegExp(`^${LABEL}=:[A-Za-z0-9+/]{43}=:$`)
const CLAIM = new RegExp(
  `^${LABEL}=(?<params>` +
    '\\((?<components>"[a-z0-9@-]+"(?: "[a-z0-9@-]+")*)\\)' +
    ';created=(?<created>[1-9][0-9]{0,11})' +
    ';expires=(?<expires>[1-9][0-9]{0,11})' +
    ';nonce="(?<nonce>[A-Za-z0-9_-]{8,64})"' +
    ';keyid="(?<keyId>[A-Za-z0-9._-]{1,128})"' +
    ';tag="(?<tag>[a-z0-9-]{1,64})")$',
)
const SAID = new Set([Body.NONE, Body.STREAMED, Body.UNSEEN])

// Checks that a known service signed exactly this request, for this service, a moment ago: a refusal, or the caller and
// what the signature says. Whether the same signature came before is for the caller of `verify` to ask (`ReplayGuard`),
// and so is whether the body is the one that was signed (`bodyRefused`).
//
// `path` and `query` are raw, as received; `headers` are all of them as `[name, value]`, each as often as it came; `now`
// is in seconds since the epoch.
export function verify(keys, { method, path, query, headers, now, leewayS = LEEWAY_S }) {
  const found = profileHeaders(headers)
  if (!(found instanceof Map)) return found
  const claim = parseClaim(found)
  if (claim.ok === false) return claim
  const key = keys.inbound(claim.keyId)
  if (key === null) return refuse(Reason.UNKNOWN_KEY)
  const covered = coveredHeaders(claim, found, headers)
  if (!(covered instanceof Map)) return covered
  const refused = windowRefused(claim, now, leewayS) ?? targetRefused([method, path, query])
  if (refused !== null) return refused
  const signature = createHmac('sha256', key.secret)
    .update(signatureBase(claim.params, covered, { method, path, query }), 'latin1')
    .digest('base64')
  // Compared as text: that way only the one canonical base64 spelling of a signature is ever accepted.
  if (!sameText(`${LABEL}=:${signature}:`, found.get(SIGNATURE))) return refuse(Reason.BAD_SIGNATURE)
  try {
    return Object.freeze({
      ok: true,
      caller: callerFrom(found, key.origin),
      origin: key.origin,
      keyId: key.id,
      contentDigest: found.get(CONTENT_DIGEST) ?? null,
      signature,
      expires: claim.expires,
      body: statedBody(claim, found),
      further: Object.freeze(Object.fromEntries([...covered].filter(([name]) => !PROFILE_HEADERS.has(name)))),
    })
  } catch (error) {
    if (error instanceof IdentityError) return refuse(Reason.BAD_IDENTITY, error.message)
    throw error
  }
}

// Why a request must not be served with this whole body (a Buffer, empty where there is none), or null.
export function bodyRefused(verified, body) {
  if (verified.contentDigest === null) {
    const unsaid = body.length > 0 && verified.body !== Body.STREAMED
    return unsaid ? refuse(Reason.NOT_COVERED, CONTENT_DIGEST) : null
  }
  if (body.length > MAX_DIGEST_BODY) return refuse(Reason.BODY_TOO_LARGE, CONTENT_DIGEST)
  const right = sameText(contentDigest(body), verified.contentDigest)
  return right ? null : refuse(Reason.BODY_MISMATCH, CONTENT_DIGEST)
}

// The value of `Content-Digest` for a body: SHA-256, RFC 9530 section 2.
export function contentDigest(body) {
  return `sha-256=:${createHash('sha256').update(body).digest('base64')}:`
}

// RFC 9421 section 2.5, over the covered headers, a Map in the order of the signature.
export function signatureBase(params, covered, { method, path, query }) {
  const lines = [`"@method": ${method}`, `"@path": ${path}`, `"@query": ?${query}`]
  for (const [name, value] of covered) lines.push(`"${name}": ${value}`)
  lines.push(`"@signature-params": ${params}`)
  return lines.join('\n')
}

// The headers of the profile that are present, as a Map in the order in which a signature covers them.
export function coverable(headers) {
  return new Map(COVERABLE.filter((name) => headers.has(name)).map((name) => [name, headers.get(name)]))
}

// The components of a signature over headers of these names, as they are spelled in it.
export function spellComponents(names) {
  return ['@method', '@path', '@query', ...names].map((name) => `"${name}"`).join(' ')
}

// The headers that the profile knows, each of them once, in its own spelling and on one line.
function profileHeaders(headers) {
  const found = new Map()
  for (const [spelled, value] of headers) {
    const name = spelled.toLowerCase()
    if (PROFILE_HEADERS.has(name)) {
      if (found.has(name)) return refuse(Reason.DUPLICATE_HEADER, name)
      if (!LINE.test(value)) return refuse(Reason.MALFORMED, name)
      found.set(name, value)
      continue
    }
    // Many a framework takes `x_user_id` for `x-user-id`, and would hand the handler the unsigned one.
    const disguised = BARE_NAMES.get(bare(name))
    if (disguised !== undefined) return refuse(Reason.DISGUISED_HEADER, disguised)
  }
  for (const name of [SIGNATURE_INPUT, SIGNATURE, REQUEST_ID]) {
    if (!found.has(name)) return refuse(Reason.MISSING, name)
  }
  return found
}

function parseClaim(found) {
  const match = CLAIM.exec(found.get(SIGNATURE_INPUT))
  if (match === null) return refuse(Reason.MALFORMED, SIGNATURE_INPUT)
  if (!SIGNATURE_VALUE.test(found.get(SIGNATURE))) return refuse(Reason.MALFORMED, SIGNATURE)
  if (found.has(CONTENT_DIGEST) && !DIGEST.test(found.get(CONTENT_DIGEST))) {
    return refuse(Reason.MALFORMED, CONTENT_DIGEST)
  }
  const { params, components, created, expires, nonce, keyId, tag } = match.groups
  if (tag !== TAG) return refuse(Reason.WRONG_TAG)
  return { params, components, created: Number(created), expires: Number(expires), nonce, keyId }
}

function statedBody(claim, found) {
  if (found.has(CONTENT_DIGEST)) return Body.DIGEST
  const word = claim.nonce.split('-', 1)[0]
  return SAID.has(word) ? word : Body.UNSAID
}

// The headers that a signature covers, in its order: all of the profile that came, and those that the signer chose.
function coveredHeaders(claim, found, headers) {
  const present = coverable(found)
  if (claim.components === spellComponents(present.keys())) return present
  const covered = claim.components.replaceAll('"', '').split(' ')
  const uncovered = ['@method', '@path', '@query', ...present.keys()].find((name) => !covered.includes(name))
  if (uncovered !== undefined) return refuse(Reason.NOT_COVERED, uncovered)
  const absent = COVERABLE.find((name) => covered.includes(name) && !found.has(name))
  if (absent !== undefined) return refuse(Reason.COVERED_ABSENT, absent)
  const further = covered.filter((name) => !COVERABLE.includes(name) && isFurtherName(name))
  const ordered = [...present.keys()].filter((name) => name !== CONTENT_DIGEST)
  ordered.push(...further, ...(present.has(CONTENT_DIGEST) ? [CONTENT_DIGEST] : []))
  if (claim.components !== spellComponents(ordered) || further.length > MAX_FURTHER) {
    return refuse(Reason.MALFORMED, SIGNATURE_INPUT)
  }
  const values = furtherHeaders(further, headers)
  if (!(values instanceof Map)) return values
  return new Map(ordered.map((name) => [name, found.get(name) ?? values.get(name)]))
}

// The headers of names that the signer chose, each of them once, in its own spelling and on one line. A refusal names
// none of them: so far, they are what any client may have sent.
function furtherHeaders(names, headers) {
  const byBare = new Map(names.map((name) => [bare(name), name]))
  if (byBare.size !== names.length) return refuse(Reason.MALFORMED, SIGNATURE_INPUT)
  const values = new Map()
  for (const [spelled, value] of headers) {
    const name = byBare.get(bare(spelled.toLowerCase()))
    if (name === undefined) continue
    if (spelled.toLowerCase() !== name) return refuse(Reason.DISGUISED_HEADER)
    if (values.has(name)) return refuse(Reason.DUPLICATE_HEADER)
    if (!LINE.test(value)) return refuse(Reason.MALFORMED)
    values.set(name, value)
  }
  return values.size === names.length ? values : refuse(Reason.COVERED_ABSENT)
}

// Words with hyphens between them: the names of a single word are HTTP's own, such as `host`.
function isFurtherName(name) {
  return name.length <= 64 && /^[a-z0-9]+(?:-[a-z0-9]+)+$/.test(name) && !BARE_NAMES.has(bare(name))
}

function windowRefused({ created, expires }, now, leewayS) {
  // Each condition states what is allowed: a clock that yields NaN lets nothing through.
  const life = expires - created
  if (!(life > 0 && life <= MAX_LIFETIME_S)) return refuse(Reason.LIFETIME)
  if (!(created <= now + leewayS)) return refuse(Reason.NOT_YET_VALID)
  if (!(now < expires + leewayS)) return refuse(Reason.EXPIRED)
  return null
}

function targetRefused(values) {
  for (const [index, [name, form]] of TARGET.entries()) {
    if (!form.test(values[index])) return refuse(Reason.MALFORMED, name)
  }
  return null
}

function sameText(one, other) {
  const [left, right] = [Buffer.from(one), Buffer.from(other)]
  return left.length === right.length && timingSafeEqual(left, right)
}
