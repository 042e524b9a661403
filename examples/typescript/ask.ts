// Asks a farm for a build, waits for its end, and says what it found. All types come from
// docs/openapi.json: what the farm says otherwise does not compile, or ends with an error here.
//
//     npm ci && npm run generate && npm run build
//     FARMER_TOKEN=$(cat DATA/token) node dist/ask.js http://127.0.0.1:8111 REPOSITORY

import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Build = components["schemas"]["Build"];
type Refusal = components["schemas"]["Error"];

const [address, repository] = process.argv.slice(2);
const token = process.env["FARMER_TOKEN"];
if (!address || !repository || !token) {
  console.error("usage: FARMER_TOKEN=TOKEN node ask.js ADDRESS REPOSITORY");
  process.exit(2);
}
const farm = createClient<paths>({ baseUrl: address, headers: { authorization: `Bearer ${token}` } });

/** The answer, or an error with the farm's own sentence. */
function answer<T>(what: string, got: { data?: T; error?: Refusal }): T {
  if (got.data === undefined) {
    throw new Error(`${what}: ${got.error ? `${got.error.message} (${got.error.hint})` : "no answer"}`);
  }
  return got.data;
}

async function ended(id: string): Promise<Build> {
  for (let patience = 600; patience > 0; patience--) {
    const build = answer("get the build", await farm.GET("/api/v1/builds/{id}", { params: { path: { id } } }));
    if (build.outcome) {
      return build;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`build ${id} did not end within a minute`);
}

const asked = await farm.POST("/api/v1/builds", { body: { repo: repository } });
const first = answer("ask for a build", asked).builds[0];
if (!first) {
  throw new Error("nothing was built");
}
const build = await ended(first.id);
console.log(`${build.id} of ${build.item.repo} on ${build.builder}: ${JSON.stringify(build.outcome)}`);
for (const run of build.runs) {
  console.log(`  ${run.unit}, attempt ${run.attempt}: ${run.took_ms ?? "?"} ms`);
}

const path = { id: build.id };
const log = await farm.GET("/api/v1/builds/{id}/log", { params: { path }, parseAs: "text" });
console.log(answer("read the log", log).trimEnd());

const page = answer("list builds", await farm.GET("/api/v1/builds", { params: { query: { limit: 10 } } }));
console.log(`builds: ${page.builds.length}`);
const board = answer("get the board", await farm.GET("/api/v1/board", { params: { query: { repo: build.item.repo } } }));
console.log(`commits on the board: ${board.commits.length}`);
const pools = answer("list pools", await farm.GET("/api/v1/pools", {}));
console.log(`pools: ${pools.pools.map((pool) => pool.host_type).join(", ")}`);

const absent = await farm.GET("/api/v1/builds/{id}", { params: { path: { id: "B000000000" } } });
if (absent.response.status !== 404 || !absent.error) {
  throw new Error(`a build that is not there was answered with ${absent.response.status}`);
}
console.log(`refused: ${absent.error.message}`);
