# suite: classic
# loses: none
# why: functional: generators, partial application, itertools; one expression per step

import itertools
import math
from functools import partial
from operator import itemgetter
from statistics import mean as exact_mean, median_low, pstdev

by_ts = itemgetter("ts")
reading_of = itemgetter("reading")


def numbers(events):
    """Yields (event, number or None)."""
    for event in events:
        raw = event.get("reading")
        usable = isinstance(raw, (int, float, str)) and not isinstance(raw, bool)
        try:
            number = float(raw) if usable else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        yield event, number if math.isfinite(number) else None


def rows(pairs):
    yield from ({**event, "reading": number} for event, number in pairs if number is not None)


def distances(values, center):
    return sorted(abs(v - center) for v in values)


def near(center, reach, row):
    return abs(row["reading"] - center) <= reach


def bulk(values):
    """Predicate for rows that belong to the bulk of the batch."""
    if len(values) < 8 or len(set(values)) == 1:
        return lambda row: True
    center = median_low(values)
    spread = distances(values, center)
    mad = spread[len(spread) // 2]
    positive = itertools.dropwhile(lambda d: d == 0, spread)
    unit = mad or spread[7 * len(spread) // 10] or min(next(positive), 0.5 * max(1.0, abs(center)))
    return partial(near, center, 20 * unit)


def backpressure(count, iterable):
    """Only the tail survives."""
    items = list(iterable)
    return list(itertools.islice(items, max(0, len(items) - count), None))


def process_batch(events, state):
    before = state or dict(seen=0, limit=200, buffer=[], z_cutoff=3.0)
    parsed = sorted(rows(numbers(events)), key=by_ts)
    keep = bulk(list(map(reading_of, parsed)))
    clean = list(filter(keep, parsed))
    alerts = list(itertools.filterfalse(keep, parsed))
    values = list(map(reading_of, clean))
    return dict(
        clean=clean,
        mean=float(exact_mean(values)) if values else 0.0,
        std=float(pstdev(values)) if values else 0.0,
        alerts=alerts,
        telemetry=dict(total=len(events), parsed=len(parsed), kept=len(clean), trimmed=len(alerts)),
        state={
            **before,
            "seen": before["seen"] + len(events),
            "buffer": backpressure(240, itertools.chain(before["buffer"], clean)),
        },
    )
