// A client of the gateway by way of oauth4webapi: finds its way from the issuer, and does all that OAuth has here.
// node oauth_client.mjs LIBRARY, and on standard input {issuer, audience, client_id, client_secret, refresh_token}.
// Writes what it got, as JSON. Any answer that the library does not accept ends it with an error.
import { readFileSync } from 'node:fs'

const oauth = await import(process.argv[2])
const given = JSON.parse(readFileSync(0, 'utf8'))
const insecure = { [oauth.allowInsecureRequests]: true }
const issuer = new URL(given.issuer)
const found = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure })
const server = await oauth.processDiscoveryResponse(issuer, found)

const machine = { client_id: given.client_id }
const basic = oauth.ClientSecretBasic(given.client_secret)
const post = oauth.ClientSecretPost(given.client_secret)

async function validated(token) {
  const request = new Request('http://resource.example/orders', { headers: { authorization: `Bearer ${token}` } })
  return await oauth.validateJwtAccessToken(server, request, given.audience, insecure)
}

async function introspected(token) {
  const answer = await oauth.introspectionRequest(server, machine, basic, token, insecure)
  return await oauth.processIntrospectionResponse(server, machine, answer)
}

const parameters = new URLSearchParams({ scope: 'orders:read' })
const granted = await oauth.clientCredentialsGrantRequest(server, machine, post, parameters, insecure)
const own = await oauth.processClientCredentialsResponse(server, machine, granted)
const claims = await validated(own.access_token)
const before = await introspected(own.access_token)
await oauth.processRevocationResponse(
  await oauth.revocationRequest(server, machine, basic, own.access_token, insecure),
)
const after = await introspected(own.access_token)

const browser = { client_id: 'lockgate-login' }
const refreshing = await oauth.refreshTokenGrantRequest(server, browser, oauth.None(), given.refresh_token, insecure)
const user = await oauth.processRefreshTokenResponse(server, browser, refreshing)
const userClaims = await validated(user.access_token)

let refused = ''
try {
  const wrong = await oauth.clientCredentialsGrantRequest(
    server, machine, oauth.ClientSecretBasic('wrong'), parameters, insecure,
  )
  await oauth.processClientCredentialsResponse(server, machine, wrong)
} catch (error) {
  refused = error.constructor.name
}
process.stdout.write(JSON.stringify({ claims, before, after, user, userClaims, refused }))
