// Steps, expectations, and what went over the wire. A step is one line of output, and nothing is tried twice.
import assert from "node:assert/strict";

// Report prints a line for each step. The first failure ends the program, unless keepGoing is set, for work on the walk.
export class Report {
  constructor(keepGoing) {
    this.keepGoing = keepGoing;
    this.failed = [];
  }

  async part(name, run) {
    try {
      await run();
    } catch (e) {
      const own = (e.stack ?? "").split("\n").filter((l) => l.includes("/compat/node/")).map((l) => "  " + l.trim());
      console.log([`  ${e.name}: ${e.message}`, ...own].join("\n"));
      this.failed.push(name);
      if (!this.keepGoing) process.exit(1);
    }
  }

  step = async (name, run) => {
    const began = performance.now();
    try {
      await run();
    } catch (e) {
      console.log(`FAILED: ${name}`);
      throw e;
    }
    console.log(`step: ${name} (${Math.round(performance.now() - began)} ms)`);
  };
}

// Wire notes every answer that the SDK's pipeline gets, so that a step can prove that an operation was, or was not,
// done by the service. Its policy goes into a client's additionalPolicies.
export class Wire {
  seen = []; // {method, path, status}
  last = undefined; // the last answer

  policy = {
    name: "notes of the compat run",
    sendRequest: async (request, next) => {
      const answer = (this.last = await next(request));
      this.seen.push({ method: request.method, path: new URL(request.url).pathname, status: answer.status });
      assert.match(answer.headers.get("x-ms-request-id") ?? "", /^[0-9a-f-]{36}$/, `x-ms-request-id of ${request.method} ${request.url}`);
      return answer;
    },
  };

  // remote: run must make the service do the operation whose path ends in word. Returns what run returns.
  async remote(word, run) {
    const before = this.seen.length;
    const got = await run();
    const sent = this.seen.slice(before);
    assert.ok(sent.some((s) => s.path.endsWith("/" + word) && s.status === 200), `${word} did not reach the service: ${JSON.stringify(sent)}`);
    return got;
  }

  // silent: run must send nothing but a GET of the key.
  async silent(run) {
    const before = this.seen.length;
    const got = await run();
    const sent = this.seen.slice(before).filter((s) => s.method !== "GET");
    assert.deepEqual(sent, [], "was to be local");
    return got;
  }
}

// failure is the error of a call, which must fail.
async function failure(call) {
  let got;
  try {
    got = await call();
  } catch (e) {
    assert.equal(e.name, "RestError", `class of ${e.stack}`);
    return e;
  }
  throw new assert.AssertionError({ message: `accepted: ${JSON.stringify(got)}` });
}

// refused: the call must fail with this status, error code (and inner code), and a message that matches words and ends
// with the activity id, which is the answer's request id.
export async function refused(call, status, code, words = /./, inner = undefined) {
  const e = await failure(call);
  assert.deepEqual([e.statusCode, e.code], [status, code], e.message);
  checkError(e.details.error, code, words, e.response.headers);
  assert.equal(e.details.error.innerError?.code, inner, `inner code of ${e.message}`);
}

// refusedList is refused for a paged list. The library gives status and code, but leaves out the service's message,
// which is read from the wire.
export async function refusedList(wire, call, status, code, words = /./) {
  const e = await failure(call);
  assert.deepEqual([e.statusCode, e.code, e.details], [status, code, undefined], e.message);
  checkError(JSON.parse(wire.last.bodyAsText).error, code, words, wire.last.headers);
}

function checkError(error, code, words, headers) {
  assert.equal(error.code, code);
  assert.match(error.message, words);
  const id = headers.get("x-ms-request-id");
  assert.ok(error.message.endsWith(`(Activity ID: ${id})`), `message ${error.message} does not end with the activity id ${id}`);
}

// all is the list of all that a paged iterator gives, each through pick.
export async function all(iterator, pick = (x) => x) {
  const out = [];
  for await (const x of iterator) out.push(pick(x));
  return out;
}

// bytes compares byte strings of any kind.
export function bytes(got, want, what = "bytes") {
  assert.deepEqual(Buffer.from(got), Buffer.from(want), what);
}

export const sameSet = (got, want, what) => assert.deepEqual([...got].sort(), [...want].sort(), what);
