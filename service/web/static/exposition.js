// Reads Prometheus' text, and works out what it says of a span of time.

/** @returns {Map<string, Array<{ labels: Record<string, string>, value: number }>>} samples by name */
export function parse(text) {
  const samples = new Map();
  for (const line of text.split("\n")) {
    const found = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!found) continue;
    const [, name, labels = "", value] = found;
    if (!samples.has(name)) samples.set(name, []);
    samples.get(name).push({ labels: labelsOf(labels), value: number(value) });
  }
  return samples;
}

function labelsOf(text) {
  const labels = {};
  for (const [, name, value] of text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
    labels[name] = value.replace(/\\(.)/g, (_, character) => (character === "n" ? "\n" : character));
  }
  return labels;
}

function number(text) {
  return { "+Inf": Infinity, "-Inf": -Infinity }[text] ?? Number(text);
}

/** The sum of a metric's samples that have these labels; null where there are none. */
export function total(samples, name, labels = {}) {
  const found = select(samples, name, labels);
  return found.length ? found.reduce((sum, sample) => sum + sample.value, 0) : null;
}

/** The samples of a metric that have these labels. */
export function select(samples, name, labels = {}) {
  const wanted = Object.entries(labels);
  return (samples.get(name) ?? []).filter((sample) => wanted.every(([label, value]) => sample.labels[label] === value));
}

/**
 * Quantiles of what a histogram has seen between two scrapes, as Prometheus' histogram_quantile does it.
 *
 * @param {Map | null} before null for all that it has ever seen
 * @returns {number[] | null} null where it saw nothing
 */
export function quantiles(before, now, name, labels, shares) {
  const buckets = select(now, `${name}_bucket`, labels)
    .map(({ labels: each, value }) => ({ le: number(each.le), count: value - (before ? total(before, `${name}_bucket`, each) ?? 0 : 0) }))
    .sort((one, other) => one.le - other.le);
  const all = buckets.at(-1)?.count ?? 0;
  if (all <= 0) return null;
  return shares.map((share) => {
    const rank = share * all;
    const index = buckets.findIndex((bucket) => bucket.count >= rank);
    if (buckets[index].le === Infinity) return buckets[index - 1]?.le ?? NaN;
    const [low, below] = index ? [buckets[index - 1].le, buckets[index - 1].count] : [0, 0];
    return low + ((buckets[index].le - low) * (rank - below)) / (buckets[index].count - below || 1);
  });
}
