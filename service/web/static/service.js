// The only file that speaks to the service. What goes wrong is a ServiceError whose message a person can act on.

export class ServiceError extends Error {
  /** @param {number} status of HTTP, 0 where the service could not be reached */
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

let token = "";

/** Sets what is sent as the bearer's token; kept in memory alone. */
export function useToken(value) {
  token = value;
}

/** What an agent is given. */
export async function readTask(suite) {
  return body(await called(`task?suite=${encodeURIComponent(suite)}`), "json");
}

/** The service's numbers, in Prometheus' text. */
export async function readMetrics(signal) {
  return body(await called("metrics", { signal }), "text");
}

/** Runs Python. */
export async function execute(expression) {
  return body(await posted("execute", { expression }), "json");
}

/** What becomes of the readings of the public cases. */
export async function trace(code) {
  return body(await posted("trace", { code }), "json");
}

/**
 * Grades a submission.
 *
 * @param {{ code: string, suite: string, seed?: number }} submission
 * @param {(row: object) => void} heard is given each row as it is judged
 * @param {AbortSignal} signal
 * @returns {Promise<object>} the grade, which has the last word
 */
export async function grade(submission, heard, signal) {
  const answer = await posted("grade/rows", submission, signal);
  for await (const line of linesOf(answer.body)) {
    if (line?.grade) return line.grade;
    if (line?.problem) throw new ServiceError(line.problem.detail, line.problem.status);
    if (line?.row) heard(line.row);
  }
  throw new ServiceError("The answer broke off before the grade. Grade again.");
}

async function* linesOf(body) {
  let text = "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const lines = (text + part.value).split("\n");
      text = lines.pop();
      for (const line of lines) yield JSON.parse(line);
    }
  } catch (error) {
    if (isGivenUp(error)) throw error;
    throw new ServiceError("The answer broke off before the grade. Is the service still running?");
  } finally {
    reader.cancel().catch(() => {});
  }
}

function posted(path, body, signal) {
  return called(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
}

async function called(path, options = {}) {
  const headers = { ...options.headers, ...(token ? { authorization: `Bearer ${token}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, credentials: "omit" });
  } catch (error) {
    if (isGivenUp(error)) throw error;
    throw new ServiceError("The service cannot be reached. Is it running?");
  }
  if (!answer.ok) throw await refused(answer);
  return answer;
}

/** The whole body of an answer; a proxy between may have cut it off, or have answered itself. */
async function body(answer, kind) {
  try {
    return await answer[kind]();
  } catch (error) {
    if (isGivenUp(error)) throw error;
    throw new ServiceError("The answer broke off, or is not the service's. Is it still running?");
  }
}

/** Whether it was this page that did not wait any longer. */
function isGivenUp(error) {
  return error.name === "AbortError" || error.name === "TimeoutError";
}

async function refused(answer) {
  const problem = await answer.json().catch(() => null);
  if (token && (answer.status === 401 || answer.status === 403)) {
    return new ServiceError("This token is not the service's, or does not allow that.", answer.status);
  }
  const detail = problem?.detail ?? `The service answered with status ${answer.status}.`;
  const wait = answer.headers.get("retry-after");
  return new ServiceError(wait ? `${detail} Try again in ${wait} s.` : detail, answer.status);
}
