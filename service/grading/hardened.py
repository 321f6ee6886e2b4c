"""The cases of the hardened suite, drawn from a seed: the same six rows as the classic suite, never twice the same.

It is cascading: the cases of a tier carry the faults of the tiers before it. All that is asked stands in the prompt.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from service.grading.cases import HANDED_ON, Call, Case, Event, Role
from service.grading.draws import Draws

__all__ = ["RECENT_CALLS", "hardened_cases", "hardened_draws"]

RECENT_CALLS = 4  # of a flood: what the buffer must hold then comes from the last so many

_FLOOD_BATCHES, _DELIVERIES = 5, 3
_TAGS = ("core", "sensor", "stream", "healthy", "unit-7", "north", "")
_GROUPS = ("minority", "night shift", "calibration", "unit-9", "south")
_NOT_FINITE = (
    "nan",
    "NaN",
    " NaN",
    "-nan",
    "+nan",
    "NAN\n",
    "inf",
    "-inf",
    "+Inf",
    "Infinity",
    "-INFINITY",
    " iNf ",
    "1e999",
)
_NO_NUMBERS = (
    "", " ", "\t", "bad", "error", "null", "None", "0x1f", "1,5", "7.2.1", "--3", "1e", "e5", "5 4", "1 000", "١٢x",
)  # fmt: skip
_CONSTANTS = (0, 0.0, 9.0, 1, -3, 0.1, -17.25, 1e-9, 1e12, -1e15, 123456789, 1e100, -2.5e-7, 1e-300)


def hardened_cases(version: str, seed: int) -> tuple[Case, ...]:
    """Draws the five cases.

    Args:
        version: of the grader; with the seed, it decides everything.
        seed: any integer.
    """
    return tuple(draw() for draw in hardened_draws(version, seed))


def hardened_draws(version: str, seed: int) -> tuple[Callable[[], Case], ...]:
    """What draws each of the five cases; the second takes as long as all others together."""

    def draw(name: str, row: str, calls: Callable[[Draws], tuple[Call, ...]]) -> Case:
        return Case(name, row, calls(Draws(version, "hardened", seed, name)), drawn=True)

    return (
        partial(draw, "dirty", "tier1", _dirty),
        partial(draw, "flood", "tier3", _flood),
        partial(draw, "heavy_tail", "tier2_heavy_tail", _heavy_tail),
        partial(draw, "flat", "tier2_flat", _flat),
        partial(draw, "sanity", "validity", _sanity),
    )


_Row = tuple[Any, str, Role]  # reading, tag, role


def _dirty(draws: Draws) -> tuple[Call, ...]:
    """Mostly corrupt batches whose valid readings lie in one band: all of them survive."""
    return tuple(_call(draws, _dirty_batch(draws), _first_state(draws)) for _ in range(2))


def _dirty_batch(draws: Draws) -> list[_Row]:
    center, spread = draws.number(-50, 50), draws.number(0.5, 20)
    if draws.chance(0.5):
        center = draws.number(-spread, spread)
    valid: list[Any] = [
        round(reading) if spread > 5 and draws.chance(0.2) else reading
        for reading in draws.spread(center - 2 * spread, center + 2 * spread, draws.integer(8, 24))
    ]
    if abs(center) < 2 * spread:  # a zero is a reading like any other
        valid[0] = draws.one_of([0, 0.0, "0", " 0.0 ", -0.0, "0e5"])
    rows = [(_spelled(draws, reading), draws.one_of(_TAGS), "core") for reading in valid]
    return rows + _corrupt(draws, draws.integer(len(rows) // 2, 2 * len(rows)))


def _flat(draws: Draws) -> tuple[Call, ...]:
    """Constant segments of every size, with corrupt rows between; an empty batch; one without a valid reading."""
    calls = []
    for count in draws.shuffled([draws.integer(1, 3), draws.integer(4, 40), draws.integer(41, 200)]):
        rows: list[_Row] = [(draws.one_of(_CONSTANTS), "core", "core")] * count
        rows += _corrupt(draws, draws.integer(0, count // 3))
        calls.append(_call(draws, rows, _first_state(draws)))
    calls.append(_call(draws, [], _first_state(draws)))
    calls.append(_call(draws, _corrupt(draws, draws.integer(1, 12)), _first_state(draws)))
    return tuple(draws.shuffled(calls))


def _heavy_tail(draws: Draws) -> tuple[Call, ...]:
    """A core, small groups beside it and spikes far outside, among corrupt rows."""
    return tuple(_call(draws, _heavy_batch(draws), _first_state(draws)) for _ in range(2))


def _heavy_batch(draws: Draws) -> list[_Row]:
    center = draws.number(-1000, 1000)
    spread = draws.number(1, 10) * draws.one_of([0.01, 0.1, 1.0, 10.0])
    rows: list[_Row] = [
        (_spelled(draws, round(draws.bell(center, spread), 6)), "core", "core") for _ in range(draws.integer(30, 80))
    ]
    for tag in draws.shuffled(_GROUPS)[: draws.integer(1, 4)]:
        level = center + draws.one_of([-1, 1]) * draws.number(2, 4.5) * spread
        rows += [(round(draws.bell(level, spread / 10), 6), tag, "minority") for _ in range(draws.integer(2, 4))]
    most = len(rows) // 4  # a fifth of all
    signs = draws.one_of([(1,), (-1,), (-1, 1)])
    for _ in range(draws.integer(1, most)):
        distance = draws.number(50, 500) * draws.one_of([1, 1, 10, 100, 2000]) * spread
        rows.append((round(center + draws.one_of(signs) * distance, 6), draws.one_of(["spike", "core"]), "spike"))
    return rows + _corrupt(draws, draws.integer(0, 10))


def _flood(draws: Draws) -> tuple[Call, ...]:
    """Batches that are delivered again and again, between restarts that leave only the reported state."""
    batches = []
    center, spread, ts = draws.number(-100, 100), draws.number(0.5, 5), 0
    for _ in range(_FLOOD_BATCHES):
        center = round(draws.bell(center, spread / 2), 6)
        rows: list[_Row] = [
            (_spelled(draws, round(draws.bell(center, spread), 6)), "stream", "core")
            for _ in range(draws.integer(100, 110))
        ]
        rows += [(round(center + 200 * spread, 6), "stream", "spike")] * draws.integer(0, 2)
        rows += _corrupt(draws, draws.integer(0, 12))
        batch = _call(draws, rows, first_ts=ts)
        ts += 2 * len(rows)
        batches += [batch] * _DELIVERIES
    restarts = {draws.integer(4, 8), draws.integer(10, len(batches) - 2)}
    states = {0: _busy_state(draws), 1: _roomy_state(draws)}
    return tuple(
        Call(
            batch.events,
            states.get(index, HANDED_ON),
            batch.roles,
            in_new_process=index in restarts,
            whole_state=index + 1 in restarts or index + 1 == len(batches),
        )
        for index, batch in enumerate(batches)
    )


def _sanity(draws: Draws) -> tuple[Call, ...]:
    """Ordinary batches in order, without a corrupt row; the first one without a state."""
    calls = []
    for number in range(3):
        low, width, first_ts = draws.number(-100, 100), draws.number(1, 50), draws.integer(-100, 1000)
        events = [
            {"ts": first_ts + index, "reading": reading, "tag": "test"}
            for index, reading in enumerate(draws.spread(low, low + width, draws.integer(5, 30)))
        ]
        calls.append(Call(events, None if number == 0 else HANDED_ON, ("core",) * len(events)))
    return tuple(calls)


def _call(draws: Draws, rows: Sequence[_Row], state: Any = HANDED_ON, *, first_ts: int = 0) -> Call:
    """Puts rows out of order, with times that repeat, are negative or fractional."""
    ordered = draws.shuffled(rows)
    if first_ts == 0 and draws.chance(0.3):
        first_ts = -draws.integer(1, 1000)
    events: list[Event] = []
    for reading, tag, role in ordered:
        ts: float = first_ts + draws.integer(0, max(1, 2 * len(rows) - 2))
        if draws.chance(0.1):
            ts += draws.one_of([0.5, 0.25, 0.125])
        event = {"ts": ts, "reading": reading, "tag": tag}
        if role == "corrupt" and reading is _MISSING:
            del event["reading"]
        events.append(event)
    return Call(events, state, tuple(role for _, _, role in ordered))


_MISSING = object()


def _corrupt(draws: Draws, count: int) -> list[_Row]:
    return [(_corrupt_reading(draws), draws.one_of(_TAGS), "corrupt") for _ in range(count)]


def _corrupt_reading(draws: Draws) -> Any:
    infinite = float("inf")
    return draws.one_of(
        [
            draws.one_of(_NOT_FINITE),
            draws.one_of(_NO_NUMBERS),
            draws.one_of([infinite - infinite, infinite, -infinite]),
            10 ** draws.integer(309, 400),
            None,
            draws.chance(0.5),
            [draws.number(0, 9)],
            draws.one_of([{}, {"reading": draws.number(0, 9)}, [], [[]], [None]]),
            _MISSING,
        ]
    )


def _spelled(draws: Draws, reading: Any) -> Any:
    """Some valid readings are texts."""
    if type(reading) is str or not draws.chance(0.3):
        return reading
    text = repr(reading)
    exponent = "e0" if "e" not in text else ""
    return draws.one_of([text, f" {text}", f"{text}\n", f"\t{text} ", text + exponent])


def _first_state(draws: Draws) -> dict[str, Any]:
    buffer: Any = draws.one_of([[], deque(), deque(maxlen=240), deque(maxlen=1000)])
    return {"seen": 0, "limit": draws.integer(150, 400), "buffer": buffer, "z_cutoff": draws.one_of([3, 2.5, 4])}


def _roomy_state(draws: Draws) -> dict[str, Any]:
    """A state whose buffer would let itself be filled beyond the limit."""
    rows = [{"ts": ts - 230, "reading": draws.number(0, 9), "tag": "stream"} for ts in range(230)]
    return {"seen": 190, "limit": 200, "buffer": deque(rows, draws.integer(260, 1000)), "z_cutoff": 3}


def _busy_state(draws: Draws) -> dict[str, Any] | None:
    """None, or a state whose buffer is anything from nearly empty to over-full."""
    if draws.chance(0.2):
        return None
    held = draws.one_of([0, 150, 239, 240, 241, 300])
    rows = [{"ts": ts - held, "reading": draws.number(0, 9), "tag": "stream"} for ts in range(held)]
    buffer = draws.one_of([rows, deque(rows), deque(rows, max(held, 240)), deque(rows, max(held, 260))])
    return {"seen": 190, "limit": 200, "buffer": buffer, "z_cutoff": 3}
