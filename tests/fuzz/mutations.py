"""Mutations of payloads that know their structure: they make JSON again, with marks in likely and odd places."""

import json
import math
from collections.abc import Callable
from random import Random
from typing import Any

__all__ = ["mutated"]

_MERSENNE = (1 << 61) - 1  # integers that differ by it have the same hash
_NAMES = (
    "status", "error", "line", "defined", "returned", "given_state", "handed_back",
    "result", "clean", "mean", "std", "alerts", "telemetry", "state", "seen", "limit", "buffer", "ts", "reading", "tag",
)  # fmt: skip
_TEXTS = (
    "tuple", "deque", "dict", "opaque", "ok", "error", "syntax_error", "memory_limit", "output_limit", "timeout", "7.2",
    "minority", "NaN", "\ud83d", "\ude00", "\ud83d\ude00", "\U0001f600", "\x00", "\n", ",[{" * 9, "1" * 400, "x" * 9000,
)  # fmt: skip
_NUMBERS = (
    0, 1, -1, 2, 4, 5, 240, 241, 899.5, 900, 9.0, 5.4, 7.2, -0.0, 5e-324, 1.7976931348623157e308, math.nan, math.inf,
    -math.inf, 2**53 + 1, 2**63, -(2**64), 2**1023, 2**1024 - 1, 2**1024, -(2**1024), _MERSENNE, -_MERSENNE,
)  # fmt: skip
_SCALARS = (None, True, False, *_NUMBERS, *_TEXTS)
_MAX_COPIES = 120

Place = tuple[Any, Any, list[Any]]  # a list or dict, an index or key of it, and the path that leads there


def mutated(payload: bytes, random: Random, others: tuple[bytes, ...] = ()) -> bytes | None:
    """Changes a payload in one to four places.

    Args:
        payload: anything.
        random: decides everything.
        others: payloads to take parts from.

    Returns:
        JSON text in ASCII, or None where the payload is none.
    """
    root = [_parsed(payload)]
    if root[0] is None:
        return None
    parts = [_parsed(random.choice(others))] if others else []
    for _ in range(random.randint(1, 4)):
        if random.random() < 0.6:
            holder, key, _ = _place(root, random)
            random.choice(_EDITS)(holder, key, random, parts)
        else:
            if not _is_answer(root[0]):
                root = [[root[0], []]]
            random.choice(_MARKINGS)(root[0], root[0][1], random)
    try:
        return json.dumps(root[0], check_circular=False).encode()
    except (RecursionError, ValueError):
        return None


def _parsed(payload: bytes) -> Any:
    try:
        return json.loads(payload.decode("ascii"))
    except (ValueError, RecursionError):
        return None


def _is_answer(parsed: Any) -> bool:
    return type(parsed) is list and len(parsed) == 2 and type(parsed[1]) is list


def _place(root: list[Any], random: Random) -> Place:
    """A random one, likelier near the root than if all were equal: rows are many, and what holds them is few."""
    holder, key, path = root, 0, []
    while type(inner := holder[key]) in (dict, list) and inner and random.random() < 0.95:
        holder, key = inner, random.choice(list(inner) if type(inner) is dict else range(len(inner)))
        path.append(key)
    return holder, key, path


def _scalar(random: Random) -> Any:
    return random.choice(_SCALARS)


def _copy(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, check_circular=False))
    except (RecursionError, ValueError):
        return None


def _replace(holder: Any, key: Any, random: Random, parts: list[Any]) -> None:
    holder[key] = _scalar(random)


def _take_part(holder: Any, key: Any, random: Random, parts: list[Any]) -> None:
    if parts:
        source, at, _ = _place(parts, random)
        holder[key] = _copy(source[at])


def _rename(holder: Any, key: Any, random: Random, parts: list[Any]) -> None:
    if type(holder) is dict:
        holder[random.choice(_NAMES)] = holder.pop(key)


def _add(holder: Any, key: Any, random: Random, parts: list[Any]) -> None:
    if type(holder) is dict:
        holder[random.choice(_NAMES)] = _copy(holder[key])
    else:
        holder.insert(key, _scalar(random))


def _drop(holder: Any, key: Any, random: Random, parts: list[Any]) -> None:
    if type(holder) is dict or len(holder) > 1:
        del holder[key]


def _repeat(holder: Any, key: Any, random: Random, parts: list[Any]) -> None:
    value = holder[key]
    if type(value) is list:
        holder[key] = value * random.choice([2, 5, max(1, _MAX_COPIES // (len(value) + 1))])
    elif type(value) is str:
        holder[key] = value[:1000] * 2


def _deepen(holder: Any, key: Any, random: Random, parts: list[Any]) -> None:
    for _ in range(random.choice([1, 2, 30, 63, 64, 65, 400])):
        holder[key] = [holder[key]] if random.random() < 0.8 else {"a": holder[key]}


def _nudge(holder: Any, key: Any, random: Random, parts: list[Any]) -> None:
    value = holder[key]
    if type(value) is int:
        holder[key] = value + random.choice([-1, 1])
    elif type(value) is float:
        holder[key] = math.nextafter(value, random.choice([-math.inf, math.inf]))


_EDITS: tuple[Callable[[Any, Any, Random, list[Any]], None], ...] = (
    _replace, _replace, _replace, _replace, _take_part, _take_part, _rename, _add, _drop, _repeat, _deepen, _nudge,
)  # fmt: skip


def _mark(answer: list[Any], marks: list[Any], random: Random) -> None:
    holder, key, path = _place(answer, random)
    value = holder[key]
    items = value if type(value) is list else [value]
    kind = random.choice(["tuple", "deque", "dict", "tuples for keys", "opaque", "held"])
    match kind:
        case "tuple":
            holder[key], mark = items, ["tuple", path]
        case "deque":
            maxlen = random.choice([None, len(items), 240, _scalar(random)])
            holder[key], mark = items, ["deque", path, maxlen]
        case "dict":
            holder[key], mark = [[_scalar(random), item] for item in items], ["dict", path]
        case "tuples for keys":
            marks += [["tuple", [*path, index, 0]] for index in range(len(items))]
            holder[key], mark = [[[_scalar(random), item], 0] for item in items], ["dict", path]
        case "held":
            length = random.choice([len(items), _scalar(random)])
            holder[key], mark = None, ["held", path, random.choice(["list", "deque", "tuple"]), length]
        case _:
            name = random.choice(["dict", "list", "x y", "é" * 300])
            holder[key], mark = None, ["opaque", path, name]
    marks.insert(random.choice([len(marks), random.randint(0, len(marks))]), mark)


def _collide(answer: list[Any], marks: list[Any], random: Random) -> None:
    holder, key, path = _place(answer, random)
    count, fillings = random.randint(2, _MAX_COPIES), random.randint(0, 2)
    filling: Any = random.choice([0.5, None, [0.5]])
    holder[key] = [[[*[filling] * fillings, _MERSENNE * index], 0] for index in range(count)]
    for index in range(count):
        inner = [[*path, index, 0, at] for at in range(fillings)]
        marks += [["tuple", each] for each in inner if filling == [0.5]]
        marks += [["opaque", each, ""] for each in inner if filling is None]
        marks.append(["tuple", [*path, index, 0]])
    marks.append(["dict", path])


def _unmark(answer: list[Any], marks: list[Any], random: Random) -> None:
    if marks:
        del marks[random.randrange(len(marks))]


def _mark_again(answer: list[Any], marks: list[Any], random: Random) -> None:
    if marks:
        again = _copy(random.choice(marks))
        marks += [again] * random.choice([1, 1, 2, _MAX_COPIES])


def _swap_marks(answer: list[Any], marks: list[Any], random: Random) -> None:
    if marks:
        one, other = random.randrange(len(marks)), random.randrange(len(marks))
        marks[one], marks[other] = marks[other], marks[one]


def _retarget(answer: list[Any], marks: list[Any], random: Random) -> None:
    if not marks:
        return
    mark = random.choice(marks)
    if type(mark) is not list or len(mark) < 2 or type(mark[1]) is not list:
        return
    path = [*mark[1]]
    match random.choice(["elsewhere", "up", "down", "step", "long"]):
        case "elsewhere":
            path = _place(answer, random)[2]
        case "up":
            path = path[:-1]
        case "down":
            path.append(random.choice([0, 1, -1, True, "0", "state", "buffer"]))
        case "step" if path:
            path[random.randrange(len(path))] = random.choice([0, 1, -1, True, 2**64, 0.0, None, [], "clean", "tag"])
        case _:
            path = path * random.choice([2, 10, 200])
    mark[1] = path


def _retell(answer: list[Any], marks: list[Any], random: Random) -> None:
    """Another kind, or something further, or less of it."""
    if not marks or type(mark := random.choice(marks)) is not list or not mark:
        return
    match random.choice(["kind", "more", "less", "further"]):
        case "kind":
            mark[0] = random.choice(["tuple", "deque", "dict", "opaque", "held", "list", _scalar(random)])
        case "more":
            mark.append(_scalar(random))
        case "less":
            mark.pop()
        case _:
            mark[-1] = _scalar(random)


_MARKINGS: tuple[Callable[[list[Any], list[Any], Random], None], ...] = (
    _mark, _mark, _mark, _collide, _unmark, _mark_again, _swap_marks, _retarget, _retarget, _retell,
)  # fmt: skip
