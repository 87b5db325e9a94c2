// node vectors.mjs FILE: the outcome of each vector, as a line of JSON in the form of the file.
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { bodyRefused, LinkKeys, verify } from "lockgate-trust";

const { me, now, leeway_s: leewayS, keys, vectors } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const ours = new LinkKeys(
  me,
  keys.map((key) => ({ ...key, secret: Buffer.from(key.secret, "base64url") })),
);

function outcomeOf(vector) {
  const outcome = verify(ours, { now, leewayS, ...vector });
  if (!outcome.ok || (vector.body === undefined && vector.zeros === undefined)) return outcome;
  const body = vector.zeros === undefined ? Buffer.from(vector.body, "base64") : Buffer.alloc(vector.zeros);
  return bodyRefused(outcome, body) ?? outcome;
}

function told({ requestId, userId, sessionId, tokenId, authTime, onBehalf, anonymous, ...same }) {
  if (anonymous !== (userId === null)) throw new Error("anonymous is wrong");
  return {
    ...same,
    request_id: requestId,
    user_id: userId,
    session_id: sessionId,
    token_id: tokenId,
    auth_time: authTime,
    on_behalf: onBehalf,
  };
}

for (const vector of vectors) {
  const { ok, reason, about, body, caller, further } = outcomeOf(vector);
  const more = ok && Object.keys(further).length > 0 ? { further } : {};
  console.log(JSON.stringify(ok ? { accepted: { body, caller: told(caller), ...more } } : { refused: { reason, about } }));
}
