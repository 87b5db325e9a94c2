// A bounded memory of the signatures that have been used.

import { LEEWAY_S, Reason } from './profile.js'

const DEFAULT_CAPACITY = 131_072

// Lets each signature pass once, for as long as it is accepted.
//
// It remembers for one process: a captured request may be played once at each other process of the same service while it
// lasts, and the memory is empty after a restart. Only valid signatures may be shown to it, so that only holders of a
// link key can fill it. When `capacity` is reached, further signatures are refused rather than older ones forgotten.
export class ReplayGuard {
  #capacity
  #leewayS
  // By the second in which they expire: a whole second is forgotten in one step.
  #seen = new Map()
  #size = 0
  #swept = 0

  constructor({ capacity = DEFAULT_CAPACITY, leewayS = LEEWAY_S } = {}) {
    this.#capacity = capacity
    this.#leewayS = leewayS
  }

  get size() {
    return this.#size
  }

  // Uses a signature up: null the first time, afterwards a reason. `expires` and `now` are in seconds since the epoch.
  claim(signature, { expires, now }) {
    this.#forgetExpired(now)
    const sameEnd = this.#seen.get(expires)
    if (sameEnd?.has(signature)) return Reason.REPLAYED
    if (this.#size >= this.#capacity) return Reason.REPLAY_MEMORY_FULL
    if (sameEnd === undefined) this.#seen.set(expires, new Set([signature]))
    else sameEnd.add(signature)
    this.#size += 1
    return null
  }

  #forgetExpired(now) {
    // Once for the leeway in which it is still accepted; and once more, so that a clock set back by as much brings none
    // back to life.
    const horizon = Math.trunc(now - 2 * this.#leewayS)
    if (horizon === this.#swept) return
    this.#swept = horizon
    for (const [expires, signatures] of this.#seen) {
      if (expires > horizon) continue
      this.#size -= signatures.size
      this.#seen.delete(expires)
    }
  }
}
