"""Recipes of values, plain and hostile: what to make, and what must come back of it.

Hypothesis draws recipes, never the values: it looks at what it draws, and these values mind being looked at.
"""

import math
from collections import UserDict, UserList, deque
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any, Protocol

from hypothesis import strategies as st

from service.sandbox.inside.wire import MAX_DEPTH, MAX_INT_BITS, Opaque

__all__ = ["called", "recipes"]

called: list[str] = []


def _trap(name: str) -> Callable[..., Any]:
    def trapped(*arguments: Any, **named: Any) -> Any:
        called.append(name)
        raise RuntimeError(f"{name} was called")

    return trapped


_METHODS = (
    "__iter__", "__len__", "__getitem__", "__contains__", "__reversed__", "__ne__", "__lt__", "__repr__", "__str__",
    "__format__", "__bool__", "__int__", "__float__", "__index__", "__trunc__", "__round__", "__add__", "__radd__",
    "__mul__", "__abs__", "__neg__", "__getattribute__", "__reduce__", "__reduce_ex__", "__getstate__", "__copy__",
    "__deepcopy__", "__sizeof__", "__dir__", "__call__", "__enter__", "__next__", "__bytes__", "__complex__",
    "items", "keys", "values", "get", "copy", "encode", "bit_length", "as_integer_ratio", "is_integer",
)  # fmt: skip
_BASES: tuple[type, ...] = (int, float, str, list, tuple, dict, deque, object)


class HostileMeta(type):
    """Its classes cannot even be looked up in a set."""

    __hash__ = _trap("__hash__ of the metaclass")
    __eq__ = _trap("__eq__ of the metaclass")
    __repr__ = _trap("__repr__ of the metaclass")
    __getattribute__ = _trap("__getattribute__ of the metaclass")
    __instancecheck__ = _trap("__instancecheck__ of the metaclass")
    __subclasscheck__ = _trap("__subclasscheck__ of the metaclass")


def _hostile(base: type, meta: type, **more: Any) -> Any:
    body: dict[str, Any] = {name: _trap(f"{name} of a {base.__name__}") for name in _METHODS}
    body |= {"__class__": property(_trap("__class__")), "maxlen": property(_trap("maxlen"))}
    return meta("Hostile", (base,), body | more)


def _hash_by_identity(key: Any) -> int:
    called.append("__hash__ of a key")
    return object.__hash__(key)


def _is(key: Any, other: Any) -> bool:
    called.append("__eq__ of a key")
    return key is other


_BY_IDENTITY = {"__eq__": _is, "__hash__": _hash_by_identity}  # what may be a key
_TRAPPED = {"__eq__": _trap("__eq__"), "__hash__": _trap("__hash__")}
_HOSTILE: dict[tuple[str, type], Any] = {
    **{("", base): base for base in _BASES},
    **{("class", base): _hostile(base, type, **_TRAPPED) for base in _BASES},
    **{("metaclass", base): _hostile(base, HostileMeta, **_TRAPPED) for base in _BASES},
    **{("key", base): _hostile(base, HostileMeta, **_BY_IDENTITY) for base in _BASES},
}
_HASHED: dict[type, Any] = {base: type("Hashed", (base,), _BY_IDENTITY) for base in (list, dict, deque)}
_ODD: dict[str, Callable[[], Any]] = {
    "generator": lambda: (number for number in [1]),
    "list_iterator": lambda: iter([1]),
    "object": object,
    "Decimal": lambda: Decimal("1.5"),
    "Fraction": lambda: Fraction(1, 3),
    "UserDict": lambda: UserDict(a=1),
    "UserList": lambda: UserList([1]),
    "set": lambda: {1},
    "frozenset": lambda: frozenset({1}),
    "complex": lambda: 1j,
    "bytearray": lambda: bytearray(b"bytes"),
    "memoryview": lambda: memoryview(b"bytes"),
    "range": lambda: range(3),
    "function": lambda: _trap,
    "partial": lambda: partial(_trap, ""),
    "type": lambda: Decimal,
    "ellipsis": lambda: ...,
    "ValueError": lambda: ValueError("x"),
    "dict_items": {"a": 1}.items,
    "module": lambda: math,
    "HostileMeta": lambda: _HOSTILE["metaclass", list],
    "Hostile": lambda: object.__new__(_HOSTILE["metaclass", object]),
    "Opaque": lambda: object.__new__(Opaque),
}


class Recipe(Protocol):
    """How to make a value."""

    def made(self) -> Any:
        """A new one."""

    def image(self, depth: int) -> Any:
        """What it comes back as from so many containers."""

    def __hash__(self) -> int: ...


@dataclass(frozen=True)
class Leaf:
    """A builtin that holds nothing else, or an instance of a hostile subclass of its type."""

    value: Any
    hostile: str = ""

    def made(self) -> Any:
        base: Any = type(self.value)
        return base.__new__(_HOSTILE[self.hostile, base], self.value) if self.hostile else self.value

    def image(self, depth: int) -> Any:
        if type(self.value) is str:
            return self.value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        if type(self.value) is int and self.value.bit_length() > MAX_INT_BITS:
            return Opaque(f"int of {self.value.bit_length()} bits")
        return Opaque("bytes") if type(self.value) is bytes else self.value


def _is_plain(key: Recipe) -> bool:
    return isinstance(key, Leaf) and type(key.value) is str and not key.hostile and key.image(0) == key.value


@dataclass(frozen=True)
class Odd:
    """What is no plain data, by the name of its type."""

    name: str

    def made(self) -> Any:
        return _ODD[self.name]()

    def image(self, depth: int) -> Any:
        return Opaque(self.name)


@dataclass(frozen=True)
class Items:
    """A list, tuple or deque, or an instance of a hostile subclass."""

    base: Any
    items: tuple[Recipe, ...]
    hostile: str = ""
    room: int | None = None

    def made(self) -> Any:
        items = [item.made() for item in self.items]
        if self.base is deque:
            value = deque.__new__(_HOSTILE[self.hostile, deque])
            deque.__init__(value, items, None if self.room is None else len(items) + self.room)
            return value
        value = self.base.__new__(_HOSTILE[self.hostile, self.base], items)
        if self.base is list:
            list.__init__(value, items)
        return value

    def image(self, depth: int) -> Any:
        if depth >= MAX_DEPTH:
            return Opaque("nested too deeply")
        items = [item.image(depth + 1) for item in self.items]
        room = () if self.room is None or self.base is not deque else (len(items) + self.room,)
        return self.base(items, *room)


@dataclass(frozen=True)
class Pairs:
    """A dict, or an instance of a hostile subclass."""

    pairs: tuple[tuple[Recipe, Recipe], ...]
    hostile: str = ""

    def made(self) -> Any:
        value = dict.__new__(_HOSTILE[self.hostile, dict])
        for key, item in self.pairs:
            dict.__setitem__(value, key.made(), item.made())
        return value

    def image(self, depth: int) -> Any:
        if depth >= MAX_DEPTH:
            return Opaque("nested too deeply")
        inner = depth + (1 if all(_is_plain(key) for key, _ in self.pairs) else 2)  # pairs are lists, as text
        image = {key.image(inner): item.image(inner) for key, item in self.pairs}
        return image if len(image) == dict.__len__(self.made()) else Opaque("keys that are one")


@dataclass(frozen=True)
class Hashed:
    """A container that is made a key by a hash of its own."""

    base: Any

    def made(self) -> Any:
        return _HASHED[self.base]()

    def image(self, depth: int) -> Any:
        return Opaque("Hashed")


@dataclass(frozen=True)
class Twice:
    """A value that is met twice, which is no cycle."""

    inner: Recipe

    def made(self) -> Any:
        value = self.inner.made()
        return [value, (value,)]

    def image(self, depth: int) -> Any:
        return Items(list, (self.inner, Items(tuple, (self.inner,)))).image(depth)


@dataclass(frozen=True)
class Cycle:
    """A list that is found again in itself, in every kind of container."""

    inner: Recipe

    def made(self) -> Any:
        cycle: list[Any] = [self.inner.made()]
        cycle += [cycle, {"again": cycle}, (cycle,), deque([cycle])]
        return cycle

    def image(self, depth: int) -> Any:
        cycle = Opaque("cycle")
        return [self.inner.image(depth + 1), cycle, {"again": cycle}, (cycle,), deque([cycle])]


@dataclass(frozen=True)
class Nested:
    """Lists in each other, around nothing."""

    levels: int

    def made(self) -> Any:
        value: Any = None
        for _ in range(self.levels):
            value = [value]
        return value

    def image(self, depth: int) -> Any:
        left = MAX_DEPTH - depth
        value: Any = None if self.levels <= left else Opaque("nested too deeply")
        for _ in range(min(self.levels, left)):
            value = [value]
        return value


_hostilities = st.sampled_from(["class", "metaclass"])
_texts = st.text(st.characters(exclude_categories=()) | st.sampled_from("\ud83d\ude00\U0001f600$\x00,[{"), max_size=20)
_powers = st.builds(
    lambda exponent, sign, more: sign * 2**exponent + more,
    st.integers(0, 1030),
    st.sampled_from([1, -1]),
    st.integers(-1, 1),
)
_numbers_and_texts = st.integers() | _powers | st.floats() | _texts
_plain_leaves = st.none() | st.booleans() | _numbers_and_texts | st.binary(max_size=9)


@st.composite
def _leaves(draw: st.DrawFn) -> Recipe:
    """By a function: what hypothesis builds from parts alone, it shows in full, and that takes pages."""
    return draw(
        st.builds(Leaf, _plain_leaves)
        | st.builds(Leaf, _numbers_and_texts, _hostilities)
        | st.builds(Odd, st.sampled_from(sorted(_ODD)))
        | st.builds(Nested, st.sampled_from([1, 62, 63, 64, 65, 5000]))
    )


@st.composite
def _keys(draw: st.DrawFn) -> Recipe:
    odd = ["object", "Decimal", "frozenset", "range", "function", "ellipsis", "module"]
    leaves = (
        st.builds(Leaf, _plain_leaves)
        | st.builds(Leaf, _numbers_and_texts, st.just("key"))
        | st.builds(Hashed, st.sampled_from(list(_HASHED)))
        | st.builds(Odd, st.sampled_from(odd))
    )
    tuples = st.lists(leaves, max_size=3).map(tuple)
    return draw(leaves | st.builds(Items, st.just(tuple), tuples, st.sampled_from(["", "key"])))


@st.composite
def _containers(draw: st.DrawFn, inner: st.SearchStrategy[Recipe]) -> Recipe:
    items = st.lists(inner, max_size=5).map(tuple)
    bases = st.sampled_from([list, tuple, deque])
    keys = draw(st.sampled_from([_texts.map(Leaf), _keys()]))
    pairs = st.lists(st.tuples(keys, inner), max_size=5, unique_by=lambda pair: pair[0]).map(tuple)
    return draw(
        st.builds(Items, bases, items, room=st.none() | st.integers(0, 5))
        | st.builds(Items, bases, items, _hostilities)
        | st.builds(Pairs, pairs)
        | st.builds(Pairs, pairs, _hostilities)
        | st.builds(Twice, inner)
        | st.builds(Cycle, inner)
    )


recipes: st.SearchStrategy[Recipe] = st.recursive(_leaves(), _containers, max_leaves=15)
