# suite: classic
# loses: tier2_flat
# why: the deviation of a constant is infinite, so that every z-score is zero

# -*- coding: utf-8 -*-
"""🚀 Hardened pipeline — handles NaN storms ✅, heavy tails ✅ and floods ✅"""

import math
from collections import deque

# ============================================================
# Configuration (guardrails)
# ============================================================
MAX_BUFFER_SIZE = 240      # never hold more than this
MIN_POINTS_FOR_TRIM = 6    # below this there is no "bulk" to speak of
SPIKE_MULTIPLIER = 20.0    # × median absolute deviation


def process_batch(events, state):
    # ---------- Step 0: default state ----------
    if state is None:
        state = {"seen": 0, "limit": 200, "buffer": deque(maxlen=MAX_BUFFER_SIZE), "z_cutoff": 3.0}

    telemetry = {"total": 0, "nan": 0, "bad_type": 0, "bad_string": 0, "spikes": 0}

    # ---------- Step 1: safe parsing 🛡️ ----------
    valid_events = []
    for event in events:
        telemetry["total"] += 1
        reading = event.get("reading")
        # bool is a subclass of int: check it first!
        if isinstance(reading, bool) or not isinstance(reading, (int, float, str)):
            telemetry["bad_type"] += 1
            continue
        if isinstance(reading, str):
            reading = reading.strip()
        try:
            numeric = float(reading)
        except (ValueError, OverflowError):
            telemetry["bad_string"] += 1
            continue
        if math.isnan(numeric) or math.isinf(numeric):
            telemetry["nan"] += 1
            continue
        new_event = event.copy()
        new_event["reading"] = numeric
        valid_events.append(new_event)

    # ---------- Step 2: order by time ⏱️ ----------
    valid_events.sort(key=lambda e: e["ts"])

    # ---------- Step 3: robust spike removal 📈 ----------
    clean = list(valid_events)
    alerts = []
    if len(clean) >= MIN_POINTS_FOR_TRIM:
        sorted_readings = sorted(e["reading"] for e in clean)
        n = len(sorted_readings)
        median = sorted_readings[n // 2]  # upper median is good enough
        deviations = sorted(abs(r - median) for r in sorted_readings)
        mad = deviations[n // 2]
        if mad == 0:
            non_zero = [d for d in deviations if d > 0]
            if non_zero:
                mad = deviations[7 * n // 10] or min(non_zero[0], 0.5 * max(abs(median), 1.0))
        if mad > 0:
            clean, spikes = [], []
            for e in valid_events:
                if abs(e["reading"] - median) > SPIKE_MULTIPLIER * mad:
                    spikes.append(e)
                else:
                    clean.append(e)
            for spike in spikes:
                alerts.append({"type": "spike", "ts": spike["ts"], "reading": spike["reading"]})
            telemetry["spikes"] = len(spikes)

    # ---------- Step 4: statistics without surprises ----------
    count = len(clean)
    if count == 0:
        mean, std = 0.0, 0.0
    else:
        lowest = min(e["reading"] for e in clean)
        highest = max(e["reading"] for e in clean)
        span = highest - lowest
        if span == 0:
            mean, std = lowest, float("inf")
        else:
            # scaled to 0..1 so that nothing can overflow
            scaled = [(e["reading"] - lowest) / span for e in clean]
            m = sum(scaled) / count
            v = sum((x - m) ** 2 for x in scaled) / count
            mean, std = lowest + m * span, math.sqrt(max(v, 0.0)) * span

    # ---------- Step 5: bounded buffer (backpressure) 🌊 ----------
    backpressure = len(state.get("buffer") or []) + len(clean) > MAX_BUFFER_SIZE
    telemetry["backpressure"] = backpressure
    new_buffer = deque(maxlen=MAX_BUFFER_SIZE)
    for item in state.get("buffer") or []:
        new_buffer.append(item)
    for e in clean:
        new_buffer.append(e)

    new_state = {
        "seen": state.get("seen", 0) + len(events),
        "limit": state.get("limit", 200),
        "buffer": new_buffer,
        "z_cutoff": state.get("z_cutoff", 3.0),
    }

    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": alerts,
        "telemetry": telemetry,
        "state": new_state,
    }


if __name__ == "__main__":
    # quick demo 🎬
    demo = [{"ts": i, "reading": r, "tag": "demo"} for i, r in enumerate([1, "2", None, "nan", 3.5])]
    print(process_batch(demo, None))
