import type { IncomingMessage, ServerResponse } from 'node:http'

import type { IdentityOptions } from './index.js'

/** Middleware for Express 4 and 5. Put it first; behind it, `callerOf(request)` has the caller. */
export declare function identity(
  options: IdentityOptions,
): (request: IncomingMessage, response: ServerResponse, next: (error?: unknown) => void) => void
