// Fastify as a gateway: signature, algorithm, issuer, audience and expiry, verified tokens cached. No revocation.
import { readFileSync } from "node:fs";
import Fastify from "fastify";
import jwt from "@fastify/jwt";
import proxy from "@fastify/http-proxy";

const app = Fastify({ logger: false });
await app.register(jwt, {
  secret: { public: readFileSync("@PUBLIC_PEM@") },
  verify: { algorithms: ["RS256"], allowedIss: "@ISSUER@", allowedAud: "@AUDIENCE@", cache: 10000 },
});
await app.register(proxy, {
  upstream: "http://127.0.0.1:@SERVICE@",
  preHandler: (request) => request.jwtVerify(),
  replyOptions: {
    rewriteRequestHeaders: (request, { authorization, ...headers }) => ({ ...headers, "x-user-id": request.user.sub }),
  },
});
await app.listen({ host: "127.0.0.1", port: @PORT@ });
