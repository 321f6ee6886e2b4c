"""The codec between supervisor and child: JSON text with marks for what JSON lacks, in length-prefixed frames.

Plain JSON values stand for themselves. Everything else is an object with the reserved key ``"$"``:

=========  ==========================================  =====================================
mark       members                                     decodes to
=========  ==========================================  =====================================
tuple      ``v``: items                                ``tuple``
deque      ``v``: items, ``maxlen``: int or null       ``collections.deque``
dict       ``v``: ``[key, value]`` pairs               ``dict`` whose keys are not all plain strings
opaque     ``type``: str                               `Opaque`, which no check accepts
=========  ==========================================  =====================================

Two lone surrogates that would make a character come back as that character, as JSON has it.

`encode` runs beside hostile code and is only a convenience for honest code: a child may send any bytes. All
trust rests on `decode`, which builds exact builtin types and refuses whatever `encode` would not have written.
"""

import json
import re
from collections import deque
from dataclasses import dataclass
from typing import Any

__all__ = ["NONCE_BYTES", "Opaque", "TooLargeError", "WireError", "decode", "encode", "frame"]

NONCE_BYTES = 16
MAX_DEPTH = 64
MAX_VALUES = 100_000  # of an answer; a message may carry a source that is all commas
MAX_ODD_KEYS = 1000  # hashes of texts are salted; those of numbers collide at will, and a dict of them is quadratic
MAX_KEY_ITEMS = 10_000  # of all keys that are tuples: two whose hashes collide are compared item by item
MAX_INT_BITS = 1024  # the range of a float: a larger integer is no finite reading for any check

_MARK = "$"
_HALVES = re.compile("[\ud800-\udbff][\udc00-\udfff]")  # come back as the one character they stand for
_LEAVES = frozenset(map(id, (float, bool, type(None))))  # by identity: a metaclass may override hash and equality
_dumps = json.JSONEncoder(ensure_ascii=True, check_circular=False, separators=(",", ":")).encode


class WireError(ValueError):
    """The bytes are not what `encode` writes."""


class TooLargeError(ValueError):
    """The value does not fit the limit of bytes or nodes."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """Stands for a value that cannot be sent as plain data; equal to no reading, row, state or telemetry.

    Attributes:
        type_name: name of the value's type, or why it was not sent.
    """

    type_name: str


def frame(payload: bytes) -> bytes:
    """Prefixes a payload with its length, four bytes, big-endian."""
    return len(payload).to_bytes(4, "big") + payload


def encode(value: Any, *, max_bytes: int, max_values: int = MAX_VALUES) -> bytes:
    """Writes a value as text, reading subclasses of the builtin types by their base's own methods.

    Args:
        value: anything; what is not plain data becomes an `Opaque` mark, as do cycles and nesting beyond 64.
        max_bytes: limit on the encoded size.
        max_values: limit on the number of values, and on what `decode` must take for one: commas within texts.

    Raises:
        TooLargeError: the value does not fit.
    """
    encoded = _dumps(_Plain(max_values, max_bytes).convert(value, 0)).encode("ascii")
    if len(encoded) > max_bytes:
        raise TooLargeError(f"{len(encoded)} bytes encoded, {max_bytes} allowed")
    if _values_at_most(encoded) > max_values:
        raise TooLargeError(f"more than {max_values} values")
    return encoded


class _Plain:
    """One walk from a Python value to what the JSON encoder takes as it is."""

    def __init__(self, max_values: int, max_chars: int) -> None:
        self._values_left = max_values
        self._chars_left = max_chars  # of texts, each as often as it is met: one that is met often is written often
        self._odd_keys_left = MAX_ODD_KEYS
        self._key_items_left = MAX_KEY_ITEMS
        self._open: set[int] = set()  # containers on the path from the root: finding one again is a cycle

    def convert(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if id(kind) in _LEAVES:
            return value
        if issubclass(kind, str):
            return self._text(str.__str__(value))
        if issubclass(kind, (dict, list, tuple, deque)):
            return self._container(value, kind, depth)
        return _scalar(value, kind)

    def _container(self, value: Any, kind: type, depth: int) -> Any:
        if depth >= MAX_DEPTH or id(value) in self._open:
            return _opaque("nested too deeply" if depth >= MAX_DEPTH else "cycle")
        self._open.add(id(value))
        try:
            if issubclass(kind, dict):
                return self._dict(value, depth + 1)
            if issubclass(kind, list):
                return self._items(list.__iter__(value), depth + 1)
            if issubclass(kind, tuple):
                return {_MARK: "tuple", "v": self._items(tuple.__iter__(value), depth + 1)}
            items = self._items(deque.__iter__(value), depth + 1)
            return {_MARK: "deque", "maxlen": deque.maxlen.__get__(value), "v": items}
        finally:
            self._open.discard(id(value))

    def _items(self, items: Any, depth: int) -> list[Any]:
        out = []
        for item in items:
            kind = type(item)
            self._count(len(item) if kind is str else 0)
            out.append(item if kind is str or id(kind) in _LEAVES else self.convert(item, depth))
        return out

    def _dict(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        out = {}
        for key, item in dict.items(value):
            if type(key) is not str or key == _MARK or not (key.isascii() or _HALVES.search(key) is None):
                return self._pairs(value, depth)
            kind = type(item)
            self._count(len(key) + len(item) if kind is str else len(key))
            out[key] = item if kind is str or id(kind) in _LEAVES else self.convert(item, depth)
        return out

    def _pairs(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        pairs = []
        self._odd_keys_left -= dict.__len__(value)
        if self._odd_keys_left < 0:
            raise TooLargeError(f"more than {MAX_ODD_KEYS} keys of dicts whose keys are not all texts")
        for key, item in dict.items(value):
            self._count()
            pairs.append([self._key(key, depth), self.convert(item, depth)])
        return {_MARK: "dict", "v": pairs}

    def _key(self, key: Any, depth: int) -> Any:
        values_left = self._values_left
        converted = _hashable(self.convert(key, depth))
        self._key_items_left -= values_left - self._values_left
        if self._key_items_left < 0:
            raise TooLargeError(f"more than {MAX_KEY_ITEMS} items of tuples that are keys")
        return converted

    def _text(self, text: str) -> str:
        self._chars_left -= len(text)
        if self._chars_left < 0:
            raise TooLargeError("too much text")
        return text

    def _count(self, chars: int = 0) -> None:
        self._values_left -= 1
        self._chars_left -= chars
        if self._values_left < 0 or self._chars_left < 0:
            raise TooLargeError("too many values" if self._values_left < 0 else "too much text")


def _hashable(key: Any) -> Any:
    """A converted key as `decode` takes it: a subclass of list, dict or deque may be one, its base may not."""
    if type(key) is list:
        return _opaque("list")
    if type(key) is not dict or key.get(_MARK) == "opaque":
        return key
    if key.get(_MARK) == "tuple":
        return {_MARK: "tuple", "v": [_hashable(item) for item in key["v"]]}
    return _opaque("deque" if key.get(_MARK) == "deque" else "dict")


def _scalar(value: Any, kind: type) -> Any:
    if kind is Opaque and type(name := getattr(value, "type_name", None)) is str:
        return _opaque(name)
    if issubclass(kind, int):
        number = value if kind is int else int.__int__(value)
        return number if number.bit_length() <= MAX_INT_BITS else _opaque(f"int of {number.bit_length()} bits")
    if issubclass(kind, float):
        return float.__float__(value)
    return _opaque(str.__str__(type.__dict__["__name__"].__get__(kind)))


def _opaque(type_name: str) -> dict[str, str]:
    return {_MARK: "opaque", "type": type_name[:200]}


def decode(payload: bytes, *, max_values: int = MAX_VALUES) -> Any:
    """Reads a payload into exact builtin types and `Opaque`, or refuses it.

    Args:
        payload: at most the caller's limit of bytes.
        max_values: limit on the number of values; with the payload's length it bounds time and memory.

    Raises:
        WireError: not what `encode` writes (malformed, forged marks, duplicate keys, too deep, too long numbers).
    """
    if _values_at_most(payload) > max_values:
        raise WireError("too many values")
    parse_int = _short_int if _has_long_number(payload) else None
    try:
        return json.JSONDecoder(object_pairs_hook=_Reader().object, parse_int=parse_int).decode(payload.decode("ascii"))
    except WireError:
        raise
    except RecursionError:
        raise WireError("nested too deeply") from None
    except Exception as error:  # whatever it is that hostile bytes can make a constructor raise
        raise WireError(f"malformed: {type(error).__name__}") from None


class _Reader:
    """One payload's marks, back into values."""

    def __init__(self) -> None:
        self._odd_keys = 0
        self._key_items = 0
        self._opaques: dict[str, Opaque] = {}  # one for each name: they stand in keys, and comparing two takes long

    def object(self, pairs: list[tuple[str, Any]]) -> Any:
        plain = dict(pairs)
        if len(plain) != len(pairs):
            raise WireError("duplicate key")
        return self._marked(plain) if _MARK in plain else plain

    def _marked(self, members: dict[str, Any]) -> Any:
        match members:
            case {"$": "tuple", "v": list(items), **rest} if not rest:
                return tuple(items)
            case {"$": "deque", "v": list(items), "maxlen": None, **rest} if not rest:
                return deque(items)
            case {"$": "deque", "v": list(items), "maxlen": maxlen, **rest} if not rest and _is_room(
                maxlen, len(items)
            ):
                return deque(items, maxlen)
            case {"$": "dict", "v": list(pairs), **rest} if not rest:
                return self._dict_of(pairs)
            case {"$": "opaque", "type": str(name), **rest} if not rest:
                return self._opaques.setdefault(name[:200], Opaque(name[:200]))
        raise WireError("unknown mark")

    def _dict_of(self, pairs: list[Any]) -> dict[Any, Any]:
        self._odd_keys += len(pairs)
        if self._odd_keys > MAX_ODD_KEYS:
            raise WireError("too many keys that are no texts")
        out = {}
        for pair in pairs:
            if type(pair) is not list or len(pair) != 2 or type(pair[0]) not in _KEYS:
                raise WireError("malformed pair")
            self._key_items += _items_of_key(pair[0])
            if self._key_items > MAX_KEY_ITEMS:
                raise WireError("too many items of keys")
            out[pair[0]] = pair[1]
        return out


def _values_at_most(payload: bytes) -> int:
    """An upper bound of the number of values, found without parsing."""
    return payload.count(b",") + payload.count(b"[") + payload.count(b"{")


def _is_room(maxlen: Any, count: int) -> bool:
    return type(maxlen) is int and maxlen >= count


def _items_of_key(key: Any) -> int:
    return sum(1 + _items_of_key(item) for item in key) if type(key) is tuple else 0


def _has_long_number(payload: bytes) -> bool:
    """Whether there may be an integer that is too large: looking at every one would cost.

    A run of 300 digits has ten at every 29th place; where they are, it is looked for where digits begin: looking
    from each digit of runs that are a little shorter would take long.
    """
    return bool(_SPARSE_NUMBER.search(payload[::29]) and _LONG_NUMBER.search(payload))


def _short_int(digits: str) -> int:
    number = int(digits) if len(digits) < MAX_INT_BITS else None
    if number is None or number.bit_length() > MAX_INT_BITS:
        raise WireError("integer beyond the range of a float")
    return number


_KEYS = frozenset({str, int, float, bool, type(None), tuple, Opaque})
_SPARSE_NUMBER = re.compile(rb"[0-9]{10}")
_LONG_NUMBER = re.compile(rb"(?<![0-9])[0-9]{300}")
