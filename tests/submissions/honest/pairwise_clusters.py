# suite: classic
# loses: none
# why: itertools all the way: clusters by pairwise gaps, the cluster with the median is the bulk

import math
from itertools import accumulate, chain, groupby, islice, pairwise
from operator import itemgetter
from statistics import fmean, pstdev


def parsed(events):
    for event in events:
        match event:
            case {"reading": bool()}:
                continue
            case {"ts": ts, "tag": tag, "reading": int() | float() | str() as raw}:
                try:
                    value = float(raw)
                except (ValueError, OverflowError):
                    continue
                if math.isfinite(value):
                    yield {"ts": ts, "reading": value, "tag": tag}


def clusters(values):
    """Groups of sorted values; a new one begins after a gap of more than ten times the inner half's width."""
    n = len(values)
    inner = min((high - low for low, high in zip(values, values[n // 2 :])), default=0.0)
    if n < 8 or inner == 0:
        return [values]
    cuts = (right - left > 10 * inner for left, right in pairwise(values))
    labels = accumulate(cuts, initial=0)
    return [[v for _, v in group] for _, group in groupby(zip(labels, values), key=itemgetter(0))]


def bulk(values):
    middle = len(values) // 2
    begun = 0
    for cluster in clusters(values):
        begun += len(cluster)
        if begun > middle:
            return cluster
    return values


def process_batch(events, state):
    state = {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0} if state is None else state
    rows = sorted(parsed(events), key=itemgetter("ts"))
    core = bulk(sorted(map(itemgetter("reading"), rows)))
    low, high = (core[0], core[-1]) if core else (0.0, 0.0)

    by_verdict = {True: [], False: []}
    for row in rows:
        by_verdict[low <= row["reading"] <= high].append(row)
    clean, alerts = by_verdict[True], by_verdict[False]

    merged = chain(state["buffer"], clean)
    total = len(state["buffer"]) + len(clean)
    backpressure = max(0, total - 240)
    return {
        "clean": clean,
        "mean": min(high, max(low, fmean(core))) if core else 0.0,
        "std": pstdev(core) if low < high else 0.0,
        "alerts": alerts,
        "telemetry": {
            "given": len(events),
            "unparsed": len(events) - len(rows),
            "outside": len(alerts),
            "backpressure": backpressure,
        },
        "state": {
            **state,
            "seen": state["seen"] + len(events),
            "buffer": list(islice(merged, backpressure, None)),
        },
    }
