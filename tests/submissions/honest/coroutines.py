# suite: classic
# loses: none
# why: generators that are sent to: each row is pushed through parser, splitter and buffer coroutines

import math
import statistics
from functools import wraps


def primed(function):
    @wraps(function)
    def start(*args, **kwargs):
        coroutine = function(*args, **kwargs)
        next(coroutine)
        return coroutine

    return start


@primed
def parser(target, telemetry):
    while True:
        event = yield
        raw = event.get("reading")
        try:
            if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
                raise TypeError
            number = float(raw)
            if not math.isfinite(number):
                raise ValueError
        except (TypeError, ValueError, OverflowError) as error:
            key = "rejected_" + type(error).__name__
            telemetry[key] = telemetry.get(key, 0) + 1
        else:
            target.send({"ts": event["ts"], "reading": number, "tag": event["tag"]})


@primed
def collector(into):
    while True:
        into.append((yield))


@primed
def splitter(low, high, inside, outside):
    while True:
        row = yield
        (inside if low <= row["reading"] <= high else outside).send(row)


@primed
def tee(*targets):
    while True:
        item = yield
        for target in targets:
            target.send(item)


@primed
def bounded(into, limit, telemetry):
    while True:
        row = yield
        into.append(row)
        while len(into) > limit:
            into.pop(0)
            telemetry["backpressure"] += 1


def band(readings):
    if len(readings) < 8:
        return -math.inf, math.inf
    center = statistics.median(readings)
    unit = statistics.median(abs(r - center) for r in readings)
    if unit == 0:
        return -math.inf, math.inf
    return center - 19 * unit, center + 19 * unit


def process_batch(events, state):
    old = {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0} if state is None else state
    telemetry = {"received": 0, "backpressure": 0}

    rows = []
    source = parser(collector(rows), telemetry)
    for event in events:
        telemetry["received"] += 1
        source.send(event)
    source.close()
    rows.sort(key=lambda row: row["ts"])

    clean, spikes, buffer = [], [], list(old["buffer"])[-240:]
    sink = tee(collector(clean), bounded(buffer, 240, telemetry))
    low, high = band([row["reading"] for row in rows])
    split = splitter(low, high, sink, collector(spikes))
    for row in rows:
        split.send(row)
    telemetry["spikes"] = len(spikes)

    readings = [row["reading"] for row in clean]
    mean = std = 0.0
    if readings:
        mean = max(min(readings), min(max(readings), statistics.fmean(readings)))
    if len(set(readings)) > 1:
        std = statistics.pstdev(readings)
    new = dict(old)
    new["seen"] = old["seen"] + telemetry["received"]
    new["buffer"] = buffer
    return {"clean": clean, "mean": mean, "std": std, "alerts": spikes, "telemetry": telemetry, "state": new}
