// A plugin for Fastify 5. It guards every route of the instance that it is registered with, also those outside of the
// plugin itself.

import { IdentityGate, problemOf } from './gate.js'

// Register it before other plugins: their hooks then run for verified requests only. Behind it, `callerOf(request)` has the
// caller. Options: those of `IdentityGate`; refusals go to the log of Fastify unless `onRefusal` says otherwise.
export function identity(instance, options, done) {
  const logRefusal = ({ reason, about }) => instance.log.warn({ reason, about }, 'lockgate-trust: refused a request')
  const gate = new IdentityGate({ onRefusal: logRefusal, ...options })
  instance.addHook('onRequest', async (request, reply) => {
    const refused = await gate.admit(request.raw)
    if (refused === null) return undefined
    const { status, headers, body } = problemOf(refused)
    return reply.code(status).headers(headers).send(body)
  })
  done()
}

// What the package fastify-plugin sets: without it, the hook would guard the routes of the plugin alone.
identity[Symbol.for('skip-override')] = true
identity[Symbol.for('fastify.display-name')] = 'lockgate-trust'
