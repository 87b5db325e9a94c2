// Starts the service: npm install && LINK_KEYS=../../../keys/links PORT=8104 node service.js

import { LiveLinkKeys } from 'lockgate-trust'

import { createNotes } from './notes.js'

const app = createNotes(new LiveLinkKeys(process.env.LINK_KEYS, 'notes'))
const server = app.listen(Number(process.env.PORT), '127.0.0.1', () => console.error('running'))
// Longer than the gateway keeps an idle connection (30 s), so that it never sends a request into one that closes.
server.keepAliveTimeout = 75_000
