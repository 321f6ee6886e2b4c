// What this visitor has handed in, kept in this browser.

const KEY = "resilience-gauntlet.attempts";
const DRAFT = "resilience-gauntlet.draft";
const MOST = 50;
const LONGEST_ARGUMENT = 100_000; // Linux takes 128 KiB

/** @returns {Array<{ id: string, at: string, code: string, grade: object }>} newest first */
export function readAttempts() {
  const kept = parsed(read(KEY));
  return Array.isArray(kept) ? kept.filter(isAttempt) : [];
}

/** Keeps one more; where there is no room, the oldest make it. Answers whether it could be kept. */
export function addAttempt(attempt) {
  let kept = [attempt, ...readAttempts()].slice(0, MOST);
  while (kept.length && !write(KEY, JSON.stringify(kept))) kept = kept.slice(0, -1);
  return kept.length > 0;
}

export function removeAttempt(id) {
  write(KEY, JSON.stringify(readAttempts().filter((attempt) => attempt.id !== id)));
}

export function removeAttempts() {
  remove(KEY);
}

/** What stood in the editor when the page was left, null where nothing did. */
export function readDraft() {
  return read(DRAFT);
}

export function keepDraft(code) {
  write(DRAFT, code);
}

export function dropDraft() {
  remove(DRAFT);
}

/** Calls back when another tab of this browser changes the attempts, or may have while this page was left. */
export function onChangeElsewhere(changed) {
  addEventListener("pageshow", (event) => event.persisted && changed());
  addEventListener("storage", (event) => (event.key === KEY || event.key === null) && changed());
}

/** A link to grade on the same inputs. */
export function linkTo({ suite, seed }) {
  const link = new URL(location.href); // not its path alone: one that begins with two slashes would name a host
  link.search = "";
  link.hash = "";
  link.searchParams.set("suite", suite);
  if (seed !== null && seed !== undefined) link.searchParams.set("seed", seed);
  return link.href;
}

/** A command that grades the same code on the same inputs, in which nothing but printable ASCII stands. */
export function curlFor({ code, grade }, needsToken) {
  const body = { code, suite: grade.suite, ...(grade.seed === null ? {} : { seed: grade.seed }) };
  // A quote would end the argument, and of two backslashes fish makes one.
  const json = JSON.stringify(body).replace(/\\\\|[\u007f-\uffff']/g, (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`);
  return [
    `curl -s '${new URL("grade", location.href).href.replaceAll("'", "%27")}'`,
    "-H 'content-type: application/json'",
    ...(needsToken ? ['-H "authorization: Bearer $GAUNTLET_EVALUATION_TOKEN"'] : []),
    json.length <= LONGEST_ARGUMENT ? `--data-raw '${json}'` : `--data-binary @- <<'JSON'\n${json}\nJSON`,
  ].join(" \\\n  ");
}

/** Another version of the page, or another page of this origin, may have left anything. */
function isAttempt(each) {
  return [each?.id, each?.at, each?.code].every((text) => typeof text === "string") && isGrade(each.grade);
}

function isGrade(grade) {
  return (grade?.suite === "classic" || grade?.suite === "hardened")
    && (grade.seed === null || Number.isSafeInteger(grade.seed))
    && Number.isFinite(grade.score) && Number.isFinite(grade.points) && typeof grade.feedback === "string"
    && Array.isArray(grade.checks) && grade.checks.every(isRow);
}

function isRow(row) {
  return typeof row?.id === "string" && typeof row.detail === "string" && Number.isFinite(row.points);
}

function parsed(text) {
  try {
    return JSON.parse(text ?? "[]");
  } catch {
    return [];
  }
}

// A browser may refuse to keep anything: the page works all the same.
function read(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function write(key, text) {
  try {
    localStorage.setItem(key, text);
    return true;
  } catch {
    return false;
  }
}

function remove(key) {
  try {
    localStorage.removeItem(key);
  } catch { /* nothing was kept */ }
}
