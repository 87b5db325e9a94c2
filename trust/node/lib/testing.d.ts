import type { LinkKey } from './index.js'

/** What is wrong with the identity of a request that a service has to refuse with 401. */
export declare const Fault: {
  readonly UNSIGNED: 'unsigned'
  readonly EXPIRED: 'expired'
  readonly FOREIGN: 'foreign'
}
export type Fault = (typeof Fault)[keyof typeof Fault]

/** In place of a body that is not covered. */
export declare const STREAMED: unique symbol

/** What a signed request says of its user; without `user` it is anonymous. */
export interface Claims {
  user?: string
  roles?: Iterable<string>
  scopes?: Iterable<string>
  sessionId?: string
  tokenId?: string
  /** Seconds since the epoch. */
  authTime?: number
  traceparent?: string
}

export interface Signed extends Claims {
  method?: string
  /** Raw, as sent. */
  path: string
  /** Raw, without the `?`. */
  query?: string
  body?: string | Uint8Array | typeof STREAMED
  /** When it is signed, in seconds since the epoch. */
  now?: number
  requestId?: string
  fault?: Fault
}

/** A fresh key of the link from `origin` to `target`, in memory only. */
export declare function makeLinkKey(origin: string, target: string): LinkKey
/** The header fields that one request gets from the gateway. */
export declare function identityHeaders(key: LinkKey, request: Signed): Record<string, string>

export interface SignedInit extends Omit<RequestInit, 'headers' | 'body'> {
  headers?: Record<string, string>
  body?: string | Uint8Array<ArrayBuffer>
}

/** `fetch` for one user of the service at `address`. */
export declare function signedIn(
  address: string,
  user: Claims & { key: LinkKey; fault?: Fault },
): (target: string, init?: SignedInit) => Promise<Response>
