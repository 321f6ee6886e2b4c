# suite: classic
# loses: none
# why: cross-cutting concerns as decorators: default state, ordering, telemetry, bounded buffer

import functools
import math
import statistics


def with_default_state(function):
    @functools.wraps(function)
    def wrapper(events, state):
        if state is None:
            state = dict(seen=0, limit=200, buffer=[], z_cutoff=3.0)
        return function(events, dict(state))

    return wrapper


def with_bounded_buffer(rows):
    def decorate(function):
        @functools.wraps(function)
        def wrapper(events, state):
            held = list(state.pop("buffer", ()))
            result = function(events, state)
            grown = held + result["clean"]
            result["state"]["buffer"] = grown[-rows:]
            result["telemetry"]["backpressure"] = len(grown) > rows
            return result

        return wrapper

    return decorate


def with_telemetry(function):
    @functools.wraps(function)
    def wrapper(events, state):
        result = function(events, state)
        result["telemetry"].update(
            events=len(events), kept=len(result["clean"]), alerts=len(result["alerts"]), keys=sorted(result)
        )
        return result

    return wrapper


def counted(function):
    @functools.wraps(function)
    def wrapper(events, state):
        result = function(events, state)
        result["state"]["seen"] = state["seen"] + len(events)
        return result

    return wrapper


def fallback(value, *errors):
    """A function that answers `value` instead of raising any of `errors`."""

    def decorate(function):
        @functools.wraps(function)
        def wrapper(*args):
            try:
                return function(*args)
            except errors:
                return value

        return wrapper

    return decorate


@fallback(None, TypeError, ValueError, OverflowError)
def to_number(raw):
    if isinstance(raw, bool):
        raise TypeError("bool")
    number = float(raw)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


@fallback((0.0, math.inf), ValueError, ZeroDivisionError)
def center_and_reach(values):
    if len(values) < 8:
        raise ValueError("too few")
    center = statistics.median(values)
    mad = statistics.median([abs(v - center) for v in values])
    1 / mad
    return center, 18.0 * mad


@fallback((0.0, 0.0), statistics.StatisticsError)
def describe(values):
    if len(values) and min(values) == max(values):
        return values[0], 0.0
    return statistics.fmean(values), statistics.pstdev(values)


@with_default_state
@with_bounded_buffer(240)
@with_telemetry
@counted
def process_batch(events, state):
    rows = [{**event, "reading": to_number(event.get("reading"))} for event in events]
    rows = sorted((row for row in rows if row["reading"] is not None), key=lambda row: row["ts"])
    center, reach = center_and_reach([row["reading"] for row in rows])
    clean = [row for row in rows if abs(row["reading"] - center) <= reach]
    alerts = [row for row in rows if abs(row["reading"] - center) > reach]
    mean, std = describe([row["reading"] for row in clean])
    return {"clean": clean, "mean": mean, "std": std, "alerts": alerts, "telemetry": {}, "state": state}
