"""Reads what a child answered: exact builtin types come out, whatever bytes go in.

The format stands in `service.sandbox.inside.wire`. The text is parsed by pydantic-core's parser, which is several times
as fast as the standard library's; what that does not take (lone surrogates, integers of hundreds of digits) is given
to the latter. Laxer than what `encode` writes, but with one meaning only: white space, escapes where none is needed,
numbers that overflow to infinity, and a key of a plain dict that comes twice, of which the last counts.
"""

import json
from collections import deque
from typing import Any

from pydantic_core import from_json

from service.sandbox.inside.wire import (
    MAX_INT_BITS,
    MAX_KEY_ITEMS,
    MAX_ODD_KEYS,
    MAX_VALUES,
    Held,
    Opaque,
    has_long_number,
    values_at_most,
)

__all__ = ["WireError", "decode"]

_KEYS = frozenset({str, int, float, bool, type(None), tuple, Opaque})


class WireError(ValueError):
    """The bytes are no answer."""


def decode(payload: bytes) -> Any:
    """Reads a payload into exact builtin types, `Opaque` and `Held`, or refuses it.

    No dict, list, tuple or deque in what comes out is shared, and none lies more than 200 deep.

    Args:
        payload: at most the caller's limit of bytes, which bounds time and memory with the limit of values.

    Raises:
        WireError: malformed, forged marks, nested too deeply, too many values, numbers too long.
    """
    if values_at_most(payload) > MAX_VALUES:
        raise WireError("too many values")
    try:
        match _parsed(payload):
            case [value, list(marks)]:
                return _Reader(value).marked(marks)
    except WireError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is that hostile bytes can make a constructor raise
        raise WireError(f"malformed: {type(error).__name__}") from None
    raise WireError("neither value nor marks")


def _parsed(payload: bytes) -> Any:
    if not payload.isascii():
        raise WireError("not ASCII")
    if not has_long_number(payload):
        try:
            return from_json(payload, allow_inf_nan=True, cache_strings="keys")
        except ValueError:
            pass
    # Surrogates made other characters, for their depth: how deep the standard library goes is up to its version.
    from_json(payload.replace(b"\\ud", b"\\u0").replace(b"\\uD", b"\\u0"), allow_inf_nan=True, cache_strings="none")
    return json.loads(payload.decode("ascii"), parse_int=_short_int, parse_constant=float)  # a NaN of its own each time


class _Reader:
    """One payload's value, and how its marks are brought back to it."""

    def __init__(self, value: Any) -> None:
        self._root = [value]
        self._odd_keys = 0
        self._key_items = 0
        self._opaques: dict[str, Opaque] = {}  # one for each name: they stand in keys, and comparing two takes long

    def marked(self, marks: list[Any]) -> Any:
        for mark in marks:
            match mark:
                case [str(kind), list(path), *further]:
                    holder, key = self._place(path)
                    holder[key] = self._meant(kind, holder[key], further)
                case _:
                    raise WireError("malformed mark")
        return self._root[0]

    def _place(self, path: list[Any]) -> tuple[Any, Any]:
        holder: Any = self._root
        key: Any = 0
        for step in path:
            holder, key = holder[key], step
            if not (type(holder) is list and type(key) is int and 0 <= key < len(holder)) and not (
                type(holder) is dict and type(key) is str and key in holder
            ):
                raise WireError("a mark on nothing")
        return holder, key

    def _meant(self, kind: str, substitute: Any, further: list[Any]) -> Any:
        match kind, substitute, further:
            case "tuple", list(items), []:
                return tuple(items)
            case "deque", list(items), [None]:
                return deque(items)
            case "deque", list(items), [maxlen] if type(maxlen) is int and maxlen >= len(items):
                return deque(items, maxlen)
            case "rows", [list(keys), *columns], []:
                return _rows_of(keys, columns)
            case "dict", list(pairs), []:
                return self._dict_of(pairs)
            case _, None, _:
                return self._stand_in(kind, further)
        raise WireError("unknown mark")

    def _stand_in(self, kind: str, further: list[Any]) -> Opaque | Held:
        match kind, further:
            case "opaque", [str(name)]:
                return self._opaques.setdefault(name[:200], Opaque(name[:200]))
            case "held", ["list" | "deque" as held, length] if type(length) is int and length >= 0:
                return Held(held, length)
        raise WireError("unknown mark")

    def _dict_of(self, pairs: list[Any]) -> dict[Any, Any] | Opaque:
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
        # In the child, a subclass of `str` can be a second "reading" by a hash of its own: here, neither counts.
        return out if len(out) == len(pairs) else Opaque("keys that are one")


def _rows_of(keys: list[Any], columns: list[Any]) -> list[dict[str, Any]]:
    if not all(type(key) is str for key in keys) or not all(type(column) is list for column in columns):
        raise WireError("malformed rows")
    if len(set(keys)) != len(keys) or len(keys) != len(columns):
        raise WireError("malformed rows")
    return [dict(zip(keys, row)) for row in zip(*columns, strict=True)]  # noqa: B905 - as many as there are columns


def _items_of_key(key: Any) -> int:
    return sum(1 + _items_of_key(item) for item in key) if type(key) is tuple else 0


def _short_int(digits: str) -> int:
    number = int(digits) if len(digits) < MAX_INT_BITS else None
    if number is None or number.bit_length() > MAX_INT_BITS:
        raise WireError("integer beyond the range of a float")
    return number
