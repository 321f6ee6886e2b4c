# suite: classic
# loses: none
# why: corrupt rows are kept with the median of the ordinary readings, spikes are dropped

import math
import statistics as st
from collections import deque


class Corrupt(ValueError):
    pass


def parse(raw):
    if isinstance(raw, bool):
        raise Corrupt("bool")
    if not isinstance(raw, (str, int, float)):
        raise Corrupt(type(raw).__name__)
    try:
        value = float(raw)
    except OverflowError:
        raise Corrupt("overflow")
    except ValueError:
        raise Corrupt("text")
    if value != value:
        raise Corrupt("nan")
    if abs(value) == float("inf"):
        raise Corrupt("inf")
    return value


def is_ordinary(values):
    """Returns a predicate that is true for everything but gross spikes."""
    if len(values) < 8 or max(values) == min(values):
        return lambda v: True
    center = st.median(values)
    deviations = sorted(abs(v - center) for v in values)
    mad = st.median(deviations)
    if mad > 0:
        return lambda v: abs(v - center) <= 19 * mad
    smallest = next(d for d in deviations if d > 0)
    wider = deviations[math.floor(0.7 * len(deviations))]
    tolerance = 15 * (wider or min(smallest, 0.5 * max(abs(center), 1.0)))
    return lambda v: abs(v - center) <= tolerance


def process_batch(events, state):
    if state is None:
        state = {"seen": 0, "limit": 200, "buffer": deque(maxlen=240), "z_cutoff": 3}

    reasons = {}
    good, bad = [], []
    for event in sorted(events, key=lambda e: e["ts"]):
        try:
            good.append((event, parse(event.get("reading"))))
        except Corrupt as why:
            reasons[str(why)] = reasons.get(str(why), 0) + 1
            bad.append(event)

    ordinary = is_ordinary([value for _, value in good])
    kept = [(event, value) for event, value in good if ordinary(value)]
    alerts = [{"ts": event["ts"], "kind": "spike", "reading": value} for event, value in good if not ordinary(value)]
    alerts += [{"ts": event["ts"], "kind": "corrupt"} for event in bad]

    imputed = 0
    if kept:
        fallback = st.median_low([value for _, value in kept])
        kept += [(event, fallback) for event in bad]
        imputed = len(bad)
        kept.sort(key=lambda pair: pair[0]["ts"])

    clean = [{"ts": event["ts"], "reading": value, "tag": event["tag"]} for event, value in kept]
    values = [row["reading"] for row in clean]
    mean = float(st.mean(values)) if values else 0.0
    std = float(st.pstdev(values)) if values else 0.0

    buffer = deque(state.get("buffer") or (), maxlen=240)
    for row in clean:
        buffer.append(row)

    new_state = dict(state)
    new_state.update(seen=state["seen"] + len(events), buffer=buffer)
    telemetry = dict(rows=len(events), imputed=imputed, spikes=len(good) - (len(kept) - imputed), reasons=reasons)
    return dict(clean=clean, mean=mean, std=std, alerts=alerts, telemetry=telemetry, state=new_state)
