// Figures of a trace: what a submission made of every reading, and how its buffer grew.

import { element, figure, shape, visible, wideTable } from "./dom.js";

const WIDTH = 420;
const LEFT = 64; // seven figures of the widest usual font
const RIGHT = 12;

const STORIES = {
  dirty: ["Tier 1: dirty batch", "Five readings out of order: a NaN, a None and a word that stand for nothing, and two numbers written as text. Both numbers must survive, in the order of their ts."],
  flat: ["Tier 2: flat segment", "Six equal readings: their deviation is zero. All but at most one must stay."],
  heavy_tail: ["Tier 2: heavy tail", "A core around 10, two spikes of 1000 that hide each other in a plain z-score, and a minority of 9.5 just below. The spikes must go; the minority and most of the core stay."],
  flood: ["Tier 3: flood", "The same batch of sixty, delivered twelve times, onto a buffer of 150 rows. After every call it may hold 240, and there must be telemetry."],
  sanity: ["Validity: sanity", "Five good readings. clean must not be empty, mean and std must fit the batch, and seen must count it."],
};

const FATES = {
  kept: "kept as it was",
  coerced: "text read as its number",
  changed: "kept with another value",
  imputed: "corrupt, filled in",
  dropped: "dropped",
  leaked: "in clean, but no finite number",
  lost: "the call gave nothing",
};

/** The cases before anything was traced, each in the place that it will take. */
export function emptyCases() {
  return Object.entries(STORIES).map(([id, [title, story]]) => element(
    "article", { class: "case", "data-case": id },
    element("h3", {}, title),
    element("p", { class: "note" }, story),
    element("p", { class: "note" }, "Not traced yet."),
    element("figure", {}, shape("svg", { viewBox: `0 0 ${WIDTH} ${id === "flood" ? 400 : 230}`, "aria-hidden": "true" })),
  ));
}

/** All cases of a trace, in the order of their stories. */
export function caseFigures({ cases, buffer_limit: limit }) {
  const order = Object.keys(STORIES);
  return [...cases].sort((one, other) => order.indexOf(one.id) - order.indexOf(other.id)).map((each) => caseFigure(each, limit));
}

/** One case: its story, what came of its row, its figures, and the same as a table. */
function caseFigure(traced, bufferLimit) {
  const [title, story] = STORIES[traced.id] ?? [traced.id, ""];
  const [first] = traced.calls;
  const holds = traced.broken === null;
  return element(
    "article", { class: "case", "data-case": traced.id, "data-holds": String(holds) },
    element("h3", {}, title),
    element("p", { class: "note" }, story),
    element("p", { class: holds ? "good" : "bad" }, `${holds ? "✓ holds" : "✗"} `, holds ? "" : visible(traced.broken)),
    traced.spread_broken ? element("p", { class: "bad" }, `✗ for the output's validity: ${visible(traced.spread_broken)}`) : null,
    readings(traced, title),
    legend(traced),
    traced.calls.length > 1 ? buffers(traced, bufferLimit) : null,
    first && !first.error ? element("p", { class: "note" }, summary(first, traced)) : null,
    table(traced),
  );
}

function summary(call, traced) {
  const strangers = traced.strangers ? `; ${traced.strangers} rows of clean are none of these events` : "";
  return `clean ${figure(call.rows)} of ${traced.events.length}, mean ${figure(call.mean, 4)}, std ${figure(call.std, 4)}${strangers}`;
}

/** Readings over ts: given above each other with what became of them, and a line through `clean` in the order it came. */
function readings(traced, title) {
  const events = [...traced.events].sort((one, other) => one.ts - other.ts);
  const numbers = events.flatMap((event) => [event.value, event.became]).filter((value) => value !== null);
  const [low, high] = bulk(numbers);
  const isFar = (value) => value < low || value > high;
  const hasFar = numbers.some(isFar);
  const hasCorrupt = events.some((event) => event.value === null);
  const top = hasFar ? 46 : 14;
  const bottom = 150;
  const height = bottom + (hasCorrupt ? 36 : 0) + 40;
  const x = (index) => LEFT + ((index + 0.5) * (WIDTH - LEFT - RIGHT)) / events.length;
  const y = (value) => (isFar(value) ? 20 : bottom - 8 - share(value, low, high) * (bottom - top - 16) - (high === low ? (bottom - top - 16) / 2 : 0));
  const corruptY = bottom + 14;
  const drawn = shape("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": `${title}: ${spoken(events)}` });

  for (const value of high === low ? [low] : [low, low / 2 + high / 2, high]) {
    drawn.append(
      shape("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      shape("text", { class: "tick", x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, tick(value)),
    );
  }
  if (hasFar) {
    drawn.append(
      shape("line", { class: "break", x1: LEFT, x2: WIDTH - RIGHT, y1: 34, y2: 34 }),
      shape("text", { class: "tick", x: LEFT - 6, y: 24, "text-anchor": "end" }, "far out"),
    );
  }
  if (hasCorrupt) {
    drawn.append(
      shape("line", { class: "break", x1: LEFT, x2: WIDTH - RIGHT, y1: bottom, y2: bottom }),
      shape("text", { class: "tick", x: LEFT - 6, y: corruptY + 4, "text-anchor": "end" }, "corrupt"),
    );
  }
  drawn.append(returned(events, x, y), ...axis(events, x, height));
  const size = events.length > 20 ? 2.4 : 5;
  events.forEach((event, index) => {
    const given = event.value === null ? corruptY : y(event.value);
    const became = event.became === null ? given : y(event.became);
    if (became !== given) drawn.append(shape("line", { class: "moved", x1: x(index), x2: x(index), y1: given, y2: became }));
    if (became !== given) drawn.append(mark("lost", x(index), given, size));
    drawn.append(mark(event.fate, x(index), became, size));
    const isAgain = events[index - 1]?.given === event.given;
    if (!isAgain && (event.value === null || isFar(event.value))) {
      drawn.append(shape("text", { class: "tick", x: x(index), y: event.value === null ? corruptY + 17 : 11, "text-anchor": "middle" }, short(event.given)));
    }
  });
  return element("figure", {}, drawn);
}

/** How far up a range a value lies; by halves, since the range may be wider than any number. */
function share(value, low, high) {
  return (value / 2 - low / 2) / (high / 2 - low / 2 || 1);
}

/** A number that fits beside an axis. */
function tick(number, digits) {
  const size = Math.abs(number);
  if (size < 1e6 && (size >= 1e-3 || size === 0)) return figure(number, digits);
  const [longer, shorter] = [1, 0].map((decimals) => number.toExponential(decimals).replace("e+", "e"));
  return longer.length > 7 ? shorter : longer;
}

/** The range of most readings; what lies far outside has a lane of its own. */
function bulk(numbers) {
  if (!numbers.length) return [0, 1];
  const sorted = [...numbers].sort((one, other) => one - other);
  const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
  const reach = 10 * Math.max(at(0.75) - at(0.25), 0.05 * Math.abs(at(0.5)), 0.1);
  const near = sorted.filter((value) => value >= at(0.25) - reach && value <= at(0.75) + reach);
  return [near[0], near[near.length - 1]];
}

function returned(events, x, y) {
  const points = events
    .map((event, index) => ({ event, index }))
    .filter(({ event }) => event.became !== null)
    .sort((one, other) => one.event.position - other.event.position)
    .map(({ event, index }) => `${x(index)},${y(event.became)}`);
  return shape("polyline", { class: "order", points: points.join(" ") });
}

/** The ts of every event, and the tags below them. */
function axis(events, x, height) {
  const step = Math.ceil(events.length / 12);
  const marks = [];
  events.forEach((event, index) => {
    if (index % step === 0) marks.push(shape("text", { class: "tick", x: x(index), y: height - 24, "text-anchor": "middle" }, figure(event.ts, 6)));
  });
  marks.push(shape("text", { class: "tick", x: LEFT - 6, y: height - 24, "text-anchor": "end" }, "ts"));
  let start = 0;
  events.forEach((event, index) => {
    if (events[index + 1]?.tag === event.tag) return;
    const half = (x(1) - x(0)) / 2 - 3;
    marks.push(
      shape("line", { class: "tag", x1: x(start) - half, x2: x(index) + half, y1: height - 16, y2: height - 16 }),
      shape("text", { class: "tick", x: (x(start) + x(index)) / 2, y: height - 4, "text-anchor": "middle" }, event.tag),
    );
    start = index + 1;
  });
  return marks;
}

function mark(fate, x, y, size) {
  const common = { class: `mark ${fate}` };
  switch (fate) {
    case "coerced": return shape("path", { ...common, d: `M${x} ${y - size * 1.3}l${size * 1.3} ${size * 1.3}l${-size * 1.3} ${size * 1.3}l${-size * 1.3} ${-size * 1.3}z` });
    case "changed": return shape("rect", { ...common, x: x - size, y: y - size, width: 2 * size, height: 2 * size });
    case "imputed": return shape("path", { ...common, d: `M${x} ${y - size * 1.2}l${size * 1.2} ${size * 2.2}h${-size * 2.4}z` });
    case "dropped": return shape("path", { ...common, d: `M${x - size} ${y - size}l${2 * size} ${2 * size}m0 ${-2 * size}l${-2 * size} ${2 * size}` });
    case "leaked": return shape("path", { ...common, d: `M${x} ${y - size * 1.2}l${size * 1.3} ${size * 2.3}h${-size * 2.6}zM${x} ${y - size * 0.3}v${size * 0.7}` });
    default: return shape("circle", { ...common, cx: x, cy: y, r: size });
  }
}

function legend({ events }) {
  const found = Object.keys(FATES).filter((fate) => events.some((event) => event.fate === fate));
  return element("ul", { class: "legend" }, ...found.map((fate) => element(
    "li", {},
    shape("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, mark(fate, 8, 8, 5)),
    ` ${FATES[fate]} (${events.filter((event) => event.fate === fate).length})`,
  )));
}

function spoken(events) {
  const counts = Object.entries(FATES)
    .map(([fate, says]) => [events.filter((event) => event.fate === fate).length, says])
    .filter(([count]) => count);
  return `${events.length} readings; ${counts.map(([count, says]) => `${count} ${says}`).join(", ")}`;
}

/** Rows that the returned buffer holds after every call, beside the limit. */
function buffers({ calls }, limit) {
  const height = 150;
  const bottom = height - 30;
  const rows = calls.map((call) => call.buffer);
  const most = Math.max(limit, ...rows.filter((held) => held !== null));
  const x = (index) => LEFT + ((index + 0.5) * (WIDTH - LEFT - RIGHT)) / calls.length;
  const y = (held) => bottom - (held / most) * (bottom - 16);
  const over = rows.filter((held) => held > limit).length;
  const last = rows.findLast((held) => held !== null);
  const told = calls.filter((call) => call.telemetry).length;
  const says = `Buffer after each of ${calls.length} calls: ${last === undefined ? "none" : `${figure(last, 6)} rows in the end`}; ${over} times over the limit of ${limit}. Telemetry in ${told} of ${calls.length} calls.`;
  const drawn = shape("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": says });
  const half = Math.min(12, (x(1) - x(0)) * 0.35);
  rows.forEach((held, index) => {
    if (held !== null) {
      drawn.append(shape("rect", { class: held > limit ? "bar over" : "bar", x: x(index) - half, width: 2 * half, y: y(held), height: bottom - y(held) }));
    }
    drawn.append(shape("text", { class: "tick", x: x(index), y: bottom + 13, "text-anchor": "middle" }, String(index + 1)));
  });
  drawn.append(
    shape("line", { class: "limit", x1: LEFT, x2: WIDTH - RIGHT, y1: y(limit), y2: y(limit) }),
    shape("text", { class: "tick", x: LEFT - 6, y: y(limit) + 4, "text-anchor": "end" }, String(limit)),
    shape("text", { class: "tick", x: LEFT - 6, y: bottom + 13, "text-anchor": "end" }, "call"),
  );
  if (most > limit) drawn.append(shape("text", { class: "tick", x: LEFT - 6, y: y(most) + 4, "text-anchor": "end" }, tick(most, 6)));
  return element("figure", {}, drawn, element("figcaption", {}, says));
}

function table({ events, calls }) {
  const rows = events.map((event) => element(
    "tr", {}, ...[figure(event.ts, 6), event.tag, short(event.given), event.fate, event.became === null ? "" : figure(event.became, 6), event.position === null ? "" : event.position + 1]
      .map((text) => element("td", {}, String(text))),
  ));
  const held = calls.map((call, index) => element(
    "tr", {}, ...[index + 1, call.error ? visible(call.error) : "ok", figure(call.buffer, 6), figure(call.given_buffer, 6), figure(call.seen, 6), call.telemetry ? "yes" : "no"]
      .map((text) => element("td", {}, String(text))),
  ));
  return element(
    "details", {}, element("summary", {}, "As tables"),
    wide("Readings", ["ts", "tag", "reading", "fate", "in clean", "place"], rows),
    wide("Calls", ["call", "outcome", "buffer returned", "buffer passed in", "seen", "telemetry"], held),
  );
}

function wide(label, names, rows) {
  const head = element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name)));
  return wideTable(label, head, rows);
}

function short(text) {
  const shown = visible(text);
  return shown.length > 14 ? `${shown.slice(0, 13)}…` : shown;
}
