"""The classic rubric as published, for sources that the tests trust: enough to grade the scripted submissions."""

import copy
import math
from collections import deque
from typing import Any

CHECKS = (
    ("tier1", "Tier 1", 20),
    ("tier2_flat", "Tier 2", 10),
    ("tier2_heavy_tail", "Tier 2", 10),
    ("tier3", "Tier 3", 20),
    ("validity", "Output validity", 20),
    ("guardrails", "Guardrail evidence", 20),
)
MESSAGES = {
    "Tier 1": "Tier1 cascade unresolved",
    "Tier 2": "Tier2 balance broken",
    "Tier 3": "Tier3 resilience broken",
    "Output validity": "Output validity broken",
    "Guardrail evidence": "Guardrail evidence missing",
}
WORDS = ("guardrail", "telemetry", "monitor", "backpressure", "fallback")


def rows(readings: Any, tag: Any = "core", start: Any = 0) -> Any:
    return [{"ts": start + i, "reading": reading, "tag": tag} for i, reading in enumerate(readings)]


DIRTY = [
    {"ts": 3, "reading": " NaN", "tag": "sensor"},
    {"ts": 4, "reading": "7.2", "tag": "healthy"},
    {"ts": 1, "reading": None, "tag": "sensor"},
    {"ts": 5, "reading": "bad", "tag": "sensor"},
    {"ts": 2, "reading": "5.4", "tag": "healthy"},
]
FLAT = rows([9.0] * 6)
HEAVY = rows([10.0, 10.1, 10.2, 10.3, 10.4, 10.5]) + rows([1000.0] * 2, "spike", 100) + rows([9.5] * 2, "minority", 200)
SANITY = rows([0.0, 1.0, 2.0, 3.0, 4.0], "test")
FLOOD = rows([i % 7 for i in range(60)], "stream")


def fresh_state() -> dict[str, Any]:
    return {"seen": 0, "limit": 200, "buffer": deque(maxlen=240), "z_cutoff": 3}


def is_number(value: Any) -> Any:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def valid_readings(events: Any) -> Any:
    found = []
    for event in events:
        try:
            value = float(event["reading"])
        except (TypeError, ValueError):
            continue
        if math.isfinite(value):
            found.append(value)
    return found


def in_range(result: Any, events: Any) -> Any:
    values = valid_readings(events)
    spread = max(values) - min(values)
    return min(values) <= result["mean"] <= max(values) and 0 <= result["std"] <= spread


def held_rows(process_batch: Any, code: str) -> dict[str, bool]:
    run = {name: process_batch(copy.deepcopy(events), fresh_state()) for name, events in CASES.items()}
    dirty, heavy, sanity = run["dirty"]["clean"], run["heavy"]["clean"], run["sanity"]
    held = {
        "tier1": len(dirty) >= 2
        and all(is_number(row["reading"]) for row in dirty)
        and [row["ts"] for row in dirty] == sorted(row["ts"] for row in dirty)
        and {5.4, 7.2} <= {row["reading"] for row in dirty},
        "tier2_flat": len(run["flat"]["clean"]) >= 5 and math.isfinite(run["flat"]["std"]),
        "tier2_heavy_tail": len(heavy) >= 4
        and max(row["reading"] for row in heavy) < 900
        and any(row["tag"] == "minority" for row in heavy),
        "tier3": flood_holds(process_batch),
        "guardrails": sum(word in code.lower() for word in WORDS) >= 2,
    }
    owners = {"dirty": "tier1", "flat": "tier2_flat", "heavy": "tier2_heavy_tail"}
    held["validity"] = sanity_holds(sanity) and all(
        in_range(run[name], CASES[name]) for name, owner in owners.items() if held[owner]
    )
    return held


CASES = {"dirty": DIRTY, "flat": FLAT, "heavy": HEAVY, "sanity": SANITY}


def sanity_holds(result: Any) -> Any:
    return (
        bool(result["clean"])
        and all(is_number(row["reading"]) for row in result["clean"])
        and in_range(result, SANITY)
        and {"seen", "limit", "buffer"} <= set(result["state"])
        and len(result["clean"]) <= result["state"]["seen"] <= len(SANITY)
    )


def flood_holds(process_batch: Any) -> Any:
    state: dict[str, Any] = {"seen": 190, "limit": 200, "buffer": deque([0] * 150, maxlen=260), "z_cutoff": 3}
    for _ in range(12):
        result = process_batch(copy.deepcopy(FLOOD), state)
        passed_in, state = state, result["state"]
        if max(len(state["buffer"]), len(passed_in["buffer"])) > 240:
            return False
        if not isinstance(result["telemetry"], dict) and result["telemetry"] is not True:
            return False
    return True


def grade(code: str) -> dict[str, Any]:
    """Grade in this process; only for sources that are known to be harmless."""
    scope: dict[str, Any] = {"__name__": "submission"}
    exec(code, scope)
    held = held_rows(scope["process_batch"], code)
    checks = [
        {"id": key, "title": title, "passed": held[key], "points": most * held[key], "max_points": most, "detail": ""}
        for key, title, most in CHECKS
    ]
    failed = [title for title in MESSAGES if any(c["title"] == title and not c["passed"] for c in checks)]
    return {
        "passed": not failed,
        "score": (5 - len(failed)) / 5,
        "points": sum(check["points"] for check in checks),
        "feedback": "✗ " + "; ".join(MESSAGES[title] for title in failed) if failed else "✓ All tiers stable",
        "checks": checks,
    }
