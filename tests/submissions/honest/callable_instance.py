# suite: classic
# loses: none
# why: process_batch is an instance with __call__ and __slots__; it holds the configuration and no data

import math
import statistics


class Processor:
    __slots__ = ("capacity", "reach", "min_rows")

    def __init__(self, *, capacity, reach, min_rows):
        self.capacity = capacity
        self.reach = reach
        self.min_rows = min_rows

    def __call__(self, events, state):
        state = self._initial() if state is None else state
        telemetry = dict.fromkeys(("received", "corrupt", "spikes", "buffer_rows"), 0)
        rows = list(self._parse(events, telemetry))
        rows.sort(key=lambda row: row["ts"])
        clean, spikes = self._guardrail(rows)
        telemetry["spikes"] = len(spikes)
        mean, std = self._moments([row["reading"] for row in clean])
        buffer = self._append(state["buffer"], clean)
        telemetry["buffer_rows"] = len(buffer)
        return {
            "clean": clean,
            "mean": mean,
            "std": std,
            "alerts": spikes,
            "telemetry": telemetry,
            "state": {**state, "seen": state["seen"] + telemetry["received"], "buffer": buffer},
        }

    @staticmethod
    def _initial():
        return {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}

    @staticmethod
    def _parse(events, telemetry):
        for event in events:
            telemetry["received"] += 1
            raw = event.get("reading")
            value = math.inf
            if isinstance(raw, (int, float, str)) and not isinstance(raw, bool):
                try:
                    value = float(raw)
                except (ValueError, OverflowError):
                    value = math.inf
            if math.isfinite(value):
                yield {**event, "reading": value}
            else:
                telemetry["corrupt"] += 1

    def _guardrail(self, rows):
        if len(rows) < self.min_rows:
            return rows, []
        center = statistics.median(row["reading"] for row in rows)
        unit = statistics.median(abs(row["reading"] - center) for row in rows)
        if unit <= 0:
            return rows, []
        kept, spikes = [], []
        for row in rows:
            (kept, spikes)[abs(row["reading"] - center) > self.reach * unit].append(row)
        return kept, spikes

    @staticmethod
    def _moments(values):
        count, mean, square = 0, 0.0, 0.0
        for value in values:
            count += 1
            delta = value - mean
            mean += delta / count
            square += delta * (value - mean)
        if not count:
            return 0.0, 0.0
        if min(values) == max(values):
            return values[0], 0.0
        return max(min(values), min(max(values), mean)), math.sqrt(max(square, 0.0) / count)

    def _append(self, buffer, rows):
        merged = [*buffer, *rows]
        return merged[max(0, len(merged) - self.capacity) :]


process_batch = Processor(capacity=240, reach=18.0, min_rows=8)
