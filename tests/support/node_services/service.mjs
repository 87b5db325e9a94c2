// node service.mjs KIND KEYS [PLACE]: the service `orders`, which tells what it has served, on a free port of 127.0.0.1.
//
// KIND: express (5), express4, fastify. KEYS: a folder of link keys. PLACE, for Express: `first` (the default), `after`
// (behind a parser of bodies that keeps nothing) or `kept` (behind one that keeps the bytes as request.rawBody).
// A line "port N" when it listens, then a line for each request that reached the application, or was refused.
import { buffer } from "node:stream/consumers";
import { callerOf, knownCaller, LiveLinkKeys, ReplayGuard } from "lockgate-trust";

const [kind, folder, place = "first"] = process.argv.slice(2);
const say = (told) => console.log(JSON.stringify(told));
const options = {
  keys: new LiveLinkKeys(folder, "orders", { everyS: 0 }),
  onRefusal: ({ reason, about }) => say({ refused: reason, about }),
  replays: new ReplayGuard({ capacity: Number(process.env.CAPACITY ?? 1000) }),
  shortBodiesCovered: process.env.FORWARD_AUTH === undefined,
  leewayS: Number(process.env.LEEWAY_S ?? 10),
};

function served(request, body) {
  const { userId = null, roles = [] } = knownCaller(request) ?? {};
  say({ served: body.length });
  return { user: userId, roles, body: body.toString("latin1") };
}

async function express(name) {
  const { default: make } = await import(name);
  const { identity } = await import("lockgate-trust/express");
  const app = make();
  const keep = place === "kept" ? { verify: (request, _response, bytes) => (request.rawBody = bytes) } : {};
  if (place !== "first") app.use(make.json(keep));
  app.use(identity(options));
  app.post("/json", make.json(), (request, response) => response.json({ parsed: request.body, ...served(request, "") }));
  app.get("/healthz", (request, response) => response.json(served(request, "")));
  const router = make.Router();
  router.use(async (request, response) => response.json(served(request, await buffer(request))));
  app.use("/orders", router);
  app.use((error, _request, response, next) => {
    say({ fault: error.message });
    if (response.headersSent) next(error);
    else response.status(500).end();
  });
  return app.listen(0, "127.0.0.1", function () {
    console.log(`port ${this.address().port}`);
  });
}

async function fastify() {
  const { default: make } = await import("fastify");
  const { identity } = await import("lockgate-trust/fastify");
  const app = make();
  await app.register(identity, options);
  app.addHook("onRequest", async (request) => {
    if (request.routeOptions.url !== "/healthz") callerOf(request);
  });
  app.post("/json", async (request) => ({ parsed: request.body, ...served(request, "") }));
  app.get("/healthz", async (request) => served(request, ""));
  app.addContentTypeParser("*", { parseAs: "buffer", bodyLimit: 1 << 20 }, (_request, body, done) => done(null, body));
  app.all("/orders/*", async (request) => served(request, Buffer.isBuffer(request.body) ? request.body : ""));
  app.setErrorHandler((error, _request, reply) => {
    say({ fault: error.message });
    reply.code(error.statusCode ?? 500).send();
  });
  await app.listen({ host: "127.0.0.1", port: 0 });
  console.log(`port ${app.server.address().port}`);
}

await (kind === "fastify" ? fastify() : express(kind === "express" ? "express" : "express4"));
