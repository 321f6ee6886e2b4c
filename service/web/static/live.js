// The service as its metrics tell, while somebody looks.

import { byId, element, figure, shape, wideTable } from "./dom.js";
import { parse, quantiles, select, total } from "./exposition.js";
import { readMetrics } from "./service.js";

const EVERY_MS = 2000;
const SPAN = 30; // scrapes: a minute
const SHARES = [0.5, 0.95, 0.99];
const WORK = [
  ["Executions", "gauntlet_executions_total", "gauntlet_execution_duration_seconds", {}],
  ["Grades, classic", "gauntlet_grades_total", "gauntlet_grade_duration_seconds", { suite: "classic" }],
  ["Grades, hardened", "gauntlet_grades_total", "gauntlet_grade_duration_seconds", { suite: "hardened" }],
];

/** @type {Array<{ at: number, samples: Map }>} */
let scrapes = [];
let timer = null;
let isSeen = false;

/** Begins to watch when the section comes into sight, and rests when it or the page is out of it. */
export function watch() {
  new IntersectionObserver((entries) => {
    isSeen = entries.at(-1).isIntersecting;
    resume();
  }).observe(byId("live"));
  document.addEventListener("visibilitychange", resume);
}

function resume() {
  clearTimeout(timer);
  timer = null;
  if (isSeen && !document.hidden) scrape();
}

async function scrape() {
  timer = setTimeout(resume, 5 * EVERY_MS); // should this one hang
  try {
    const samples = parse(await readMetrics(AbortSignal.timeout(4 * EVERY_MS)));
    keep({ at: performance.now() / 1000, samples });
    show();
  } catch (error) {
    byId("live-note").textContent = `${error.name === "TimeoutError" ? "The service did not answer in time." : error.message} What is below is what it said last.`;
  }
  clearTimeout(timer);
  timer = isSeen && !document.hidden ? setTimeout(scrape, EVERY_MS) : null;
}

function keep(scraped) {
  const last = scrapes.at(-1);
  const wasAway = last && scraped.at - last.at > 6 * (EVERY_MS / 1000);
  const hasRestarted = last && total(scraped.samples, "process_start_time_seconds") !== total(last.samples, "process_start_time_seconds");
  scrapes = wasAway || hasRestarted ? [scraped] : [...scrapes, scraped].slice(-SPAN - 1);
}

function show() {
  const { samples } = scrapes.at(-1);
  const seconds = scrapes.at(-1).at - scrapes[0].at;
  byId("live-note").textContent = seconds
    ? `Every two seconds; rates and percentiles over the last ${figure(seconds, 2)} s. Where nothing ran in them, percentiles are since the start.`
    : "Every two seconds; percentiles are since the service started.";
  if (isBeingRead()) return;
  const hadFocus = document.activeElement.matches("#gauges .wide");
  byId("gauges").replaceChildren(
    capacity(samples),
    work(samples, seconds),
    outcomes(samples),
    rows(samples),
    layers(samples),
  );
  if (hadFocus) byId("gauges").querySelector(".wide").focus({ preventScroll: true });
}

/** Whether somebody has selected something in it, to copy it. */
function isBeingRead() {
  const selection = getSelection();
  return !selection.isCollapsed && byId("gauges").contains(selection.anchorNode);
}

function panel(title, ...children) {
  return element("section", { class: "panel", "aria-label": title }, element("h3", {}, title), ...children);
}

function capacity(samples) {
  const value = (name, labels) => total(samples, name, labels);
  return panel(
    "Capacity",
    meter("Requests in flight", value("gauntlet_requests_in_flight"), value("gauntlet_requests_limit")),
    meter("Sandboxed processes in use", value("gauntlet_sandbox_processes", { state: "in_use" }), value("gauntlet_sandbox_slots")),
    meter("Episodes running", value("gauntlet_episodes_running"), value("gauntlet_episodes_limit")),
    facts([
      ["Queued for a process", value("gauntlet_sandbox_queued")],
      ["Processes waiting, forked ahead", value("gauntlet_sandbox_processes", { state: "waiting" })],
      ["Refused", value("gauntlet_refusals_total")],
      ["Faults of the sandbox", value("gauntlet_sandbox_faults_total")],
    ]),
  );
}

function meter(label, value, most) {
  return element(
    "p", { class: "meter" },
    element("span", {}, label), element("span", { class: "number" }, `${figure(value, 6)} of ${figure(most, 6)}`),
    element("meter", { min: 0, max: most || 1, value: value ?? 0, "aria-label": label }),
  );
}

function facts(pairs) {
  return element("dl", { class: "facts" }, ...pairs.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, figure(value, 6)))));
}

function work(samples, seconds) {
  const before = scrapes.length > 1 ? scrapes[0].samples : null;
  const lines = WORK.map(([label, counter, histogram, labels]) => {
    const count = total(samples, counter, labels);
    const rate = before ? (count - total(before, counter, labels)) / seconds : NaN;
    const times = quantiles(before, samples, histogram, labels, SHARES) ?? quantiles(null, samples, histogram, labels, SHARES) ?? [NaN, NaN, NaN];
    const cells = [figure(count, 9), figure(rate), ...times.map((time) => figure(time * 1000))];
    return element("tr", {}, element("th", { scope: "row" }, label), ...cells.map((cell) => element("td", {}, cell)));
  });
  const head = element("tr", {}, element("td", {}), ...["so far", "per s", "p50 ms", "p95 ms", "p99 ms"].map((name) => element("th", { scope: "col" }, name)));
  return panel(
    "Work",
    wideTable("Counts, rates and percentiles", head, lines),
    rateLine(),
  );
}

/** Executions and grades together, per second, from one scrape to the next. */
function rateLine() {
  const counts = scrapes.map(({ at, samples }) => [at, (total(samples, "gauntlet_executions_total") ?? 0) + (total(samples, "gauntlet_grades_total") ?? 0)]);
  const rates = counts.slice(1).map(([at, count], index) => (count - counts[index][1]) / (at - counts[index][0]));
  const most = Math.max(1, ...rates);
  const points = rates.map((rate, index) => `${((SPAN - rates.length + index + 1) * 300) / SPAN},${56 - (rate / most) * 48}`).join(" ");
  const says = rates.length ? `Executions and grades per second, last minute: ${figure(rates.at(-1))} now, ${figure(Math.max(...rates))} at most` : "Executions and grades per second: waiting for a second reading";
  return element("figure", {},
    shape("svg", { viewBox: "0 0 300 60", role: "img", "aria-label": says, class: "spark" },
      shape("line", { class: "grid", x1: 0, x2: 300, y1: 56, y2: 56 }), shape("polyline", { class: "rate", points })),
    element("figcaption", {}, says));
}

function outcomes(samples) {
  return panel("What executions came to", shares(select(samples, "gauntlet_executions_total").map(({ labels, value }) => [labels.status, value])));
}

function rows(samples) {
  const graded = total(samples, "gauntlet_grades_total");
  const names = new Set(select(samples, "gauntlet_grade_rows_total").map(({ labels }) => labels.row));
  const held = [...names].map((row) => [row, total(samples, "gauntlet_grade_rows_total", { row, passed: "true" })]);
  return panel("Rows that held", shares([["passed", total(samples, "gauntlet_grades_total", { passed: "true" }) ?? 0], ...held], graded));
}

function shares(pairs, all = pairs.reduce((sum, [, value]) => sum + value, 0)) {
  return element("ul", { class: "shares" }, ...pairs.map(([name, value]) => element(
    "li", {}, element("code", {}, name), element("span", { class: "number" }, all ? `${figure(value, 9)} · ${figure((100 * value) / all, 2)} %` : figure(value, 9)),
    element("progress", { max: all || 1, value, "aria-label": name }),
  )));
}

function layers(samples) {
  const found = select(samples, "gauntlet_sandbox_layer");
  return panel("Sandbox", element("ul", { class: "layers" }, ...found.map(({ labels, value }) => element(
    "li", { class: value ? "good" : "bad" }, `${value ? "✓" : "✗"} ${labels.layer} ${value ? "in force" : "missing"}`,
  ))), element("p", { class: "note" }, "Each was proved when the service started, by trying what it forbids."));
}
