// Reads a body ahead of the application, and gives it back.

import { Buffer } from 'node:buffer'

// The body of a request of node:http, which is then unread again: parsers and streams behind see all of it. Of a body that
// is longer than `most` bytes, its beginning is read and nothing is given back. The promise stays open where the client
// went away.
//
// A parser that came first has read the body already. Then `request.rawBody` has to be the Buffer that it read, and an
// Error says so where it is not: what was signed are these bytes, and no parser's idea of them.
export async function readAhead(request, most) {
  if (request.readableDidRead || request.readableEnded) {
    if (Buffer.isBuffer(request.rawBody)) return request.rawBody
    throw new Error(
      'the body was read before lockgate-trust could check it: put it before every parser of bodies, or keep the ' +
        'bytes as request.rawBody',
    )
  }
  const declared = Number(request.headers['content-length'] ?? Number.NaN)
  if (declared === 0) return Buffer.alloc(0)
  return new Promise((resolve) => {
    const chunks = []
    let size = 0
    const finish = (body) => {
      request.off('readable', take).off('end', take)
      resolve(body)
    }
    const take = () => {
      for (let chunk = request.read(); chunk !== null; chunk = request.read()) {
        chunks.push(chunk)
        size += chunk.length
        if (size > most) return finish(Buffer.concat(chunks))
      }
      if (!(request.complete || request.readableEnded || size === declared)) return undefined
      const body = Buffer.concat(chunks)
      // Given back in the same turn as the last read: once the end has been told, nothing can be (node: `unshift`).
      if (size > 0) request.unshift(body)
      return finish(body)
    }
    request.on('readable', take).on('end', take)
  })
}
