// A service behind the gateway, in Node: npm install && LINK_KEYS=../../../keys/links PORT=8104 node service.js
'use strict'

const { createServer } = require('node:http')
const { Refused, loadKeys, verifier } = require('./identity.js')

const MAX_BODY = 64 * 1024
const callerOf = verifier(loadKeys(process.env.LINK_KEYS, 'notes'))

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

const server = createServer(async (request, response) => {
  const answer = (status, content) => {
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(JSON.stringify(content))
  }
  try {
    const body = await bodyOf(request)
    const who = await callerOf(request, body)
    const note = request.method === 'POST' ? JSON.parse(body).text : request.url.split('/')[2].split('?')[0]
    answer(200, { note, user: who.userId, roles: who.roles.sort() })
  } catch (error) {
    // Why is for the log; a client is told nothing that helps to guess.
    console.error(error instanceof Refused ? `refused: ${error.message}` : error)
    answer(error instanceof Refused ? 401 : 500, {})
  }
})
server.listen(Number(process.env.PORT), '127.0.0.1', () => console.error('running'))
