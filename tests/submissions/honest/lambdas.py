# suite: classic
# loses: none
# why: nothing but lambdas, process_batch included

import math
import operator
import re
import statistics as S

NOT_A_NUMBER = re.compile(r"(?i)\s*[+-]?(nan|inf|infinity)\s*")

get = lambda key: operator.itemgetter(key)
column = lambda rows: [*map(get("reading"), rows)]
attempt = lambda raw: next(_attempt(raw), None)
is_number = lambda raw: isinstance(raw, (int, float, str)) and not isinstance(raw, bool)
is_finite = lambda x: x is not None and math.isfinite(x)


def _attempt(raw):
    try:
        if is_number(raw) and not (isinstance(raw, str) and NOT_A_NUMBER.fullmatch(raw)):
            yield float(raw)
    except (ValueError, OverflowError):
        return


parse = lambda events: [
    {"ts": e["ts"], "reading": x, "tag": e["tag"]} for e in events for x in [attempt(e.get("reading"))] if is_finite(x)
]
ordered = lambda rows: sorted(rows, key=get("ts"))
spread = lambda xs, mid: sorted(abs(x - mid) for x in xs)
unit = lambda d: d[len(d) // 2] or d[7 * len(d) // 10]
guardrail = lambda xs: (
    (lambda mid: (lambda u: (lambda x: u == 0 or abs(x - mid) <= 18 * u))(unit(spread(xs, mid))))(S.median_low(xs))
    if len(xs) > 7
    else (lambda x: True)
)
clamp = lambda x, xs: max(min(xs), min(max(xs), x))
mean = lambda xs: clamp(S.fmean(xs), xs) if xs else 0.0
std = lambda xs: S.pstdev(xs) if len(set(xs)) > 1 else 0.0
tail = lambda rows: rows[-240:]
telemetry = lambda n, rows, clean: {"given": n, "corrupt": n - len(rows), "spikes": len(rows) - len(clean)}
fresh = lambda state: state or {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}
after = lambda state, n, clean: {**state, "seen": state["seen"] + n, "buffer": tail([*state["buffer"], *clean])}
answer = lambda n, rows, clean, state: {
    "clean": clean,
    "mean": mean(column(clean)),
    "std": std(column(clean)),
    "alerts": [row for row in rows if row not in clean],
    "telemetry": telemetry(n, rows, clean),
    "state": after(state, n, clean),
}
split = lambda rows: (rows, (lambda ok: [row for row in rows if ok(row["reading"])])(guardrail(column(rows))))

process_batch = lambda events, state: answer(len(events), *split(ordered(parse(events))), fresh(state))
