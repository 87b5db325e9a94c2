// Middleware for Express 4 and 5, and for anything else that calls `(request, response, next)` with what node:http has.

import { IdentityGate, problemOf } from './gate.js'

// Put it first: a request without a valid signature then runs no code of the application. Behind it, `callerOf(request)`
// has the caller. Options: those of `IdentityGate`.
export function identity(options) {
  const gate = new IdentityGate(options)
  return function verifyIdentity(request, response, next) {
    const settle = (refused) => {
      if (refused === null) return next()
      const { status, headers, body } = problemOf(refused)
      return response.writeHead(status, headers).end(body)
    }
    gate.admit(request).then(settle, next)
  }
}
