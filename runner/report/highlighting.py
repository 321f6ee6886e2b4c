"""Python source as HTML, coloured by classes; small, because a page holds thousands of sources."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from html import escape
from itertools import groupby

from markupsafe import Markup
from pygments.lexers.python import PythonLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String, _TokenType

from runner.wording import neutralised

__all__ = ["highlighted"]

# What is not named here takes the colour of the text around it, and needs no element.
_CLASSES = {
    Comment: "c",
    Keyword: "k",
    Operator.Word: "k",
    String: "s",
    Number: "m",
    Name.Builtin: "b",
    Name.Exception: "b",
    Name.Class: "f",
    Name.Decorator: "f",
    Name.Function: "f",
}
_LEXER = PythonLexer(stripnl=False, ensurenl=False)

# The lexer's time grows with the square of a gap or a line: seconds for one source that is made for it.
_SLOW = re.compile(r"\s{200}|.{2000}")


@cache
def _class_of(kind: _TokenType) -> str | None:
    return next((name for parent, name in _CLASSES.items() if kind in parent), None)


@lru_cache(maxsize=512)
def highlighted(source: str) -> Markup:
    """Markup of a source that may be anything: it is escaped, and its control characters are written out."""
    readable = neutralised(source, keep="\n\t")
    if _SLOW.search(readable):
        return Markup(escape(readable, quote=False))  # noqa: S704
    tokens = _LEXER.get_tokens(readable)
    parts = []
    for name, run in groupby(tokens, key=lambda token: _class_of(token[0])):
        text = escape("".join(word for _, word in run), quote=False)
        parts.append(f"<i class={name}>{text}</i>" if name and text.strip() else text)
    return Markup("".join(parts))  # noqa: S704 - every part is escaped
