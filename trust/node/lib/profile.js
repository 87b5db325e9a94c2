// The one profile of RFC 9421 (HTTP Message Signatures) that is verified here: its names, bounds and reasons. The Python
// package `lockgate_trust` describes it, in `profile.py`; both pass the same vectors.

export const LABEL = 'lockgate'
export const TAG = 'lockgate-identity'

// Seconds from `created` to `expires` in what a gateway signs, and the longest such span that is accepted.
export const LIFETIME_S = 10
export const MAX_LIFETIME_S = 60
// By how many seconds the clocks of any two nodes may differ: the gateways' `token.leeway_s`.
export const LEEWAY_S = 10
// Longest body, in bytes, that is covered by a digest. A longer one is streamed and not covered.
export const MAX_DIGEST_BODY = 64 * 1024
// How many headers a signature may cover whose names are not of the profile.
export const MAX_FURTHER = 8

export const REQUEST_ID = 'x-request-id'
export const CONTENT_DIGEST = 'content-digest'
export const SIGNATURE = 'signature'
export const SIGNATURE_INPUT = 'signature-input'

// Every identity header, in the order in which a signature covers them.
export const IDENTITY_HEADERS = Object.freeze([
  REQUEST_ID, 'traceparent', 'x-caller', 'x-user-id', 'x-user-roles', 'x-user-scopes', 'x-session-id', 'x-token-id',
  'x-auth-time',
])

// A header value as it may be here: one line of printable ASCII without white space around it.
export const LINE = /^(?:[!-~](?:[ -~]*[!-~])?)?$/

// What a signature says of the body of its request.
export const Body = Object.freeze({
  DIGEST: 'digest',
  NONE: 'none',
  STREAMED: 'streamed',
  UNSEEN: 'unseen',
  UNSAID: 'unsaid',
})

// Why a request is refused: for logs, metrics and tests. A client is not told.
export const Reason = Object.freeze({
  MISSING: 'missing',
  DUPLICATE_HEADER: 'duplicate_header',
  DISGUISED_HEADER: 'disguised_header',
  MALFORMED: 'malformed',
  WRONG_TAG: 'wrong_tag',
  UNKNOWN_KEY: 'unknown_key',
  NOT_COVERED: 'not_covered',
  COVERED_ABSENT: 'covered_absent',
  LIFETIME: 'lifetime',
  NOT_YET_VALID: 'not_yet_valid',
  EXPIRED: 'expired',
  BAD_SIGNATURE: 'bad_signature',
  BAD_IDENTITY: 'bad_identity',
  REPLAYED: 'replayed',
  REPLAY_MEMORY_FULL: 'replay_memory_full',
  BODY_MISMATCH: 'body_mismatch',
  BODY_TOO_LARGE: 'body_too_large',
})

// A refusal: the reason, and the canonical name of the header or component that it is about. Nothing that a client sent.
export function refuse(reason, about = '') {
  return Object.freeze({ ok: false, reason, about })
}
