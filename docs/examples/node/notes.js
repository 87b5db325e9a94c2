// A service behind the gateway, with Express.

import express from 'express'
import { callerOf } from 'lockgate-trust'
import { identity } from 'lockgate-trust/express'

// The service. `keys`: `LiveLinkKeys` of its folder, or `LinkKeys` of a test.
export function createNotes(keys) {
  const app = express()
  // First, so that without a valid signature no code of this application runs.
  app.use(identity({ keys }))
  app.use(express.json())

  const respond = (request, response, note) => {
    // `request.headers` may hold an identity that is not verified.
    const caller = callerOf(request)
    response.json({ note, user: caller.userId, roles: caller.roles })
  }
  app.get('/notes/:note', (request, response) => respond(request, response, request.params.note))
  app.post('/notes', (request, response) => respond(request, response, request.body.text))
  return app
}
