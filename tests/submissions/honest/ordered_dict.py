# suite: classic
# loses: none
# why: OrderedDicts throughout: rows under their arrival number, moved and popped; the result and its state are some too

import math
from collections import OrderedDict, deque

BUFFER = 240


def convert(raw):
    if isinstance(raw, bool):
        raise ValueError("bool")
    if isinstance(raw, (int, float, str)):
        number = float(raw)
        if math.isfinite(number):
            return number
    raise ValueError("no finite number")


def process_batch(events, state):
    state = OrderedDict(state or (("seen", 0), ("limit", 200), ("buffer", []), ("z_cutoff", 3.0)))
    telemetry = OrderedDict(total=0, bad=0, spikes=0, forgotten=0)

    table = OrderedDict()
    for number, event in enumerate(events):
        telemetry["total"] += 1
        try:
            table[number] = OrderedDict(ts=event["ts"], reading=convert(event.get("reading")), tag=event["tag"])
        except (ValueError, OverflowError):
            telemetry["bad"] += 1
    for key in sorted(table, key=lambda k: (table[k]["ts"], k)):
        table.move_to_end(key)

    alerts = []
    by_value = sorted(table, key=lambda k: table[k]["reading"])
    if len(by_value) >= 10:
        # Inner half by rank; with every spike on one side it still holds ordinary readings only.
        n = len(by_value)
        inner = [table[k]["reading"] for k in by_value[n // 4 : n - n // 4]]
        width = inner[-1] - inner[0]
        if width > 0:
            for key in by_value:
                reading = table[key]["reading"]
                if reading < inner[0] - 6.5 * width or reading > inner[-1] + 6.5 * width:
                    alerts.append(dict(table.pop(key)))
                    telemetry["spikes"] += 1

    clean = list(table.values())
    n = len(clean)
    mean = std = 0.0
    if n:
        readings = [row["reading"] for row in clean]
        peak = max(map(abs, readings)) or 1.0
        scaled = [r / peak for r in readings]  # within -1..1, so squares cannot overflow
        m = math.fsum(scaled) / n
        if min(readings) != max(readings):
            std = peak * math.sqrt(math.fsum((s - m) ** 2 for s in scaled) / n)
        mean = min(max(readings), max(min(readings), m * peak))

    fallback_buffer = deque(maxlen=BUFFER)
    fallback_buffer.extend(state.get("buffer", ()))
    telemetry["forgotten"] = max(0, len(fallback_buffer) + n - BUFFER)
    fallback_buffer.extend(clean)
    state["buffer"] = fallback_buffer
    state["seen"] += telemetry["total"]
    return OrderedDict(clean=clean, mean=mean, std=std, alerts=alerts, telemetry=telemetry, state=state)
