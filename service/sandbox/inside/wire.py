"""What a child answers, as bytes: JSON text of a value and of the marks on it, in length-prefixed frames.

The text is ``[value, marks]``. The value is plain JSON; where a value of Python is none, a substitute stands in its
place and a mark says so, ``[kind, path, …]``, the path being the keys and indices that lead there. Marks on what lies
within a value come before the mark on the value itself.

==========  =====================  ==========  ==================================================
kind        substitute             further     decodes to
==========  =====================  ==========  ==================================================
``tuple``   items                              ``tuple``
``deque``   items                  maxlen      ``collections.deque``
``rows``    keys, then for each                ``list`` of ``dict``, all with these keys
            its values in turn
``dict``    ``[key, value]`` pairs             ``dict`` whose keys are not all plain strings, or `Opaque` where
                                               a key comes twice
``opaque``  null                   type name   `Opaque`, which no check accepts
``held``    null                   kind and    `Held`, a list or deque of which only the length was asked
                                   length
==========  =====================  ==========  ==================================================

Two lone surrogates that would make a character come back as that character, as JSON has it.

`encode` runs beside hostile code and is only a convenience for honest code: a child may send any bytes. All trust
rests on who decodes them, outside.
"""

import json
import re
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from json.encoder import encode_basestring_ascii
from operator import is_
from typing import Any

__all__ = ["NONCE_BYTES", "Held", "Opaque", "TooLargeError", "encode", "frame", "has_long_number", "values_at_most"]

NONCE_BYTES = 16
MAX_DEPTH = 64
MAX_VALUES = 100_000
MAX_ODD_KEYS = 1000  # hashes of texts are salted; those of numbers collide at will, and a dict of them is quadratic
MAX_KEY_ITEMS = 10_000  # of all keys that are tuples: two whose hashes collide are compared item by item
MAX_INT_BITS = 1024  # the range of a float: a larger integer is no finite reading for any check

_WORDS = {None: "null", True: "true", False: "false"}
_SHORT_ITEMS, _SHORT_CHARS = 8, 1000
_BULK_ITEMS = 8  # from this many on, values that JSON has are not looked at one by one
_HALVES = re.compile("[\ud800-\udbff][\udc00-\udfff]")  # come back as the one character they stand for
_SPARSE_NUMBER = re.compile(rb"[0-9]{10}")
_LONG_NUMBER = re.compile(rb"(?<![0-9])[0-9]{300}")
# Types are told apart by identity: a metaclass may override hash and equality.
_LEAVES = frozenset(map(id, (float, bool, type(None))))
_STR, _INT, _DICT = map(id, (str, int, dict))
_BULK = _LEAVES | {_STR, _INT}
_dumps = json.JSONEncoder(ensure_ascii=True, check_circular=False, separators=(",", ":")).encode

_Path = tuple[Any, ...]
_Dicts = Collection[dict[Any, Any]]


class TooLargeError(ValueError):
    """The value does not fit the limit of bytes or values."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """Stands for a value that cannot be sent as plain data; equal to no reading, row, state or telemetry.

    Attributes:
        type_name: name of the value's type, or why it was not sent.
    """

    type_name: str


@dataclass(frozen=True, slots=True)
class Held:
    """Stands for a list or deque of which nobody asked more than how much it holds.

    Attributes:
        kind: ``list`` or ``deque``.
        length: number of items.
    """

    kind: str
    length: int


def frame(payload: bytes) -> bytes:
    """Prefixes a payload with its length, four bytes, big-endian."""
    return len(payload).to_bytes(4, "big") + payload


def encode(value: Any, *, max_bytes: int, max_values: int = MAX_VALUES, measured: _Dicts = ()) -> bytes:
    """Writes a value as text, reading subclasses of the builtin types by their base's own methods.

    Args:
        value: anything; what is not plain data becomes an `Opaque` mark, as do cycles and what the text holds more than
            64 deep.
        max_bytes: limit on the encoded size.
        max_values: limit on the number of values, and on what a reader must take for one: commas within texts.
        measured: dicts within the value whose own lists and deques are only measured: a `Held` mark for each.

    Raises:
        TooLargeError: the value does not fit.
    """
    if (short := _short_text(value)) is not None and len(short) <= max_bytes:
        return short
    try:
        encoded = _text(value, max_bytes, max_values, measured, in_bulk=True)
        looks_large = has_long_number(encoded)  # among values taken in bulk, perhaps
    except ValueError:  # an integer of more digits than Python writes, or texts that were counted too generously
        looks_large = True
    if looks_large:
        encoded = _text(value, max_bytes, max_values, measured, in_bulk=False)
    if len(encoded) > max_bytes:
        raise TooLargeError(f"{len(encoded)} bytes encoded, {max_bytes} allowed")
    if values_at_most(encoded) > max_values:
        raise TooLargeError(f"more than {max_values} values")
    return encoded


def values_at_most(payload: bytes) -> int:
    """An upper bound of the number of values in JSON text, found without parsing."""
    return payload.count(b",") + payload.count(b"[") + payload.count(b"{")


def has_long_number(payload: bytes) -> bool:
    """Whether there may be an integer that is too large: looking at every one would cost.

    A run of 300 digits has ten at every 29th place; where they are, it is looked for where digits begin: looking
    from each digit of runs that are a little shorter would take long.
    """
    return bool(_SPARSE_NUMBER.search(payload[::29]) and _LONG_NUMBER.search(payload))


def _short_text(value: Any) -> bytes | None:
    """The text of a flat dict as most answers are: in a fresh process, the JSON encoder costs more than it does."""
    if type(value) is not dict or len(value) > _SHORT_ITEMS:
        return None
    members = []
    for key, item in value.items():
        if type(item) is str and len(item) <= _SHORT_CHARS:
            text = encode_basestring_ascii(item)
        elif item is None or item is True or item is False:
            text = _WORDS[item]
        else:
            return None
        if type(key) is not str or not key.isidentifier() or not key.isascii():
            return None
        members.append(f'"{key}":{text}')
    return f"[{{{','.join(members)}}},[]]".encode("ascii")


def _text(value: Any, max_bytes: int, max_values: int, measured: _Dicts = (), *, in_bulk: bool) -> bytes:
    walk = _Walk(max_values, max_bytes, measured, in_bulk=in_bulk)
    return _dumps([walk.plain(value, ()), walk.marks]).encode("ascii")


class _Walk:
    """One walk from a Python value to what the JSON encoder takes as it is, noting the marks."""

    def __init__(self, max_values: int, max_chars: int, measured: _Dicts = (), *, in_bulk: bool) -> None:
        self.marks: list[list[Any]] = []
        self._in_bulk = in_bulk
        self._values_left = max_values
        self._chars_left = max_chars  # of texts, each as often as it is met: one that is met often is written often
        self._odd_keys_left = MAX_ODD_KEYS
        self._key_items_left = MAX_KEY_ITEMS
        self._measured = set(map(id, measured))
        self._open: set[int] = set()  # containers on the path from the root: finding one again is a cycle

    def plain(self, value: Any, path: _Path) -> Any:
        kind = type(value)
        if id(kind) in _LEAVES:
            return value
        if issubclass(kind, str):
            return self._string(str.__str__(value))
        if issubclass(kind, (dict, list, tuple, deque)):
            return self._container(value, kind, path)
        return self._scalar(value, kind, path)

    def _container(self, value: Any, kind: type, path: _Path) -> Any:
        if len(path) >= MAX_DEPTH or id(value) in self._open:
            return self._opaque("nested too deeply" if len(path) >= MAX_DEPTH else "cycle", path)
        self._open.add(id(value))
        try:
            if issubclass(kind, dict):
                return self._dict(value, path)
            if issubclass(kind, list):
                return self._items([*list.__iter__(value)], path)
            if issubclass(kind, tuple):
                return self._marked("tuple", path, self._items([*tuple.__iter__(value)], path))
            items = self._items([*deque.__iter__(value)], path)
            return self._marked("deque", path, items, deque.maxlen.__get__(value))
        finally:
            self._open.discard(id(value))

    def _items(self, items: list[Any], path: _Path) -> list[Any]:
        self._count(len(items))
        if self._in_bulk and len(items) >= _BULK_ITEMS:
            kinds = _kinds(items)
            if kinds <= _BULK and self._affords(items, kinds):
                return items
            if kinds == {_DICT} and len(path) + 1 < MAX_DEPTH and (columns := self._columns(items)) is not None:
                self._marked("rows", path, columns)
                return columns
        return [self.plain(item, (*path, index)) for index, item in enumerate(items)]

    def _columns(self, rows: list[dict[Any, Any]]) -> list[Any] | None:
        """The common keys of rows, and the values of each in turn, if the JSON encoder takes them as they are."""
        keys = [*rows[0]]
        if not keys or not _are_plain(keys) or not _are_keys_of_all(keys, rows):
            return None
        self._count(len(rows) * len(keys))
        columns = [*zip(*map(dict.values, rows), strict=True)]
        if all((kinds := _kinds(column)) <= _BULK and self._affords(column, kinds) for column in columns):
            return [keys, *columns]
        return None

    def _affords(self, values: Sequence[Any], kinds: set[int]) -> bool:
        texts = (
            values if kinds == {_STR} else [value for value in values if type(value) is str] if _STR in kinds else ()
        )
        self._count(0, sum(map(len, texts)))
        return True

    def _dict(self, value: dict[Any, Any], path: _Path) -> Any:
        keys = [*dict.__iter__(value)]
        if not _are_plain(keys):
            return self._marked("dict", path, self._pairs(value, path))
        self._count(len(keys), sum(map(len, keys)))
        within = self._length if id(value) in self._measured else self.plain
        return {key: within(item, (*path, key)) for key, item in dict.items(value)}

    def _length(self, value: Any, path: _Path) -> Any:
        """A list or deque by its length alone."""
        for base in (list, deque):
            if issubclass(type(value), base):
                return self.plain(Held(base.__name__, base.__len__(value)), path)
        return self.plain(value, path)

    def _pairs(self, value: dict[Any, Any], path: _Path) -> list[Any]:
        pairs = []
        self._odd_keys_left -= dict.__len__(value)
        if self._odd_keys_left < 0:
            raise TooLargeError(f"more than {MAX_ODD_KEYS} keys of dicts whose keys are not all texts")
        for index, (key, item) in enumerate(dict.items(value)):
            self._count(1)
            pairs.append([self._key(key, (*path, index, 0)), self.plain(item, (*path, index, 1))])
        return pairs

    def _key(self, key: Any, path: _Path) -> Any:
        if issubclass(type(key), tuple):
            items = [*tuple.__iter__(key)]
            self._key_items_left -= len(items)
            if self._key_items_left < 0:
                raise TooLargeError(f"more than {MAX_KEY_ITEMS} items of tuples that are keys")
            self._count(len(items))
            if len(path) >= MAX_DEPTH:
                return self._opaque("nested too deeply", path)
            return self._marked("tuple", path, [self._key(item, (*path, at)) for at, item in enumerate(items)])
        if issubclass(type(key), (dict, list, deque)):  # a subclass may have a hash, its base has none
            return self._opaque(_name_of(type(key)), path)
        return self.plain(key, path)

    def _scalar(self, value: Any, kind: type, path: _Path) -> Any:
        if kind is Opaque and type(name := getattr(value, "type_name", None)) is str:
            return self._opaque(name, path)
        if kind is Held:
            return self._marked("held", path, None, value.kind, value.length)
        if issubclass(kind, int):
            number = value if kind is int else int.__int__(value)
            bits = number.bit_length()
            return number if bits <= MAX_INT_BITS else self._opaque(f"int of {bits} bits", path)
        if issubclass(kind, float):
            return float.__float__(value)
        return self._opaque(_name_of(kind), path)

    def _string(self, text: str) -> str:
        self._count(0, len(text))
        return text

    def _opaque(self, type_name: str, path: _Path) -> None:
        self._marked("opaque", path, None, type_name[:200])

    def _marked(self, kind: str, path: _Path, substitute: Any, *further: Any) -> Any:
        self._count(3 + len(path), sum([len(step) for step in path if type(step) is str]))
        self.marks.append([kind, path, *further])
        return substitute

    def _count(self, values: int, chars: int = 0) -> None:
        self._values_left -= values
        self._chars_left -= chars
        if self._values_left < 0 or self._chars_left < 0:
            raise TooLargeError("too many values" if self._values_left < 0 else "too much text")


def _are_plain(keys: Iterable[Any]) -> bool:
    return all(type(key) is str and (key.isascii() or _HALVES.search(key) is None) for key in keys)


def _are_keys_of_all(keys: list[str], rows: list[dict[Any, Any]]) -> bool:
    """Whether all rows have these keys, in this order: found without hashing or comparing one, which may run code."""
    try:
        names = map("\0".join, rows)
        return all(map("\0".join(keys).__eq__, names)) and all(map(len(keys).__eq__, map(len, rows)))
    except TypeError:
        return False


def _kinds(values: Sequence[Any]) -> set[int]:
    first = type(values[0])
    if all(map(is_, map(type, values), repeat(first))):
        return {id(first)}
    return set(map(id, map(type, values)))


def _name_of(kind: type) -> str:
    return str.__str__(type.__dict__["__name__"].__get__(kind))
