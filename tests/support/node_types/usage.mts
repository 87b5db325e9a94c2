// Services and tests as an author writes them in TypeScript: compiled only, in the strictest mode.
import type { Server } from "node:http";
import express, { type RequestHandler } from "express";
import Fastify from "fastify";
import {
  bodyRefused, type Caller, callerOf, IdentityGate, knownCaller, LEEWAY_S, LinkKeyError, LinkKeys, LiveLinkKeys,
  problemOf, Reason, type Refusal, ReplayGuard, verify,
} from "lockgate-trust";
import { identity } from "lockgate-trust/express";
import { identity as plugin } from "lockgate-trust/fastify";
import { Fault, identityHeaders, makeLinkKey, signedIn, STREAMED } from "lockgate-trust/testing";

const key = makeLinkKey("gateway", "orders");
const keys = new LinkKeys("orders", [key]);
const live: LiveLinkKeys = new LiveLinkKeys("/run/link-keys", "orders", { everyS: 1, log: console.error });
const problem: string | null = live.problem;

const app = express();
const guard: RequestHandler = identity({ keys: live, leewayS: LEEWAY_S, openPaths: ["/healthz"] });
app.use(guard);
app.get("/orders", (request, response) => {
  const caller: Caller = callerOf(request);
  const user: string | null = caller.userId;
  response.json({ user, admin: caller.roles.includes("admin"), maybe: knownCaller(request)?.authTime, problem });
});

const fastify = Fastify();
await fastify.register(plugin, {
  keys,
  replays: new ReplayGuard({ capacity: 10 }),
  onRefusal: ({ reason, about }, request) => {
    if (reason === Reason.EXPIRED) console.warn(about, request.url);
  },
});
fastify.get("/orders", async (request) => callerOf(request).scopes);

const outcome = verify(keys, { method: "GET", path: "/", query: "", headers: [["a", "b"]], now: Date.now() / 1000 });
const refused: Refusal | null = outcome.ok ? bodyRefused(outcome, Buffer.from("x")) : outcome;
if (refused !== null) console.log(problemOf(refused).status, new IdentityGate({ keys }));

const address: Server = app.listen(0);
const alice = signedIn("http://127.0.0.1", { key, user: "alice", roles: ["a"], fault: Fault.FOREIGN });
const response: Response = await alice("/orders", { method: "POST", body: "{}", headers: { "content-type": "a/b" } });
const headers: Record<string, string> = identityHeaders(key, { path: "/", body: STREAMED });
console.log(address, response.status, headers, LinkKeyError.name);

// @ts-expect-error: a service without keys verifies nothing
identity({});
// @ts-expect-error: roles do not change
callerOf(fastify.server as never).roles.push("admin");
// @ts-expect-error: a refusal has no caller
if (!outcome.ok) console.log(outcome.caller);
