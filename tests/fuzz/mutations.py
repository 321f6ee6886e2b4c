"""Mutations of payloads that know their structure: they make JSON again, with marks in likely and odd places."""

import json
import math
from collections.abc import Callable
from random import Random
from typing import Any

__all__ = ["mutated"]

_MERSENNE = (1 << 61) - 1  # integers that differ by it have the same hash
_NAMES = (
    "$", "v", "maxlen", "type", "status", "error", "line", "defined", "returned", "given_state", "handed_back",
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

Place = tuple[Any, Any]  # a list or dict, and an index or key of it


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
        holder, key = _place(root, random)
        random.choice(_MUTATIONS)(holder, key, random, parts)
    try:
        return json.dumps(root[0], check_circular=False).encode()
    except (RecursionError, ValueError):
        return None


def _parsed(payload: bytes) -> Any:
    try:
        return json.loads(payload.decode("ascii"))
    except (ValueError, RecursionError):
        return None


def _place(root: list[Any], random: Random) -> Place:
    """A random one, likelier near the root than if all were equal: rows are many, and what holds them is few."""
    holder, key = root, 0
    while type(inner := holder[key]) in (dict, list) and inner and random.random() < 0.95:
        holder, key = inner, random.choice(list(inner) if type(inner) is dict else range(len(inner)))
    return holder, key


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
        source, at = _place(parts, random)
        holder[key] = _copy(source[at])


def _mark(holder: Any, key: Any, random: Random, parts: list[Any]) -> None:
    value = holder[key]
    items = value if type(value) is list else [value]
    holder[key] = random.choice(
        [
            {"$": "tuple", "v": items},
            {"$": "deque", "v": items, "maxlen": random.choice([None, len(items), 240, _scalar(random)])},
            {"$": "dict", "v": [[_scalar(random), item] for item in items]},
            {"$": "dict", "v": [[{"$": "tuple", "v": [_scalar(random), item]}, 0] for item in items]},
            {"$": "opaque", "type": random.choice(["dict", "list", "x y", "é" * 300])},
        ]
    )


def _collide(holder: Any, key: Any, random: Random, parts: list[Any]) -> None:
    count = random.randint(2, _MAX_COPIES)
    fillings = random.randint(0, 2) * [random.choice([0.5, {"$": "opaque", "type": ""}, {"$": "tuple", "v": [0.5]}])]
    keys = [{"$": "tuple", "v": [*fillings, _MERSENNE * index]} for index in range(count)]
    holder[key] = {"$": "dict", "v": [[each, 0] for each in keys]}


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


_MUTATIONS: tuple[Callable[[Any, Any, Random, list[Any]], None], ...] = (
    _replace, _replace, _replace, _replace, _take_part, _take_part,
    _mark, _collide, _rename, _add, _drop, _repeat, _deepen, _nudge,
)  # fmt: skip
