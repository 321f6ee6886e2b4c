# suite: classic
# loses: none
# why: rows come off a heap in order of ts; spikes are peeled off a second heap, farthest first

import heapq
import math
from itertools import count

MOST_PEELED = 0.34
HOPELESS = 18.0


def finite_number(raw):
    if isinstance(raw, (int, float)) and not isinstance(raw, bool):
        pass
    elif not isinstance(raw, str):
        return None
    try:
        value = float(raw)
    except Exception:
        return None
    return value if math.isfinite(value) else None


def middle_of(values):
    half = heapq.nsmallest(len(values) // 2 + 1, values)
    return half[-1]


def peel(values):
    """Indices of spikes. At most a third of the rows, or they would be the bulk."""
    if len(values) < 8:
        return set()
    center = middle_of(values)
    nearest = heapq.nsmallest(math.ceil(0.6 * len(values)), (abs(v - center) for v in values))
    unit = 2 * math.fsum(nearest) / len(nearest)
    if unit <= 0.0:
        return set()
    heap = [(-abs(v - center), index) for index, v in enumerate(values)]
    heapq.heapify(heap)
    peeled = set()
    while heap and -heap[0][0] > HOPELESS * unit and len(peeled) < MOST_PEELED * len(values):
        peeled.add(heapq.heappop(heap)[1])
    return peeled


def process_batch(events, state):
    fallback = {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}
    state = fallback if state is None else state
    ticket = count()

    heap = []
    rejected = []
    for event in events:
        value = finite_number(event.get("reading"))
        if value is None:
            rejected.append(event["ts"])
        else:
            heapq.heappush(heap, (event["ts"], next(ticket), value, event["tag"]))
    rows = [heapq.heappop(heap) for _ in range(len(heap))]

    peeled = peel([row[2] for row in rows])
    clean, alerts = [], []
    for index, (ts, _, value, tag) in enumerate(rows):
        (alerts if index in peeled else clean).append({"ts": ts, "reading": value, "tag": tag})

    n = len(clean)
    mean = std = 0.0
    if n:
        low = min(row["reading"] for row in clean)
        high = max(row["reading"] for row in clean)
        mean = min(high, max(low, sum(row["reading"] / n for row in clean)))
        if high > low:
            std = math.dist([row["reading"] for row in clean], [mean] * n) / math.sqrt(n)

    buffer = list(heapq.merge([*state["buffer"]][-240:], clean, key=lambda row: 0))[-240:]
    telemetry = {"rows": len(events), "rejected": len(rejected), "peeled": len(peeled), "held": len(buffer)}
    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": alerts,
        "telemetry": telemetry,
        "state": {**state, "seen": state["seen"] + n + len(peeled) + len(rejected), "buffer": buffer},
    }
