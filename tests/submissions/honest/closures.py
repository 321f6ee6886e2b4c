# suite: classic
# loses: none
# why: a factory closes over the configuration and returns process_batch; helpers are closures with nonlocal counters

import math
import statistics


def make_pipeline(capacity=240, reach=18.0, smallest=8):
    def make_monitor():
        counts = {}

        def note(name, amount=1):
            counts[name] = counts.get(name, 0) + amount

        return note, lambda: dict(counts)

    def make_parser(note):
        coerced = 0

        def parse(raw):
            nonlocal coerced
            if isinstance(raw, str):
                coerced += 1
            elif isinstance(raw, bool) or not isinstance(raw, (int, float)):
                return None
            try:
                value = float(raw)
            except (ValueError, OverflowError):
                note("unparsable")
                return None
            return value if math.isfinite(value) else None

        return parse, lambda: coerced

    def make_guardrail(sample):
        if len(sample) >= smallest:
            center = statistics.median(sample)
            unit = statistics.median([abs(x - center) for x in sample])
            if unit > 0:
                return lambda x: abs(x - center) <= reach * unit
        return lambda x: True

    def remember(buffer, rows):
        return (list(buffer) + rows)[-capacity:]

    def moments(sample):
        if not sample:
            return 0.0, 0.0
        if min(sample) == max(sample):
            return sample[0], 0.0
        return statistics.fmean(sample), statistics.pstdev(sample)

    def run(events, state):
        note, counted = make_monitor()
        parse, strings = make_parser(note)
        old = state or {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}
        rows = []
        for event in sorted(events, key=lambda e: e["ts"]):
            value = parse(event.get("reading"))
            if value is None:
                note("corrupt")
            else:
                rows.append({"ts": event["ts"], "reading": value, "tag": event["tag"]})
        ordinary = make_guardrail([r["reading"] for r in rows])
        clean, alerts = [], []
        for row in rows:
            if ordinary(row["reading"]):
                clean.append(row)
            else:
                alerts.append(row)
        note("spikes", len(alerts))
        note("kept", len(clean))
        note("strings", strings())
        mean, std = moments([r["reading"] for r in clean])
        return {
            "clean": clean,
            "mean": mean,
            "std": std,
            "alerts": alerts,
            "telemetry": counted(),
            "state": {**old, "seen": old["seen"] + len(events), "buffer": remember(old["buffer"], clean)},
        }

    return run


process_batch = make_pipeline()
