"""The codec on anything: what plain data and hostile objects come back as, and what reading any bytes may cost."""

import gc
import json
import math
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from service.sandbox.inside import wire
from service.sandbox.inside.wire import MAX_VALUES, TooLargeError, encode
from service.sandbox.reading import WireError, decode
from tests.fuzz.target import check, same
from tests.sandbox.recipes import Nested, Recipe, called, recipes

LIMIT = 1 << 20
MAX_CPU_S = 4.0  # several times what the most expensive values take
MAX_MEMORY_BYTES = 64 << 20
untraced = settings(phases=set(Phase) - {Phase.explain})  # which would trace every line


@contextmanager
def without_what_other_tests_left() -> Iterator[None]:
    """Keeps the collector to what is made within: looking through all that lives in this process may take a second."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def cpu_s(act: Callable[[], object]) -> float:
    started = time.thread_time()
    act()
    return time.thread_time() - started


def bounded(act: Callable[[], object], *, max_cpu_s: float = MAX_CPU_S) -> None:
    """Holds something to the limits, first of time, then, which takes far longer to trace, of memory."""
    if cpu_s(act) >= max_cpu_s:
        with without_what_other_tests_left():
            assert min(cpu_s(act) for _ in range(3)) < max_cpu_s
    tracemalloc.start()
    try:
        act()
        assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY_BYTES
    finally:
        tracemalloc.stop()


# From values to values


@given(recipes)
@example(Nested(100_000))
@settings(untraced, max_examples=150)
def test_anything_comes_back_as_plain_data_with_marks_and_no_method_is_called(recipe: Recipe) -> None:
    value = recipe.made()
    called.clear()
    encoded = encode(value, max_bytes=LIMIT)
    assert called == []
    back = decode(encoded)
    assert same(back, recipe.image(0))
    assert encoded == wire._text(value, LIMIT, MAX_VALUES, in_bulk=False)


@given(recipes, st.sampled_from([1000, 1_000_000]), st.booleans())
@settings(untraced, max_examples=5)
def test_much_of_anything_is_encoded_or_refused_within_bounds(recipe: Recipe, count: int, named: bool) -> None:
    value = recipe.made()
    many = dict.fromkeys(map(str, range(count // 10)), value) if named else [value] * count

    def encode_many() -> None:
        with suppress(TooLargeError):
            assert len(encode(many, max_bytes=LIMIT)) <= LIMIT

    bounded(encode_many)


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
@settings(untraced, max_examples=100)
def test_what_was_tampered_with_is_read_or_refused(recipe: Recipe, edits: list[tuple[str, float, bytes]]) -> None:
    value = recipe.made()
    payload = encode({"status": "ok", "returned": value, "given_state": value}, max_bytes=LIMIT)
    check(edited(payload, edits))


tokens = st.sampled_from([
    "{", "}", "[", "]", ",", ":", '"', "[[", "]]", ",[", '"a":', '"tuple"', '["tuple",[', '["deque",[', ",null]",
    '["dict",[', '["opaque",[', "],[", "null", "0", "1", "-0", "01", "1e999", "NaN", "-NaN", "-Infinity", "true",
    '"\\ud800"', '"\\udE00"', " ", "\\", "\x00", "\ufeff", "é",
])  # fmt: skip


@given(st.binary(max_size=2000) | st.lists(tokens, max_size=60).map(lambda parts: "".join(parts).encode()))
@settings(untraced, max_examples=300)
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    bounded(lambda: check(payload))


MERSENNE = (1 << 61) - 1  # integers that differ by it have the same hash


def answer(value: Any, marks: list[Any]) -> str:
    return json.dumps([value, marks], separators=(",", ":"))


def raw(text: str, times: int = 1) -> str:
    return f"[[{','.join([text] * times)}],[]]"


def each(kind: str, count: int, *further: Any) -> list[Any]:
    return [[kind, [index], *further] for index in range(count)]


def colliding(count: int, *filling: Any, marks: tuple[Any, ...] = ()) -> str:
    """A dict whose keys are tuples that begin alike and have the same hash."""
    pairs = [[[*filling, MERSENNE * index], 0] for index in range(count)]
    places = [[index, 0, at] for index in range(count) for at in range(len(filling))] if marks else []
    inner = [[marks[0], place, *marks[1:]] for place in places]
    return answer(pairs, [*inner, *[["tuple", [index, 0]] for index in range(count)], ["dict", []]])


def nested(inner: Any, steps: list[Any]) -> Any:
    for step in reversed(steps):
        inner = {step: inner} if isinstance(step, str) else [inner]
    return inner


NAMES = ["k" * 60] * 60
EQUAL_HASHES = [[MERSENNE * index, 0] for index in range(33_000)]
EXPENSIVE = {
    "dicts": raw('{"a":0}', MAX_VALUES // 2 - 9),
    "lists": raw("[[1],[2]]", MAX_VALUES // 5),
    "deques": answer([[]] * 14_000, each("deque", 14_000, None)),
    "tuples": answer([[0]] * 16_000, each("tuple", 16_000)),
    "opaques": answer([None] * 16_000, each("opaque", 16_000, "a")),
    "opaques that differ": answer([None] * 16_000, [["opaque", [index], str(index)] for index in range(16_000)]),
    "marks on one thing": answer([[]], [["tuple", [0]]] * 24_000),
    "marks on something long": answer([[0] * 50_000], [["tuple", [0]]] * 12_000),
    "marks on nothing": answer([], [["tuple", [0]]] * 24_000),
    "a path of 99,000 steps": answer([0], [["tuple", [0] * 99_000]]),
    "deep paths": answer(nested([[]] * 450, [0] * 190), [["tuple", [*[0] * 190, index]] for index in range(450)]),
    "deep paths of names": answer(nested([[]] * 250, NAMES), [["tuple", [*NAMES, index]] for index in range(250)]),
    "a path of one long name": answer({"k" * (LIMIT // 2 - 30): []}, [["tuple", ["k" * (LIMIT // 2 - 30)]]]),
    "keys": answer([{str(index): 0} for index in range(MAX_VALUES // 2 - 9)], []),
    "keys of one dict": answer(dict.fromkeys(map(str, range(MAX_VALUES - 9)), 0), []),
    "one key": "[{" + ",".join(['"a":0'] * (MAX_VALUES - 9)) + "},[]]",
    "whole numbers": raw("9" * 299, LIMIT // 300 - 1),
    "the longest whole numbers": raw("1" * 308, LIMIT // 309 - 1),
    "whole numbers of 4300 digits": raw("1" * 4300, LIMIT // 4301 - 1),
    "a whole number": raw("1" * (LIMIT - 9)),
    "fractions": raw("0." + "7" * 18, LIMIT // 21 - 1),
    "long fractions": raw("0." + "7" * 290, LIMIT // 293 - 1),
    "a long fraction": raw("0." + "7" * (LIMIT - 9)),
    "exponents": raw("1e" + "9" * 290, LIMIT // 293 - 1),
    "a long exponent": raw("1e" + "7" * (LIMIT - 9)),
    "escapes": raw('"' + "\\ud83d\\ude00" * (LIMIT // 12 - 2) + '"'),
    "escapes and a surrogate": raw('"' + "\\ud83d\\ude00" * (LIMIT // 12 - 2) + '\\ud800"'),
    "surrogates": raw('"' + "\\ud800" * (LIMIT // 6 - 2) + '"'),
    "digits": raw('"' + ("9" * 299 + "x") * 3400 + '"'),
    "spaces": " " * (LIMIT - 9),
    "quotes": "[[" + '""' * (LIMIT // 2 - 9),
    "brackets": "[" * (MAX_VALUES - 1),
    "brackets after a surrogate": '["\\ud800",' + "[" * (MAX_VALUES - 9),
    "braces": '{"a":' * (MAX_VALUES - 1),
    "colliding keys": answer(EQUAL_HASHES[:1000], [["dict", []]]),
    "33,000 colliding keys": answer(EQUAL_HASHES, [["dict", []]]),
    "colliding keys of many dicts": answer([EQUAL_HASHES[:100]] * 300, each("dict", 300)),
    "colliding keys of 10 items": colliding(1000, *[0.5] * 9),
    "colliding keys of 11 items": colliding(1000, *[0.5] * 10),
    "colliding keys of 96 items": colliding(900, *[0.5] * 95),
    "colliding keys of long numbers": colliding(1000, *[int("1" * 290)] * 3),
    "colliding keys of long texts": colliding(1000, "a" * 900),
    "colliding keys of opaques": colliding(1000, *[None] * 9, marks=("opaque", "")),
    "colliding keys of more opaques": colliding(300, *[None] * 32, marks=("opaque", "")),
    "colliding keys of tuples": colliding(1000, *[[0.5]] * 4, marks=("tuple",)),
}


@pytest.mark.parametrize("text", EXPENSIVE.values(), ids=EXPENSIVE.keys())
def test_the_most_expensive_answers_are_read_or_refused_within_bounds(text: str) -> None:
    payload = text.encode()
    assert len(payload) <= LIMIT

    def decode_or_refuse() -> None:
        with suppress(WireError):
            decode(payload)

    bounded(decode_or_refuse, max_cpu_s=0.5)


def test_names_that_are_met_again_and_again_keep_no_memory() -> None:
    def name_many(generation: int) -> int:
        decode(answer([{f"{generation}-{index:050}": 0} for index in range(14_000)], []).encode())
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * 4096

    before = max(map(name_many, range(3)))
    assert max(map(name_many, range(3, 20))) - before < 4 << 20


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
@settings(untraced, max_examples=200)
def test_no_answer_breaks_a_check_nor_holds_every_row(result: dict[str, Any], given_state: dict[str, Any]) -> None:
    check(encode({"status": "ok", "returned": result, "given_state": given_state}, max_bytes=LIMIT))


@given(recipes, results)
@settings(untraced, max_examples=60)
def test_no_hostile_part_of_an_answer_does_either(recipe: Recipe, result: dict[str, Any]) -> None:
    value = recipe.made()
    for key in [*result, "state"]:
        told = {"status": "ok", "returned": {**result, key: value}, "handed_back": True}
        check(encode(told, max_bytes=LIMIT))
