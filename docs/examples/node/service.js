// A service behind the gateway, in Node: npm install && LINK_KEYS=../../../keys/links PORT=8104 node service.js
'use strict'

const { createServer } = require('node:http')
const { Refused, verifier } = require('./identity.js')
const { liveKeys } = require('./keys.js')

const MAX_BODY = 64 * 1024
const callerOf = verifier(liveKeys(process.env.LINK_KEYS, 'notes'))

async function bodyOf(request) {
  const chunks = []
  let size = 0
  for await (const chunk of request) {
    size += chunk.length
    if (size > MAX_BODY) throw new Refused('the body is too long')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

// RFC 9457. Why is for the log; a client is told nothing that helps to guess.
const problem = (status, title, code) => ({
  type: 'about:blank', title, status, detail: title, code, request_id: null
})
const UNSIGNED = problem(401, 'A valid identity signature is required', 'signature_invalid')
const BROKEN = problem(500, 'Internal error', 'internal_error')

const server = createServer(async (request, response) => {
  const answer = (status, content, fields = {}) => {
    response.writeHead(status, { 'content-type': 'application/json', ...fields })
    response.end(JSON.stringify(content))
  }
  const refuse = (what, fields) =>
    answer(what.status, what, { 'content-type': 'application/problem+json', 'cache-control': 'no-store', ...fields })
  try {
    const body = await bodyOf(request)
    const who = await callerOf(request, body)
    const note = request.method === 'POST' ? JSON.parse(body).text : request.url.split('/')[2].split('?')[0]
    answer(200, { note, user: who.userId, roles: who.roles.sort() })
  } catch (error) {
    console.error(error instanceof Refused ? `refused: ${error.message}` : error)
    // RFC 9110 section 15.5.2 asks for a challenge with each 401.
    if (error instanceof Refused) refuse(UNSIGNED, { 'www-authenticate': 'Signature' })
    else refuse(BROKEN)
  }
})
// Longer than the gateway keeps an idle connection (30 s), so that it never sends a request into one that closes.
server.keepAliveTimeout = 75_000
server.listen(Number(process.env.PORT), '127.0.0.1', () => console.error('running'))
