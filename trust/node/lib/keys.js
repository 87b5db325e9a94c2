// Link keys: one shared secret for each directed link between two services. This package verifies, so it takes the links
// that lead to one service. The file of a link is described in `keys.py` of the Python package.

import { Buffer } from 'node:buffer'
import fs from 'node:fs'
import { basename, join } from 'node:path'

const EVERY_S = 1
const MAX_FILE_BYTES = 4096
const MIN_SECRET_BYTES = 32
const MAX_KEYS_PER_LINK = 2
const MAX_SERVICE_NAME = 63
const SERVICE_NAME = /^[a-z][a-z0-9]*(?:-[a-z0-9]+)*$/
const KEY_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/
const BASE64URL = /^[A-Za-z0-9_-]*$/
const NOTES = new Set(['state', 'since'])

// A link key is absent, malformed or badly kept. The message names the file or the link, never a secret.
export class LinkKeyError extends Error {}

// The keys of the links that lead to the service `me`, which do not change. `keys`: `{ id, origin, target, secret }` each,
// the secret as a Buffer of at least 32 bytes.
export class LinkKeys {
  #inbound

  constructor(me, keys) {
    checkServiceName(me)
    this.me = me
    this.#inbound = byId(me, keys)
  }

  // Reads the files of the links that lead to `me`; those of other links are not opened.
  static load(directory, me) {
    return new LinkKeys(me, readLinks(directory, me))
  }

  // The key of that id with which another service signs towards this one, or null.
  inbound(id) {
    return this.#inbound.get(id) ?? null
  }

  // The services that have a link to this one.
  get origins() {
    return [...new Set([...this.#inbound.values()].map((key) => key.origin))].sort()
  }
}

// The link keys that lead to one service, as their files have them now: a rotation needs no restart.
//
// When it is asked for a key, and at most every `everyS` seconds, it looks whether a file was replaced, changed, added or
// removed; then all of them are read anew, and taken whole or not at all. Files that cannot be used leave the last good
// keys in place, and `log` gets the reason. `clock` gives monotonic seconds.
export class LiveLinkKeys {
  #directory
  #clock
  #everyS
  #log
  #looked
  #seen
  #keys
  #problem = null

  constructor(directory, me, { clock = () => performance.now() / 1000, everyS = EVERY_S, log = console.error } = {}) {
    checkServiceName(me)
    this.me = me
    this.#directory = directory
    this.#clock = clock
    this.#everyS = everyS
    this.#log = log
    this.#looked = clock()
    // Looked at before they are read: what changes in between is found at the next look.
    this.#seen = stampFiles(directory, me)
    this.#keys = LinkKeys.load(directory, me)
  }

  inbound(id) {
    this.#followFiles()
    return this.#keys.inbound(id)
  }

  get origins() {
    this.#followFiles()
    return this.#keys.origins
  }

  // What is wrong with the files now, or null: for the log and for operators, without a secret.
  get problem() {
    this.#followFiles()
    return this.#problem
  }

  #followFiles() {
    const now = this.#clock()
    if (now - this.#looked < this.#everyS) return
    this.#looked = now
    try {
      const found = stampFiles(this.#directory, this.me)
      if (found === this.#seen) return
      this.#keys = LinkKeys.load(this.#directory, this.me)
      this.#seen = found
      this.#problem = null
    } catch (error) {
      // Not remembered as seen, so that it is tried again: files may be in the middle of being changed.
      const told = this.#problem === error.message
      this.#problem = error.message
      if (!told) this.#log(`lockgate-trust: link keys cannot be reloaded, the last good ones stay: ${error.message}`)
    }
  }
}

// A key, checked; the secret is out of reach of `console.log` and `JSON.stringify`.
export function checkedKey({ id, origin, target, secret }) {
  if (typeof id !== 'string' || !KEY_ID.test(id)) {
    throw new LinkKeyError('a key id is 1 to 128 letters, digits, dots, underscores and hyphens')
  }
  checkServiceName(origin)
  checkServiceName(target)
  if (origin === target) throw new LinkKeyError(`link key ${id} leads from ${origin} to itself`)
  if (!(secret instanceof Uint8Array) || secret.length < MIN_SECRET_BYTES) {
    throw new LinkKeyError(`link key ${id} has fewer than ${MIN_SECRET_BYTES} bytes`)
  }
  const key = Object.defineProperty({ id, origin, target }, 'secret', { value: Buffer.from(secret) })
  return Object.freeze(key)
}

function checkServiceName(name) {
  if (typeof name === 'string' && name.length <= MAX_SERVICE_NAME && SERVICE_NAME.test(name)) return
  throw new LinkKeyError(`${JSON.stringify(name)} is not a service name: lower-case letters, digits, single hyphens`)
}

function byId(me, keys) {
  const found = new Map()
  const secrets = new Set()
  const perOrigin = new Map()
  for (const given of keys) {
    const key = checkedKey(given)
    if (key.target !== me) throw new LinkKeyError(`link key ${key.id} does not lead to ${me}`)
    found.set(key.id, key)
    secrets.add(key.secret.toString('base64'))
    perOrigin.set(key.origin, (perOrigin.get(key.origin) ?? 0) + 1)
  }
  for (const [origin, count] of perOrigin) {
    if (count > MAX_KEYS_PER_LINK) throw new LinkKeyError(`the link ${origin}--${me} has ${count} keys; at most two`)
  }
  // A secret that two links share would let the ends of one speak on the other.
  const total = [...perOrigin.values()].reduce((sum, count) => sum + count, 0)
  if (found.size !== total || secrets.size !== total) {
    throw new LinkKeyError('two link keys have the same id or the same secret')
  }
  return found
}

function pathsOf(directory, me) {
  const names = listNames(directory).filter((name) => name.endsWith(`--${me}.json`))
  return names.sort().map((name) => join(directory, name))
}

// What the files look like from outside; another text where one of them was replaced, changed, added or removed.
function stampFiles(directory, me) {
  const looks = (path) => {
    const { ino, size, ctimeNs, mtimeNs } = fs.statSync(path, { throwIfNoEntry: false, bigint: true }) ?? {}
    return [path, ino, size, ctimeNs, mtimeNs].join(' ')
  }
  return pathsOf(directory, me).map(looks).join('\n')
}

function readLinks(directory, me) {
  const paths = pathsOf(directory, me)
  if (paths.length === 0) throw new LinkKeyError(`no link key file in ${directory} leads to ${me}`)
  return paths.flatMap((path) => {
    const content = readPrivate(path)
    try {
      const origin = basename(path, `--${me}.json`)
      return parseLink(content, origin, me)
    } catch (error) {
      throw error instanceof LinkKeyError ? new LinkKeyError(`${path}: ${error.message}`) : error
    }
  })
}

function parseLink(content, origin, target) {
  const link = parseJson(content)
  if (!isObjectOf(link, ['origin', 'target', 'keys'])) {
    throw new LinkKeyError('it is not an object of origin, target and keys')
  }
  if (link.origin !== origin || link.target !== target) {
    throw new LinkKeyError('its origin and target are not those of its name')
  }
  if (!Array.isArray(link.keys)) throw new LinkKeyError('its keys are not a list')
  if (link.keys.length < 1 || link.keys.length > MAX_KEYS_PER_LINK) {
    throw new LinkKeyError(`it has ${link.keys.length} keys; it needs one, or two during a rotation`)
  }
  return link.keys.map((entry) => parseKey(entry, origin, target))
}

function parseKey(entry, origin, target) {
  const notes = Object.keys(entry ?? {}).filter((name) => NOTES.has(name))
  if (!isObjectOf(entry, ['id', 'secret', ...notes])) throw new LinkKeyError('a key is not an object of id and secret')
  const { id, secret } = entry
  if (typeof id !== 'string' || typeof secret !== 'string') {
    throw new LinkKeyError('the id or the secret of a key is not a text')
  }
  const bytes = Buffer.from(secret, 'base64url')
  // Buffer skips what it cannot read, so the text is compared with the one spelling of what was read.
  if (!BASE64URL.test(secret) || bytes.toString('base64url') !== secret) {
    throw new LinkKeyError('a secret is not base64url without padding')
  }
  return checkedKey({ id, origin, target, secret: bytes })
}

function isObjectOf(value, names) {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const found = Object.keys(value)
  return found.length === names.length && names.every((name) => Object.hasOwn(value, name))
}

function parseJson(content) {
  // Null instead of the parser's exception, which carries a part of the text, secrets included, into logs.
  try {
    return JSON.parse(content)
  } catch {
    return null
  }
}

// A file that only its owner may read; or, if root owns it, a group of this process (a mounted secret). Asked of the open
// file, so that what is checked is what is read.
function readPrivate(path) {
  let file
  try {
    file = fs.openSync(path, 'r')
    const status = fs.fstatSync(file)
    if (!status.isFile()) throw new LinkKeyError(`${path}: not a regular file`)
    if (isExposed(status)) {
      const mode = (status.mode & 0o7777).toString(8).padStart(4, '0')
      throw new LinkKeyError(
        `${path}: readable by others: its mode is ${mode}; \`chmod 600\` it, or \`chmod 640\` it where it is root's and ` +
          'its group is one of this process',
      )
    }
    if (status.size > MAX_FILE_BYTES) throw new LinkKeyError(`${path}: longer than ${MAX_FILE_BYTES} bytes`)
    return fs.readFileSync(file, 'utf8')
  } catch (error) {
    if (error instanceof LinkKeyError) throw error
    throw new LinkKeyError(`${path}: cannot be read (${error.code})`)
  } finally {
    if (file !== undefined) fs.closeSync(file)
  }
}

function isExposed({ mode, uid, gid }) {
  if ((mode & 0o077) === 0) return false
  return uid !== 0 || (mode & 0o037) !== 0 || !groupsOfProcess().has(gid)
}

// The groups of this process to which root may have given a file. Root needs no group to read its own files, and a file
// that root's group can read is readable by its members.
function groupsOfProcess() {
  const groups = new Set([process.getegid(), ...process.getgroups()])
  if (process.geteuid() === 0) groups.delete(0)
  return groups
}

function listNames(directory) {
  try {
    return fs.readdirSync(directory)
  } catch (error) {
    throw new LinkKeyError(`${directory}: cannot be read (${error.code})`)
  }
}
