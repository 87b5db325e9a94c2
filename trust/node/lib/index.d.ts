import type { IncomingMessage } from 'node:http'

/** What a service learns about a request once its signature has been verified. */
export interface Caller {
  /** Names the request in the logs of all services that took part in it. */
  readonly requestId: string
  /** The service that signed the request: `gateway`, or another one. */
  readonly service: string
  /** The user, or null for an anonymous request. */
  readonly userId: string | null
  readonly roles: readonly string[]
  /** What the user's token allows. */
  readonly scopes: readonly string[]
  readonly sessionId: string | null
  /** The `jti` of the token. */
  readonly tokenId: string | null
  /** When the user last authenticated, in seconds since the epoch. */
  readonly authTime: number | null
  /** The W3C trace context, not parsed. */
  readonly traceparent: string | null
  /** The service that passes the user's identity on; equals `service` where it is not null. */
  readonly onBehalf: string | null
  readonly anonymous: boolean
}

/** What a signature says of the body of its request. */
export declare const Body: {
  readonly DIGEST: 'digest'
  readonly NONE: 'none'
  readonly STREAMED: 'streamed'
  readonly UNSEEN: 'unseen'
  readonly UNSAID: 'unsaid'
}
export type Body = (typeof Body)[keyof typeof Body]

/** Why a request is refused: for logs, metrics and tests. A client is not told. */
export declare const Reason: {
  readonly MISSING: 'missing'
  readonly DUPLICATE_HEADER: 'duplicate_header'
  readonly DISGUISED_HEADER: 'disguised_header'
  readonly MALFORMED: 'malformed'
  readonly WRONG_TAG: 'wrong_tag'
  readonly UNKNOWN_KEY: 'unknown_key'
  readonly NOT_COVERED: 'not_covered'
  readonly COVERED_ABSENT: 'covered_absent'
  readonly LIFETIME: 'lifetime'
  readonly NOT_YET_VALID: 'not_yet_valid'
  readonly EXPIRED: 'expired'
  readonly BAD_SIGNATURE: 'bad_signature'
  readonly BAD_IDENTITY: 'bad_identity'
  readonly REPLAYED: 'replayed'
  readonly REPLAY_MEMORY_FULL: 'replay_memory_full'
  readonly BODY_MISMATCH: 'body_mismatch'
  readonly BODY_TOO_LARGE: 'body_too_large'
}
export type Reason = (typeof Reason)[keyof typeof Reason]

/** A request that must not be served. */
export interface Refusal {
  readonly ok: false
  readonly reason: Reason
  /** The header or component concerned, by its canonical name; empty where it is none in particular. */
  readonly about: string
}

/** A request with a valid signature. */
export interface Verified {
  readonly ok: true
  readonly caller: Caller
  readonly origin: string
  readonly keyId: string
  readonly contentDigest: string | null
  readonly signature: string
  /** In seconds since the epoch. */
  readonly expires: number
  readonly body: Body
  /** The covered headers of names that the signer chose, as they came. */
  readonly further: Readonly<Record<string, string>>
}

/** One key of the link from `origin` to `target`; the secret has at least 32 bytes. */
export interface LinkKey {
  readonly id: string
  readonly origin: string
  readonly target: string
  readonly secret: Uint8Array
}

/** The keys of the links that lead to one service. */
export interface InboundKeys {
  readonly me: string
  readonly origins: string[]
  /** The key of that id with which another service signs towards this one now, or null. */
  inbound(id: string): LinkKey | null
}

/** A link key is absent, malformed or badly kept. The message names the file or the link, never a secret. */
export declare class LinkKeyError extends Error {}

/** Keys that do not change: from memory, or read once. */
export declare class LinkKeys implements InboundKeys {
  constructor(me: string, keys: Iterable<LinkKey>)
  static load(directory: string, me: string): LinkKeys
  readonly me: string
  get origins(): string[]
  inbound(id: string): LinkKey | null
}

export interface LiveLinkKeysOptions {
  /** Monotonic seconds. */
  clock?: () => number
  /** Seconds between two looks at the files. */
  everyS?: number
  log?: (message: string) => void
}

/** Keys that follow their files: a rotation needs no restart. */
export declare class LiveLinkKeys implements InboundKeys {
  constructor(directory: string, me: string, options?: LiveLinkKeysOptions)
  readonly me: string
  get origins(): string[]
  /** What is wrong with the files now, or null. */
  get problem(): string | null
  inbound(id: string): LinkKey | null
}

/** Lets each signature pass once, for as long as it is accepted. */
export declare class ReplayGuard {
  constructor(options?: { capacity?: number; leewayS?: number })
  get size(): number
  claim(signature: string, times: { expires: number; now: number }): Reason | null
}

export interface IdentityOptions {
  keys: InboundKeys
  /** Seconds since the epoch. */
  clock?: () => number
  /** Raw paths that need no signature; `/healthz` by default. No caller is known there. */
  openPaths?: Iterable<string>
  /** Told of each refusal. */
  onRefusal?: (refusal: Refusal, request: IncomingMessage) => void
  replays?: ReplayGuard
  /** `false` for a front proxy that has only asked the gateway (forward-auth), and for nothing else. */
  shortBodiesCovered?: boolean
  /** By how many seconds clocks may differ: the gateways' `token.leeway_s`. */
  leewayS?: number
}

/** Decides about each request; what Express and Fastify have in common. */
export declare class IdentityGate {
  constructor(options: IdentityOptions)
  /** Null where the request may be served; its caller is known then, unless the path is open. */
  admit(request: IncomingMessage): Promise<Refusal | null>
}

/** The response to a refused request. */
export declare function problemOf(refusal: Refusal): { status: number; headers: Record<string, string>; body: Buffer }

/** A request of node:http or Express, or that of Fastify around it. */
export type AnyRequest = IncomingMessage | { raw: IncomingMessage }

/** The caller of a request, for code behind the middleware; throws where there is none. */
export declare function callerOf(request: AnyRequest): Caller
/** The caller of a request, or null without a verified signature. */
export declare function knownCaller(request: AnyRequest): Caller | null
/** Writes one line for a refusal to the standard error. */
export declare function logRefusal(refusal: Refusal, request: IncomingMessage): void

export interface Received {
  method: string
  /** Raw, as received. */
  path: string
  /** Raw, without the `?`. */
  query: string
  /** All of them, each as often as it came. */
  headers: Iterable<readonly [string, string]>
  /** Seconds since the epoch. */
  now: number
  leewayS?: number
}

/** Checks the signature of one request; neither its body (`bodyRefused`) nor a replay (`ReplayGuard`). */
export declare function verify(keys: InboundKeys, received: Received): Verified | Refusal
/** Why a request must not be served with this whole body, or null. */
export declare function bodyRefused(verified: Verified, body: Uint8Array): Refusal | null
/** The value of `Content-Digest` for a body. */
export declare function contentDigest(body: Uint8Array): string

export declare const LEEWAY_S: number
export declare const MAX_DIGEST_BODY: number
