// The link keys that lead to one service, as their files have them now: a rotation needs no restart.
'use strict'

const fs = require('node:fs')
const { join } = require('node:path')
const { createVerifier } = require('http-message-signatures')

const EVERY_MS = 1000
const MAX_BYTES = 4096

// A function of a key's id: { id, origin, verify } or undefined. It looks at the files at most once a second, when it is
// asked, and takes a change whole or not at all: files that cannot be used leave the last good keys in place.
function liveKeys(directory, me) {
  let looked = Date.now()
  let seen = stamp(directory, me)
  let keys = load(directory, me)

  return function keyOf(id) {
    if (Date.now() - looked >= EVERY_MS) {
      looked = Date.now()
      try {
        const found = stamp(directory, me)
        if (found !== seen) keys = load(directory, me)
        seen = found
      } catch (error) {
        // Tried again at the next look: the files may be in the middle of being changed.
        console.error(`link keys cannot be reloaded, the last good ones stay: ${error.message}`)
      }
    }
    return keys.get(id)
  }
}

function paths(directory, me) {
  const files = fs.readdirSync(directory).filter((file) => file.endsWith(`--${me}.json`))
  return files.sort().map((file) => join(directory, file))
}

// What the files look like from outside; another text where one of them was replaced, changed, added or removed.
function stamp(directory, me) {
  const looks = (path) => {
    const { ino, size, ctimeMs, mtimeMs } = fs.statSync(path, { throwIfNoEntry: false }) ?? {}
    return [path, ino, size, ctimeMs, mtimeMs].join(' ')
  }
  return paths(directory, me).map(looks).join('\n')
}

function load(directory, me) {
  const links = paths(directory, me).map((path) => JSON.parse(readPrivate(path)))
  if (links.length === 0) throw new Error(`no link key file in ${directory} leads to ${me}`)
  return new Map(
    links.flatMap(({ origin, keys }) =>
      keys.map(({ id, secret }) => [
        id,
        { id, origin, verify: createVerifier(Buffer.from(secret, 'base64url'), 'hmac-sha256') },
      ]),
    ),
  )
}

// A file that only its owner may read; or, if root owns it, a group that is ours (a mounted secret). Asked of the open
// file, so that what is checked is what is read.
function readPrivate(path) {
  const file = fs.openSync(path, 'r')
  try {
    const { mode, uid, gid, size } = fs.fstatSync(file)
    const groups = [process.getegid(), ...process.getgroups()].filter((group) => group !== 0 || process.geteuid() !== 0)
    const givenToUs = uid === 0 && (mode & 0o037) === 0 && groups.includes(gid)
    if ((mode & 0o077) !== 0 && !givenToUs) throw new Error(`${path}: readable by others; chmod 600 it`)
    if (size > MAX_BYTES) throw new Error(`${path} is longer than ${MAX_BYTES} bytes`)
    return fs.readFileSync(file, 'utf8')
  } finally {
    fs.closeSync(file)
  }
}

module.exports = { liveKeys }
