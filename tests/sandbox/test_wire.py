"""The codec: honest values round-trip, hostile ones become marks, hostile bytes are refused."""

import json
import math
import time
import tracemalloc
from collections import Counter, OrderedDict, UserDict, deque, namedtuple
from decimal import Decimal
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.sandbox.inside import wire
from service.sandbox.inside.wire import MAX_DEPTH, MAX_VALUES, Held, Opaque, TooLargeError, encode
from service.sandbox.process import _judged
from service.sandbox.reading import WireError, decode
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


@given(st.floats())
@example(math.nan)
@example(math.inf)
@example(-math.inf)
@example(-0.0)
@example(5e-324)
@example(2.225073858507201e-308)
@example(1e308)
@example(1.7976931348623157e308)
@example(9007199254740993.0)
def test_every_float_survives_to_its_last_bit(value: float) -> None:
    for back in (round_trip(value), round_trip([value])[0], round_trip([{"reading": value}, value, "\ud800"])[1]):
        assert type(back) is float
        assert repr(back) == repr(value)


@given(st.integers(0, 1024), st.integers(-2, 2), st.sampled_from([1, -1]))
@example(1024, -1, 1)
@example(1024, -1, -1)
@example(63, 0, 1)
@example(64, 0, -1)
def test_every_integer_in_the_range_of_a_float_survives(exponent: int, more: int, sign: int) -> None:
    value = sign * (2**exponent + more)
    expected = value if value.bit_length() <= 1024 else Opaque("int of 1025 bits")
    assert same(round_trip([value, [{"n": value}], [{"n": value}, {"n": (0,)}]])[:2], [expected, [{"n": expected}]])


@pytest.mark.parametrize("text", ["\ud800", "\udfff\ud800", "\x00", "a\x00b", "\x7f\x80\u2028\ufeff", '"\\/'])
def test_every_text_survives(text: str) -> None:
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    assert same(round_trip([text, [{text: text}], {text: 0, 1: text}]), [whole, [{whole: whole}], {whole: 0, 1: whole}])


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
        (HashedList([1]), Opaque("HashedList")),
        (HashedDict(a=1), Opaque("HashedDict")),
        (HashedDict({1: 1}), Opaque("HashedDict")),
        (HashedDeque([1]), Opaque("HashedDeque")),
        ((0, (HashedList([1]),)), (0, (Opaque("HashedList"),))),
    ],
)
def test_a_key_that_no_plain_dict_can_have_becomes_a_mark(key: Any, mark: Any) -> None:
    assert same(round_trip([{key: 1, "a": 2}]), [{mark: 1, "a": 2}])


def test_halves_of_a_character_come_back_as_the_character() -> None:
    halves, whole = "\ud83d\ude00", "\U0001f600"

    assert round_trip([halves, "\ude00\ud83d"]) == [whole, "\ude00\ud83d"]
    assert round_trip([{halves: 1}]) == [{whole: 1}]
    assert round_trip([{halves: 1, whole: 2}]) == [Opaque("keys that are one")]


class OwnHash(str):
    __slots__ = ()

    def __hash__(self) -> int:
        return 7


def test_a_second_key_of_the_same_text_spoils_its_dict() -> None:
    row = {"ts": 1, "reading": 1000.0, OwnHash("reading"): 10.0}
    assert len(row) == 3
    assert round_trip([row, {"ts": 2}]) == [Opaque("keys that are one"), {"ts": 2}]


def test_the_largest_integers_and_long_texts_of_digits_survive() -> None:
    value = [2**1024 - 1, 1 - 2**1024, "1" * 5000, 7]
    assert round_trip(value) == value


@pytest.mark.parametrize("before", range(30))
def test_an_integer_that_is_too_large_is_refused_wherever_it_stands(before: int) -> None:
    texts = f'["{"x" * before}",{"1" * 300},"{"9" * 999}"]'
    assert decode(f"[{texts},[]]".encode()) == ["x" * before, int("1" * 300), "9" * 999]
    with pytest.raises(WireError):
        decode(f'[["{"x" * before}",{"1" * 310}],[]]'.encode())


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
    back = round_trip(nested)
    for _ in range(MAX_DEPTH):
        (back,) = back
    assert back == Opaque("nested too deeply")


@pytest.mark.parametrize("depth", [MAX_DEPTH - 2, MAX_DEPTH - 1, MAX_DEPTH])
def test_rows_are_nested_as_deep_as_any_other_dict(depth: int) -> None:
    value: Any = [{"a": 1}]
    for _ in range(depth - 1):
        value = [value]
    back = round_trip(value)
    for _ in range(depth):
        (back,) = back
    assert back == ({"a": 1} if depth < MAX_DEPTH else Opaque("nested too deeply"))


@pytest.mark.timed
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


def nested_key(levels: int) -> str:
    marks = [["tuple", [0, 0, *[0] * level]] for level in reversed(range(levels))]
    return json.dumps([json.loads(f"[[{'[' * levels}{']' * levels},1]]"), [*marks, ["dict", []]]])


FORGED = {
    "empty": "",
    "nonsense": "nonsense",
    "cut": "[[1,",
    "surplus text": "[1,[]]x",
    "two answers": "[1,[]] [1,[]]",
    "a byte order mark": "\ufeff[1,[]]",
    "UTF-8": '["\u00e9",[]]',
    "no UTF-8": '["\ud800",[]]',
    "a control character": '["\x00",[]]',
    "an unknown escape": '["\\x41",[]]',
    "an escape cut": '["\\ud8",[]]',
    "no list": '{"a":[]}',
    "a text": '"ab"',
    "a number": "1",
    "nothing": "[]",
    "a value alone": "[1]",
    "marks that are null": "[1,null]",
    "marks that are a dict": '[[],{"tuple":[]}]',
    "more than marks": "[1,[],[]]",
    "a mark that is null": "[1,[null]]",
    "a mark that is a text": '[[],["tuple"]]',
    "a mark that is a dict": '[[],[{"0":"tuple","1":[]}]]',
    "a mark without a path": '[[],[["tuple"]]]',
    "a path that is null": '[[],[["tuple",null]]]',
    "a path that is a text": '[{"a":[]},[["tuple","a"]]]',
    "a path that is a dict": '[[],[["tuple",{}]]]',
    "a path that is a number": '[[[]],[["tuple",0]]]',
    "a path to nothing": '[[[]],[["tuple",[1]]]]',
    "a path to no key": '[{"a":[]},[["tuple",["b"]]]]',
    "a path past a leaf": '[[1],[["tuple",[0,0]]]]',
    "a path into a text": '[["abc"],[["opaque",[0,0],"x"]]]',
    "a path into null": '[null,[["opaque",["type_name"],"x"]]]',
    "a path into an opaque": '[null,[["opaque",[],"x"],["opaque",["type_name"],"x"]]]',
    "a path through a tuple": '[[[]],[["tuple",[]],["tuple",[0]]]]',
    "a path through a deque": '[[[]],[["deque",[],null],["tuple",[0]]]]',
    "a path through a dict's pairs": '[[[1,[]]],[["dict",[]],["tuple",[0,1]]]]',
    "a path to a key that is no text": '[[[1,[]]],[["dict",[]],["tuple",[1]]]]',
    "an index that is a bool": '[[0,[]],[["tuple",[true]]]]',
    "an index that is a float": '[[[]],[["tuple",[0.0]]]]',
    "an index that is a text": '[[[]],[["tuple",["0"]]]]',
    "an index that is null": '[[[]],[["tuple",[null]]]]',
    "an index that is a list": '[[[]],[["tuple",[[0]]]]]',
    "an index that is negative": '[[[]],[["tuple",[-1]]]]',
    "an index that is huge": f'[[[]],[["tuple",[{2**64}]]]]',
    "a key that is a number": '[{"0":[]},[["tuple",[0]]]]',
    "a path that is longer than anything is deep": f'[[],[["tuple",[{",".join(["0"] * 5000)}]]]]',
    "a hundred thousand marks": f"[[],[{','.join(['[]'] * 100_000)}]]",
    "marks on one thing": json.dumps([[[]], [["tuple", [0]]] * 20_000]),
    "an unknown kind": '[[],[["list",[]]]]',
    "a kind that is null": "[[],[[null,[]]]]",
    "a kind that is a list": "[[],[[[],[]]]]",
    "a tuple of a dict": '[{},[["tuple",[]]]]',
    "a tuple of a text": '["ab",[["tuple",[]]]]',
    "a tuple of null": '[null,[["tuple",[]]]]',
    "a tuple and more": '[[],[["tuple",[],1]]]',
    "a tuple twice": '[[],[["tuple",[]],["tuple",[]]]]',
    "a tuple within one that is there": '[[[]],[["tuple",[]],["tuple",[0]]]]',
    "a tuple and a deque": '[[],[["tuple",[]],["deque",[],null]]]',
    "a deque of a dict": '[{},[["deque",[],null]]]',
    "a deque of a text": '["ab",[["deque",[],null]]]',
    "a deque twice": '[[],[["deque",[],null],["deque",[],null]]]',
    "a deque and more": '[[],[["deque",[],null,null]]]',
    "a deque without maxlen": '[[],[["deque",[]]]]',
    "a maxlen that is too small": '[[1,2],[["deque",[],1]]]',
    "a maxlen that is negative": '[[],[["deque",[],-1]]]',
    "a maxlen that is huge": f'[[],[["deque",[],1{"0" * 30}]]]',
    "a maxlen that is a bool": '[[1],[["deque",[],true]]]',
    "a maxlen that is a float": '[[],[["deque",[],0.0]]]',
    "a maxlen that is a text": '[[],[["deque",[],"9"]]]',
    "a dict of a dict": '[{},[["dict",[]]]]',
    "a dict twice": '[[],[["dict",[]],["dict",[]]]]',
    "a dict and more": '[[],[["dict",[],1]]]',
    "a pair that is null": '[[null],[["dict",[]]]]',
    "a pair that is a text": '[["ab"],[["dict",[]]]]',
    "a pair that is a dict": '[[{"0":1,"1":2}],[["dict",[]]]]',
    "a pair that is a tuple": '[[[1,2]],[["tuple",[0]],["dict",[]]]]',
    "a pair of one": '[[[1]],[["dict",[]]]]',
    "a pair of three": '[[[1,2,3]],[["dict",[]]]]',
    "a key that is a list": '[[[[],1]],[["dict",[]]]]',
    "a key that is a dict": '[[[{},1]],[["dict",[]]]]',
    "a key that is a deque": '[[[[],1]],[["deque",[0,0],null],["dict",[]]]]',
    "a key that holds a list": '[[[[[]],1]],[["tuple",[0,0]],["dict",[]]]]',
    "a key that holds a dict": '[[[[[[]]],1]],[["dict",[0,0,0]],["tuple",[0,0]],["dict",[]]]]',
    "too many keys": f'[[{",".join(f"[{index},0]" for index in range(1001))}],[["dict",[]]]]',
    "too many items of keys": f'[[[[{",".join(["0"] * 10_001)}],0]],[["tuple",[0,0]],["dict",[]]]]',
    "an opaque of a value": '[1,[["opaque",[],"x"]]]',
    "an opaque of a list": '[[],[["opaque",[],"x"]]]',
    "an opaque of false": '[false,[["opaque",[],"x"]]]',
    "an opaque twice": '[null,[["opaque",[],"x"],["opaque",[],"x"]]]',
    "an opaque without a name": '[null,[["opaque",[]]]]',
    "an opaque with two": '[null,[["opaque",[],"x","y"]]]',
    "an opaque whose name is a number": '[null,[["opaque",[],7]]]',
    "a held of a list": '[[],[["held",[],"list",0]]]',
    "a held of another kind": '[null,[["held",[],"tuple",0]]]',
    "a held of a kind that is no text": '[null,[["held",[],["list"],0]]]',
    "a held of less than nothing": '[null,[["held",[],"list",-1]]]',
    "a held of a fraction": '[null,[["held",[],"list",1.0]]]',
    "a held of true": '[null,[["held",[],"list",true]]]',
    "a held without a length": '[null,[["held",[],"list"]]]',
    "a held with two": '[null,[["held",[],"list",1,2]]]',
    "a held as a key": '[[[null,1]],[["held",[0,0],"list",1],["dict",[]]]]',
    "a deep list": "[" * 90_000,
    "a deep list that ends": f"[{'[' * 300}{']' * 300},[]]",
    "a deep list after a surrogate": f'[["\\ud800",{"[" * 300}{"]" * 300}],[]]',
    "a deep list after a long number": f"[[{'1' * 300},{'[' * 300}{']' * 300}],[]]",
    "a deep dict": '{"a":' * 90_000,
    "a deep key": nested_key(400),
    "a deep mark": f"[1,[{'[' * 300}{']' * 300}]]",
    "a number of 5000 digits": f"[{'1' * 5000},[]]",
    "a number of 4300 digits": f"[-{'9' * 4300},[]]",
    "a number of 400 digits": f"[{'9' * 400},[]]",
    "a number of 1025 bits": f"[{2**1024},[]]",
    "a number of 1025 bits in a path": f'[[],[["tuple",[{2**1024}]]]]',
    "a leading zero": "[01,[]]",
    "a plus": "[+1,[]]",
    "no digits": "[.5,[]]",
    "no fraction": "[1.,[]]",
    "no exponent": "[1e,[]]",
    "minus nothing": "[-,[]]",
    "minus NaN": "[-NaN,[]]",
    "nan": "[nan,[]]",
    "inf": "[inf,[]]",
    "Infinit": "[Infinit,[]]",
    "hexadecimal": "[0x10,[]]",
    "a comma too many": "[[1,],[]]",
    "a comment": "[1/**/,[]]",
    "another space": "[1,\xa0[]]",
    "a form feed": "[1,\x0c[]]",
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
def test_what_the_encoder_would_not_write_is_refused(forged: str) -> None:
    with pytest.raises(WireError):
        decode(forged.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (' [ [ ] ,\t[ [ "tuple" , [ ] ] ] ]\r\n', ()),
        ('["\\u0061\\/",[]]', "a/"),
        ('["\\uD83D\\uDE00",[]]', "\U0001f600"),
        ('[["\\uD83D","\\\\ud83d","\\\\\\ud83d"],[]]', ["\ud83d", "\\ud83d", "\\\ud83d"]),
        ('["\x7f",[]]', "\x7f"),
        ('[{"a":1,"b":2,"a":3},[]]', {"a": 3, "b": 2}),
        ('[["\\ud800",{"a":1,"b":2,"a":3}],[]]', ["\ud800", {"a": 3, "b": 2}]),
        ('[[["a",1],["b",2],["a",3]],[["dict",[]]]]', Opaque("keys that are one")),
        ('[[[1,0],[true,1],[1.0,2]],[["dict",[]]]]', Opaque("keys that are one")),
        ('[[["a",[]]],[["dict",[]],["tuple",["a"]]]]', {"a": ()}),
        ("[[1e999,-1E+999,1e-999,-1e-999,0E0],[]]", [math.inf, -math.inf, 0.0, -0.0, 0.0]),
        ("[[-0,-0.0,1E2],[]]", [0, -0.0, 100.0]),
        ('[["$"],[["deque",[],9223372036854775807]]]', deque(["$"], 2**63 - 1)),
        ('[{"$":"tuple","v":[1]},[]]', {"$": "tuple", "v": [1]}),
        ('[null,[["opaque",[],"' + "\\u00e9" * 300 + '"]]]', Opaque("é" * 200)),
        (nested_key(60), None),
    ],
)  # fmt: skip
def test_what_the_encoder_would_write_in_other_words_has_one_meaning(text: str, value: Any) -> None:
    back = decode(text.encode())
    assert value is None or same(back, value)


def test_every_nan_is_a_key_of_its_own() -> None:
    for text in ("a", "\ud800"):
        back = round_trip({math.nan: 1, -math.nan: 2, float("nan"): 3, 0: text})
        assert [*back.values()] == [1, 2, 3, text]


@given(
    st.binary(max_size=400) | st.text(alphabet='{}[]:,"tupledqm0123456789.eE-+NaInfity\\', max_size=400).map(str.encode)
)
@settings(max_examples=500)
def test_no_bytes_raise_anything_but_a_wire_error(data: bytes) -> None:
    for payload in (data, b"[%b,[]]" % data, b'[[[]],[["tuple",[%b]]]]' % data):
        try:
            decode(payload)
        except WireError:
            continue
        assert json.loads(payload) is not ...


@pytest.mark.parametrize("line", ["true", "0", "-1", "1000000", "1.0", '"1"', "null", "[1]"])
def test_a_line_is_a_number_of_a_line(line: str) -> None:
    assert _judged(f'[{{"status":"error","error":"x","line":{line}}},[]]'.encode()).line is None
    assert _judged(b'[{"status":"error","error":"x","line":999999},[]]').line == 999_999


def assert_too_large_at_little_cost(value: Any) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError):
            encode(value, max_bytes=LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_text_met_often_is_too_large_before_it_is_written() -> None:
    text = "x" * 100_000
    values: list[Any] = [[text] * 10_000, [{"a": text}] * 10_000, {index: LyingString(text) for index in range(1000)}]
    for value in values:
        assert_too_large_at_little_cost(value)


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


# Rows, which are taken in bulk


class Text(str):
    __slots__ = ()


class Dict(dict[Any, Any]):
    pass


class HostileText(str):
    __slots__ = ()
    armed = False

    def __hash__(self) -> int:
        assert not HostileText.armed
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        assert not HostileText.armed
        return str.__eq__(self, other)

    def __len__(self) -> int:
        raise AssertionError


class HostileKey:
    __slots__ = ()
    armed = False

    def __hash__(self) -> int:
        assert not HostileKey.armed
        return hash("reading")

    def __eq__(self, other: object) -> bool:
        assert not HostileKey.armed
        return self is other


def rows(count: int = 20, **more: Any) -> list[Any]:
    return [{"ts": index, "reading": index / 7, "tag": "core", **more} for index in range(count)]


ODD_ROWS: dict[str, Any] = {
    "nothing odd": {"ts": 1},
    "no row": {},
    "a leaf": 7,
    "a text": "row",
    "a list": [1],
    "a tuple": (1,),
    "a dict subclass": Dict(ts=1),
    "an ordered dict": OrderedDict(ts=1),
    "a reading of a bool": {"reading": True},
    "a reading of a bool's subclass": {"reading": Colour.RED},
    "a reading of a text's subclass": {"reading": Text("7.2")},
    "a reading of a float's subclass": {"reading": LyingFloat(7.2)},
    "a reading of a hostile type": {"reading": FloatLikeFloat(7.2)},
    "a reading of another hostile type": {"reading": Hashless()},
    "a reading that is a decimal": {"reading": Decimal(1)},
    "a reading that is null": {"reading": None},
    "a reading that is NaN": {"reading": math.inf},
    "a large integer": {"reading": 2**1024 - 1},
    "an integer that is too large": {"reading": 2**1024},
    "a negative integer that is too large": {"reading": -(10**309)},
    "an integer of more digits than Python writes": {"reading": 10**5000},
    "a text of digits": {"tag": "1" * 400},
    "a text with commas": {"tag": ",[{" * 40},
    "a text of a surrogate": {"tag": "\ud800"},
    "a text of halves": {"tag": "\ud83d\ude00"},
    "a text of NUL": {"tag": "\x00"},
    "a list within": {"reading": [1]},
    "a tuple within": {"reading": (1, {"a": (2,)})},
    "an empty list within": {"reading": []},
    "an empty dict within": {"reading": {}},
    "a key that is not ASCII": {"Ωé\U0001f600": 1},
    "a key of a surrogate": {"\ud800": 1},
    "a key of halves": {"\ud83d\ude00": 1},
    "an empty key": {"": 1},
    "a key with quotes": {'"\\\n': 1},
    "a long key": {"k" * 1000: 1},
    "two hundred keys": dict.fromkeys(map(str, range(200)), 1),
    "a key that is a number": {1: 1},
    "a key that is a bool": {True: 1, "ts": 2},
    "a key that is null": {None: 1},
    "a key that is a tuple": {(1, "a"): 1},
    "a key that is a text's subclass": {Text("ts"): 1},
    "a key that is a hostile text": {HostileText("ts"): 1},
    "a key that is hostile": {HostileKey(): 1, "reading": 2},
}


@pytest.mark.parametrize("at", [0, 11, 19])
@pytest.mark.parametrize("odd", ODD_ROWS.values(), ids=ODD_ROWS.keys())
def test_one_odd_row_among_many_changes_only_how_they_are_taken(
    odd: Any, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    value: list[Any] = rows()
    value[at] = odd
    answer = {"clean": value, "buffer": deque([*value, odd], 240), "alone": [odd]}
    monkeypatch.setattr(HostileText, "armed", True)
    monkeypatch.setattr(HostileKey, "armed", True)
    encoded = encode(answer, max_bytes=LIMIT)
    assert encoded == wire._text(answer, LIMIT, MAX_VALUES, in_bulk=False)
    back = decode(encoded)
    monkeypatch.undo()
    expected = round_trip([odd])[0]
    clean = [*rows()[:at], expected, *rows()[at + 1 :]]
    assert same(back, {"clean": clean, "buffer": deque([*clean, expected], 240), "alone": [expected]})


leaves = st.none() | st.booleans() | st.integers(-(2**1030), 2**1030) | st.floats() | st.text() | st.just(Text("a"))
names = (
    st.sampled_from(["ts", "reading", "tag", "Ω", "\ud800", "\ud83d\ude00"]) | st.text(max_size=3) | st.integers(0, 3)
)
bulks = st.lists(st.dictionaries(names, leaves, max_size=4) | leaves, max_size=6) | st.lists(
    st.dictionaries(st.sampled_from(["ts", "reading", "tag"]), leaves, max_size=3), max_size=6
)


@given(bulks, bulks, st.sampled_from([40, 60, 100, 200, LIMIT]), st.sampled_from([5, 10, 20, 40, MAX_VALUES]))
@settings(max_examples=300)
def test_rows_are_taken_in_bulk_with_the_outcome_of_one_by_one(
    one: list[Any], other: list[Any], max_bytes: int, max_values: int
) -> None:
    for value in (one, [one, other], {"clean": one, "state": {"buffer": deque(other), "t": tuple(other)}}):
        outcomes = []
        for write in (encode, one_by_one):
            try:
                outcomes.append(write(value, max_bytes=max_bytes, max_values=max_values))
            except TooLargeError:
                outcomes.append(b"")
        assert outcomes[0] == outcomes[1]


def one_by_one(value: Any, *, max_bytes: int, max_values: int) -> bytes:
    text = wire._text(value, max_bytes, max_values, in_bulk=False)
    if len(text) > max_bytes or wire.values_at_most(text) > max_values:
        raise TooLargeError
    return text


@pytest.mark.parametrize("count", [0, 3, 300, 1_000_000])
@pytest.mark.parametrize("base", [list, deque, LyingList])
def test_lists_and_deques_of_a_measured_dict_come_by_their_length(base: Any, count: int) -> None:
    state = {"buffer": base([{"ts": 1}] * count), "seen": 1, "nested": {"buffer": [1, 2]}, "pair": (1, [2])}
    answer = {"returned": {"clean": [{"ts": 0}], "state": state}}
    back = decode(encode(answer, max_bytes=1000, measured=[state]))
    held = Held("deque" if base is deque else "list", count)
    assert same(back, {"returned": {"clean": [{"ts": 0}], "state": {**state, "buffer": held}}})


def test_of_a_measured_dict_with_odd_keys_lists_come_whole() -> None:
    state = {1: [1, 2], "buffer": [3]}
    assert same(decode(encode([state], max_bytes=LIMIT, measured=[state])), [state])


def test_honest_rows_are_taken_in_bulk() -> None:
    walk = wire._Walk(MAX_VALUES, LIMIT, in_bulk=True)
    clean = rows(60)
    assert walk.plain(clean, ()) == [["ts", "reading", "tag"], *zip(*(row.values() for row in clean), strict=True)]
    assert walk.marks == [["rows", ()]]


def test_a_long_name_of_many_rows_is_written_once() -> None:
    value = [{"x" * (LIMIT // 2): index} for index in range(1000)]
    assert round_trip(value) == value


def test_names_of_which_one_is_long_do_not_use_up_the_room_for_texts() -> None:
    value = [[*({"a": 0} for _ in range(12_000)), {"k" * 80: 0}], "x" * 200_000]
    assert round_trip(value) == value


def test_rows_that_share_a_large_text_are_too_large_before_they_are_written() -> None:
    text = "x" * (LIMIT // 40)
    assert round_trip(rows(30, tag=text)) == rows(30, tag=text)
    for value in (rows(50, tag=text), rows(10_000, tag=text)):
        assert_too_large_at_little_cost(value)


def test_rows_that_are_too_many_are_too_large_before_they_are_looked_at() -> None:
    for value in (rows(1) * 1_000_000, [0.5] * 1_000_000, [rows(1)[0]] * 90_000, [dict.fromkeys("abcdefgh")] * 20_000):
        tracemalloc.start()
        started = time.thread_time()
        try:
            with pytest.raises(TooLargeError):
                encode(value, max_bytes=LIMIT)
            assert tracemalloc.get_traced_memory()[1] < 48 << 20
        finally:
            tracemalloc.stop()
        assert time.thread_time() - started < 1


def test_a_long_name_on_the_path_of_many_marks_is_too_large_before_it_is_written() -> None:
    value = {"x" * 10_000: [(1,)] * 10_000}
    assert_too_large_at_little_cost(value)
