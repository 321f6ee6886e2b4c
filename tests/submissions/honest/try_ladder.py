# suite: classic
# loses: none
# why: defensive ladders of try and except, for parsing, for the scale, for the statistics, for the state

import math
import statistics


def safe_float(x):
    try:
        if x is None:
            return None
        if isinstance(x, bool):
            return None
        if isinstance(x, (list, dict, tuple, set)):
            return None
        try:
            v = float(x)
        except OverflowError:
            return None
        except ValueError:
            try:
                v = float(str(x).strip())
            except ValueError:
                return None
        if math.isnan(v):
            return None
        if math.isinf(v):
            return None
        return v
    except Exception:
        return None


def safe_scale(values, center):
    try:
        mad = statistics.median([abs(v - center) for v in values])
        if mad > 0:
            return mad
    except statistics.StatisticsError:
        pass
    try:
        q = statistics.quantiles(values, n=10)
        if q[6] - q[2] > 0:
            return (q[6] - q[2]) / 2
    except statistics.StatisticsError:
        pass
    return None


def process_batch(events, state):
    try:
        seen = int(state["seen"])
    except (TypeError, KeyError, ValueError):
        seen = 0
    try:
        limit = state["limit"]
    except (TypeError, KeyError):
        limit = 200
    try:
        z_cutoff = state["z_cutoff"]
    except (TypeError, KeyError):
        z_cutoff = 3.0
    try:
        buffer = list(state["buffer"])
    except (TypeError, KeyError):
        buffer = []

    telemetry = {"received": 0, "bad_event": 0, "bad_reading": 0, "outliers": 0, "fallback_mean": False}
    rows = []
    for event in events or []:
        telemetry["received"] += 1
        try:
            ts = event["ts"]
            tag = event.get("tag", "")
        except (TypeError, KeyError, AttributeError):
            telemetry["bad_event"] += 1
            continue
        reading = safe_float(event.get("reading"))
        if reading is None:
            telemetry["bad_reading"] += 1
            continue
        rows.append({"ts": ts, "reading": reading, "tag": tag})

    try:
        rows.sort(key=lambda r: r["ts"])
    except TypeError:
        rows.sort(key=lambda r: str(r["ts"]))

    clean = rows
    alerts = []
    try:
        if len(rows) >= 8:
            values = [r["reading"] for r in rows]
            center = statistics.median(values)
            scale = safe_scale(values, center)
            if scale is not None:
                clean = [r for r in rows if abs(r["reading"] - center) <= 18 * scale]
                alerts = [r for r in rows if abs(r["reading"] - center) > 18 * scale]
        if not clean and rows:
            clean, alerts = rows, []
    except (ArithmeticError, statistics.StatisticsError):
        clean, alerts = rows, []
    telemetry["outliers"] = len(alerts)

    mean, std = 0.0, 0.0
    values = [r["reading"] for r in clean]
    try:
        mean = float(statistics.mean(values))
        std = float(statistics.pstdev(values))
        if not (math.isfinite(mean) and math.isfinite(std)):
            raise OverflowError
    except statistics.StatisticsError:
        pass
    except (OverflowError, ValueError):
        telemetry["fallback_mean"] = True
        mean, std = statistics.median(values), 0.0

    try:
        buffer.extend(clean)
        if len(buffer) > 240:
            buffer = buffer[-240:]
    except MemoryError:
        buffer = clean[-240:]

    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": alerts,
        "telemetry": telemetry,
        "state": {"seen": seen + telemetry["received"], "limit": limit, "buffer": buffer, "z_cutoff": z_cutoff},
    }
