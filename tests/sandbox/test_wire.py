"""The codec: honest values round-trip, hostile ones become marks, hostile bytes are refused."""

import contextlib
import json
import math
import time
import tracemalloc
from collections import Counter, OrderedDict, UserDict, deque, namedtuple
from decimal import Decimal
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.sandbox.inside.wire import MAX_DEPTH, Opaque, TooLargeError, WireError, decode, encode
from tests.fuzz.target import same

LIMIT = 1 << 20

keys = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text() | st.floats(allow_nan=False)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**1000), 2**1000) | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.lists(inner).map(deque)
        | st.builds(lambda items: deque(items, maxlen=len(items) + 3), st.lists(inner))
        | st.dictionaries(keys | st.just("$"), inner)
    ),
    max_leaves=20,
)


def round_trip(value: Any) -> Any:
    return decode(encode(value, max_bytes=LIMIT))


@given(plain)
def test_plain_data_round_trips_with_its_types(value: Any) -> None:
    assert same(round_trip(value), value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_survive(value: float) -> None:
    assert repr(round_trip([value])) == repr([value])


class LyingList(list[Any]):
    def __iter__(self) -> Any:
        return iter([])

    def __len__(self) -> int:
        return 0


class LyingDict(dict[Any, Any]):
    def items(self) -> Any:
        return {}.items()

    def __iter__(self) -> Any:
        return iter(())


class LyingFloat(float):
    def __float__(self) -> float:
        return 1.0

    def __repr__(self) -> str:
        return "1.0"


class LyingString(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "lie"


class Colour(IntEnum):
    RED = 3


Row = namedtuple("Row", "ts reading")  # noqa: PYI024 - what submissions may return


@pytest.mark.parametrize(
    ("value", "base"),
    [
        (LyingList([1, 2]), [1, 2]),
        (LyingDict(a=1), {"a": 1}),
        (LyingFloat(2.5), 2.5),
        (LyingString("truth"), "truth"),
        (Colour.RED, 3),
        (Row(1, 2.0), (1, 2.0)),
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=1), {"a": 1}),
    ],
)
def test_a_subclass_counts_as_its_base_and_what_it_overrides_is_never_heard(value: Any, base: Any) -> None:
    assert same(round_trip(value), base)


class Spoof:
    __class__ = dict  # type: ignore[assignment]


@pytest.mark.parametrize(
    "value",
    [Spoof(), UserDict(a=1), Decimal(1), b"bytes", {1, 2}, 1j, object(), print, iter([]), (x for x in [1]), 10**400],
)
def test_what_is_no_plain_data_becomes_a_mark(value: Any) -> None:
    assert isinstance(round_trip(value), Opaque)


class Meta(type):
    def __hash__(cls) -> int:
        raise KeyError("of a metaclass")


class LyingMeta(type):
    def __hash__(cls) -> int:
        return hash(float)

    def __eq__(cls, other: object) -> bool:
        return True


class Hashless(metaclass=Meta):
    pass


class LikeFloat(metaclass=LyingMeta):
    pass


class FloatLikeFloat(LyingFloat, metaclass=LyingMeta):
    pass


def test_a_metaclass_is_not_asked_either() -> None:
    assert round_trip([Hashless(), LikeFloat(), Hashless]) == [Opaque("Hashless"), Opaque("LikeFloat"), Opaque("Meta")]
    assert same(round_trip(FloatLikeFloat(2.5)), 2.5)


def test_a_mark_made_by_hand_is_a_mark_whatever_it_holds() -> None:
    misnamed: Any = Opaque(7)  # type: ignore[arg-type]
    unnamed = object.__new__(Opaque)

    assert round_trip([Opaque("generator"), misnamed]) == [Opaque("generator"), Opaque("Opaque")]
    assert round_trip(unnamed) == Opaque("Opaque")


class HashedList(list[Any]):
    __hash__ = object.__hash__  # type: ignore[assignment]


class HashedDict(dict[Any, Any]):
    __hash__ = object.__hash__  # type: ignore[assignment]


class HashedDeque(deque[Any]):
    __hash__ = object.__hash__  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("key", "mark"),
    [
        (HashedList([1]), Opaque("list")),
        (HashedDict(a=1), Opaque("dict")),
        (HashedDict({1: 1}), Opaque("dict")),
        (HashedDeque([1]), Opaque("deque")),
        ((0, (HashedList([1]),)), (0, (Opaque("list"),))),
    ],
)
def test_a_key_that_no_plain_dict_can_have_becomes_a_mark(key: Any, mark: Any) -> None:
    assert same(round_trip([{key: 1, "a": 2}]), [{mark: 1, "a": 2}])


def test_halves_of_a_character_come_back_as_the_character() -> None:
    halves, whole = "\ud83d\ude00", "\U0001f600"

    assert round_trip([halves, "\ude00\ud83d"]) == [whole, "\ude00\ud83d"]
    assert round_trip([{halves: 1, whole: 2}]) == [{whole: 2}]


def test_the_largest_integers_and_long_texts_of_digits_survive() -> None:
    value = [2**1024 - 1, 1 - 2**1024, "1" * 5000, 7]
    assert round_trip(value) == value


@pytest.mark.parametrize("before", range(30))
def test_an_integer_that_is_too_large_is_refused_wherever_it_stands(before: int) -> None:
    assert decode(f'["{"x" * before}",{"1" * 300},"{"9" * 999}"]'.encode()) == ["x" * before, int("1" * 300), "9" * 999]
    with pytest.raises(WireError):
        decode(f'["{"x" * before}",{"1" * 310}]'.encode())


def test_a_cycle_becomes_a_mark() -> None:
    cycle: list[Any] = [1]
    cycle.append(cycle)
    assert round_trip(cycle) == [1, Opaque("cycle")]


def test_a_value_met_twice_is_no_cycle() -> None:
    row = {"reading": 1}
    assert round_trip([row, row]) == [row, row]


def test_nesting_beyond_the_limit_becomes_a_mark() -> None:
    nested: Any = 0
    for _ in range(100_000):
        nested = [nested]
    text = encode(nested, max_bytes=LIMIT)
    assert text.count(b"[") == MAX_DEPTH


def test_a_value_that_doubles_at_every_level_is_too_large_and_soon() -> None:
    doubled: Any = [0]
    for _ in range(60):
        doubled = [doubled, doubled]
    started = time.monotonic()
    with pytest.raises(TooLargeError):
        encode(doubled, max_bytes=LIMIT)
    assert time.monotonic() - started < 5


def test_a_text_over_the_limit_is_too_large() -> None:
    with pytest.raises(TooLargeError):
        encode("x" * (LIMIT + 1), max_bytes=LIMIT)


@pytest.mark.parametrize(
    "forged",
    [
        "",
        "nonsense",
        "[1,",
        '{"a":1,"a":2}',
        '{"$":"tuple"}',
        '{"$":"tuple","v":{}}',
        '{"$":"tuple","v":[],"more":1}',
        '{"$":"deque","v":[1,2],"maxlen":1}',
        '{"$":"deque","v":[],"maxlen":-1}',
        '{"$":"deque","v":[],"maxlen":1%s}' % ("0" * 30),
        '{"$":"deque","v":[],"maxlen":true}',
        '{"$":"deque","v":[],"maxlen":0.0}',
        '{"$":"dict","v":[[[],1]]}',
        '{"$":"dict","v":[[{},1]]}',
        '{"$":"dict","v":[{"$":"tuple","v":[1,2]}]}',
        '{"$":"dict","v":[[{"$":"tuple","v":[[]]},1]]}',
        '{"$":"opaque","type":7}',
        '{"$":"object","type":"x"}',
        '{"$":1}',
        '{"$":[]}',
        "[" * 200_000,
        '{"a":' * 200_000,
        "1" * 5000,
        "9" * 400,
        "-" + "9" * 4300,
        str(2**1024),
        "\u00e9",
        '"\ud800"',
    ],
)
def test_what_the_encoder_would_not_write_is_refused(forged: str) -> None:
    with pytest.raises(WireError):
        decode(forged.encode("utf-8", "surrogatepass"))


@given(
    st.binary(max_size=400) | st.text(alphabet='{}[]:,"$vtupledqm0123456789.eE-+NaInfity', max_size=400).map(str.encode)
)
@settings(max_examples=500)
def test_no_bytes_raise_anything_but_a_wire_error(data: bytes) -> None:
    try:
        decode(data)
    except WireError:
        return
    assert json.loads(data) is not ...


MERSENNE = (1 << 61) - 1  # integers that differ by it have the same hash


def keyed(count: int, *filling: str) -> str:
    """A dict whose keys are tuples that begin alike and have the same hash."""
    keys = [f'{{"$":"tuple","v":[{",".join([*filling, str(MERSENNE * index)])}]}}' for index in range(count)]
    return f'{{"$":"dict","v":[{",".join(f"[{key},0]" for key in keys)}]}}'


OPAQUE = '{"$":"opaque","type":""}'


@pytest.mark.parametrize(
    "text",
    [
        ",".join(["[[1],[2]]"] * 20_000),
        ",".join(['{"a":{"b":[1]}}'] * 20_000),
        ",".join(["[]"] * 300_000),
        "".join(['"', "x" * (LIMIT - 10), '"']),
        '{"$":"dict","v":[' + ",".join(f"[{MERSENNE * index},0]" for index in range(1000)) + "]}",
        '{"$":"dict","v":[' + ",".join(f"[{MERSENNE * index},0]" for index in range(35_000)) + "]}",
        ",".join('{"$":"dict","v":[' + ",".join(f"[{MERSENNE * i},0]" for i in range(100)) + "]}" for _ in range(300)),
        '"' + ("9" * 299 + "x") * 3400 + '"',
        keyed(1000, *["0.5"] * 9),
        keyed(1000, *["0.5"] * 95),
        keyed(1000, *[OPAQUE] * 9),
        keyed(1000, *[OPAQUE] * 32),
    ],
    ids=[
        "lists",
        "dicts",
        "empty lists",
        "one text",
        "a thousand equal hashes",
        "35,000 of them",
        "in many dicts",
        "digits",
        "keys of 10 items",
        "keys of 96 items",
        "keys of 10 marks",
        "keys of 33 marks",
    ],
)
def test_the_largest_answers_are_decoded_or_refused_in_bounded_time(text: str) -> None:
    started = time.monotonic()
    with contextlib.suppress(WireError):
        decode(f"[{text}]".encode())
    assert time.monotonic() - started < 0.5


def test_a_text_met_often_is_too_large_before_it_is_written() -> None:
    text = "x" * 100_000
    values: list[Any] = [[text] * 10_000, [{text: 0}] * 10_000, {index: LyingString(text) for index in range(1000)}]
    for value in values:
        tracemalloc.start()
        try:
            with pytest.raises(TooLargeError):
                encode(value, max_bytes=LIMIT)
            assert tracemalloc.get_traced_memory()[1] < 16 << 20
        finally:
            tracemalloc.stop()


def test_too_many_values_are_too_large() -> None:
    assert len(round_trip(list(range(40_000)))) == 40_000
    assert len(round_trip(dict.fromkeys((ts, "tag", 0.5, None) for ts in range(1000)))) == 1000
    values: list[Any] = [
        [0] * 200_000, [[]] * 60_000, "," * 200_000, dict.fromkeys(range(2000)), {(0,) * 10_001: 0},
        {((0,) * 100, index): 0 for index in range(100)},
    ]  # fmt: skip
    for value in values:
        with pytest.raises(TooLargeError):
            encode(value, max_bytes=LIMIT)
