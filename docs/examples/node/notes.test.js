// Tests of the service without a gateway: npm test

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, test } from 'node:test'

import { LinkKeys } from 'lockgate-trust'
import { Fault, makeLinkKey, signedIn } from 'lockgate-trust/testing'

import { createNotes } from './notes.js'

const key = makeLinkKey('gateway', 'notes')
let server
let address

before(async () => {
  server = createNotes(new LinkKeys('notes', [key])).listen(0, '127.0.0.1')
  await once(server, 'listening')
  address = `http://127.0.0.1:${server.address().port}`
})

after(() => server.close())

test('a note is read by its user', async () => {
  const alice = signedIn(address, { key, user: 'alice', roles: ['customer'] })
  const response = await alice('/notes/7?page=2')
  assert.equal(response.status, 200)
  assert.deepEqual(await response.json(), { note: '7', user: 'alice', roles: ['customer'] })
})

test('a note is written by its user', async () => {
  const alice = signedIn(address, { key, user: 'alice' })
  const headers = { 'content-type': 'application/json' }
  const response = await alice('/notes', { method: 'POST', headers, body: '{"text": "milk"}' })
  assert.deepEqual(await response.json(), { note: 'milk', user: 'alice', roles: [] })
})

for (const fault of Object.values(Fault)) {
  test(`an identity that is ${fault} is refused`, async () => {
    const response = await signedIn(address, { key, user: 'alice', fault })('/notes/7')
    assert.equal(response.status, 401)
  })
}
