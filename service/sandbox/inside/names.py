"""Which words the names in a source hold: of what its code defines, uses or keys, not of comments and bare texts."""

import ast
from collections.abc import Iterator, Sequence

__all__ = ["words_in_names"]

_NAMED = ("id", "attr", "arg", "name", "asname", "rest", "kwd_attrs", "names")


def words_in_names(tree: ast.Module, words: Sequence[str]) -> list[str]:
    """Those of the words that occur in a name, whatever the case.

    Names are identifiers, attributes, parameters, keyword arguments and text keys of dicts, patterns and subscripts.
    """
    names = "\n".join(name for node in ast.walk(tree) for name in _names(node)).lower()
    return [word for word in words if word in names]


def _names(node: ast.AST) -> Iterator[str]:
    for field in _NAMED:
        value = getattr(node, field, None)
        for name in value if type(value) is list else (value,):
            if type(name) is str:
                yield name
    if isinstance(node, (ast.Dict, ast.MatchMapping)):
        yield from (name for key in node.keys if (name := _text(key)))
    elif isinstance(node, ast.Subscript) and (name := _text(node.slice)):
        yield name


def _text(node: ast.expr | None) -> str:
    return node.value if isinstance(node, ast.Constant) and type(node.value) is str else ""
