"""The codec on anything: what plain data and hostile objects come back as, and what reading any bytes may cost."""

import math
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.sandbox.inside.wire import MAX_VALUES, TooLargeError, WireError, decode, encode
from tests.fuzz.target import check, same
from tests.sandbox.recipes import Nested, Recipe, called, recipes

LIMIT = 1 << 20
MAX_CPU_S = 4.0  # several times what the most expensive values take, while memory is traced
MAX_MEMORY_BYTES = 64 << 20
unhurried = settings(deadline=None)


@contextmanager
def bounded() -> Iterator[None]:
    """Holds a block to the limits; to trace its memory takes most of its time."""
    tracemalloc.start()
    started = time.thread_time()
    try:
        yield
        spent, (_, peak) = time.thread_time() - started, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert spent < MAX_CPU_S
    assert peak < MAX_MEMORY_BYTES


# From values to values


@given(recipes)
@example(Nested(100_000))
@settings(unhurried, max_examples=150)
def test_anything_comes_back_as_plain_data_with_marks_and_no_method_is_called(recipe: Recipe) -> None:
    called.clear()
    value = recipe.made()
    encoded = encode(value, max_bytes=LIMIT)
    assert called == []
    back = decode(encoded)
    assert same(back, recipe.image(0))


@given(recipes, st.sampled_from([1000, 1_000_000]), st.booleans())
@settings(unhurried, max_examples=5)
def test_much_of_anything_is_encoded_or_refused_within_bounds(recipe: Recipe, count: int, named: bool) -> None:
    value = recipe.made()
    many = dict.fromkeys(map(str, range(count // 10)), value) if named else [value] * count
    with bounded(), suppress(TooLargeError):
        assert len(encode(many, max_bytes=LIMIT)) <= LIMIT


# From bytes to values

edits = st.lists(
    st.tuples(st.sampled_from(["cut", "drop", "put", "flip"]), st.floats(0, 1), st.binary(min_size=1, max_size=9)),
    max_size=4,
)


def edited(payload: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    for kind, where, what in edits:
        at = int(where * len(payload))
        match kind:
            case "cut":
                payload = payload[:at]
            case "drop":
                payload = payload[:at] + payload[at + len(what) :]
            case "put":
                payload = payload[:at] + what + payload[at:]
            case "flip":
                payload = payload[:at] + bytes([what[0] & 0x7F]) + payload[at + 1 :]
    return payload


@given(recipes, edits)
@settings(unhurried, max_examples=100)
def test_what_was_tampered_with_is_read_or_refused(recipe: Recipe, edits: list[tuple[str, float, bytes]]) -> None:
    value = recipe.made()
    answer = encode({"status": "ok", "returned": value, "given_state": value}, max_bytes=LIMIT)
    check(edited(answer, edits))


tokens = st.sampled_from([
    "{", "}", "[", "]", ",", ":", '"', '"$":', '"v":[', '"tuple"', '"deque"', '"maxlen":', '"dict"', '"opaque"', "]}",
    "null", "1", "-0", "1e999", "NaN", "-Infinity", "true", '"\\ud800"', " ", "\\", "\x00", '{"$":"tuple","v":[',
])  # fmt: skip


@given(st.binary(max_size=2000) | st.lists(tokens, max_size=60).map(lambda parts: "".join(parts).encode()))
@settings(unhurried, max_examples=300)
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    with bounded():
        check(payload)


MERSENNE = (1 << 61) - 1  # integers that differ by it have the same hash
EXPENSIVE = {
    "dicts": ",".join(['{"a":0}'] * (MAX_VALUES // 2 - 1)),
    "deques": ",".join(['{"$":"deque","v":[],"maxlen":null}'] * (MAX_VALUES // 5 - 1)),
    "tuples": ",".join(['{"$":"tuple","v":[0]}'] * (MAX_VALUES // 4 - 1)),
    "marks": ",".join(['{"$":"opaque","type":"a"}'] * (MAX_VALUES // 3 - 1)),
    "marks that differ": ",".join(f'{{"$":"opaque","type":"{index}"}}' for index in range(MAX_VALUES // 3 - 1)),
    "keys": ",".join(f'{{"{index}":0}}' for index in range(MAX_VALUES // 2 - 1)),
    "keys of one dict": "{" + ",".join(f'"{index}":0' for index in range(MAX_VALUES - 9)) + "}",
    "whole numbers": ",".join(["9" * 299] * (LIMIT // 300 - 1)),
    "the longest whole numbers": ",".join(["1" * 308] * (LIMIT // 309 - 1)),
    "fractions": ",".join(["0." + "7" * 18] * (LIMIT // 21 - 1)),
    "a long fraction": "0." + "7" * (LIMIT - 9),
    "escapes": '"' + "\\ud83d\\ude00" * (LIMIT // 12 - 1) + '"',
    "spaces": " " * (LIMIT - 9),
    "colliding keys": '{"$":"dict","v":[' + ",".join(f"[{MERSENNE * index},0]" for index in range(1000)) + "]}",
    "brackets": "[" * (MAX_VALUES - 1),
}


@pytest.mark.parametrize("text", EXPENSIVE.values(), ids=EXPENSIVE.keys())
def test_the_most_expensive_answers_are_read_or_refused_within_bounds(text: str) -> None:
    payload = f"[{text}]".encode()
    assert len(payload) <= LIMIT
    with bounded(), suppress(WireError):
        decode(payload)


# From answers to verdicts

readings = st.sampled_from(
    [5.4, 7.2, 9.0, 9, 9.5, 10.0, 899.5, 900, -0.0, 10**400, math.nan, math.inf, True, None, "7.2"]
)
rows = st.fixed_dictionaries(
    {"ts": st.integers(0, 9) | readings, "reading": readings}, optional={"tag": st.just("minority")}
)
states = st.fixed_dictionaries(
    {}, optional={"seen": st.integers(-1, 6) | readings, "limit": readings, "buffer": st.lists(readings, max_size=3)}
)
results = st.fixed_dictionaries(
    {},
    optional={
        "clean": st.lists(rows, max_size=8),
        "mean": readings,
        "std": readings,
        "telemetry": st.just({}) | readings,
        "state": states | readings,
    },
)


@given(results, states)
@settings(unhurried, max_examples=200)
def test_no_answer_breaks_a_check_nor_holds_every_row(result: dict[str, Any], given_state: dict[str, Any]) -> None:
    check(encode({"status": "ok", "returned": result, "given_state": given_state}, max_bytes=LIMIT))


@given(recipes, results)
@settings(unhurried, max_examples=60)
def test_no_hostile_part_of_an_answer_does_either(recipe: Recipe, result: dict[str, Any]) -> None:
    value = recipe.made()
    for key in [*result, "state"]:
        answer = {"status": "ok", "returned": {**result, key: value}, "handed_back": True}
        check(encode(answer, max_bytes=LIMIT))
