// node client.mjs fetch|axios URL COUNT <body: POST the body COUNT times, one after the other; a line for each response:
// its status and body, or the error. AUTHORIZATION in the environment is sent as it is.
import { createRequire } from "node:module";
import { buffer } from "node:stream/consumers";

const [kind, url, count] = process.argv.slice(2);
const headers = { "Content-Type": "application/json" };
if (process.env.AUTHORIZATION) headers.Authorization = process.env.AUTHORIZATION;
const body = await buffer(process.stdin);

async function byFetch() {
  const response = await fetch(url, { method: "POST", headers, body });
  return `${response.status} ${await response.text()}`;
}

async function byAxios() {
  const axios = createRequire(`${process.env.NODE_PATH}/`)("axios");
  const options = { headers, maxBodyLength: Infinity, responseType: "text", validateStatus: () => true };
  const response = await axios.post(url, body, { ...options, transformResponse: (text) => text });
  return `${response.status} ${response.data}`;
}

for (let number = 0; number < Number(count); number += 1) {
  try {
    console.log(await (kind === "axios" ? byAxios() : byFetch()));
  } catch (error) {
    console.log(`${error.cause?.code ?? error.code ?? error}`);
  }
}
