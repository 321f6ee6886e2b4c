"""Compiles and runs submitted source in this process, and puts what went wrong into words for its author."""

import ast
import builtins
import errno
import linecache
import math
import mmap
import resource
import statistics
import sys
import threading
import traceback
from types import CodeType, ModuleType, TracebackType
from typing import Any

__all__ = ["FILENAME", "Failure", "compiled", "evaluate", "failure_of", "load", "main_module", "parsed"]

FILENAME = "<submission>"
MAX_ERROR_CHARS = 4000

_NO_MEMORY_ERRNO = {errno.ENOMEM}


class Failure(Exception):  # noqa: N818 - not an error of ours: the outcome of somebody's code
    """Submitted code did not come to a result.

    Attributes:
        status: ``error``, ``syntax_error`` or ``memory_limit``.
        error: what its author should read: a short traceback of the submission's own frames.
        line: of the source, 0 where there is none.
    """

    def __init__(self, status: str, error: str, line: int = 0) -> None:
        super().__init__(status, error, line)
        self.status = status
        self.error = error
        self.line = line


def main_module() -> dict[str, Any]:
    """Makes a fresh ``__main__`` with the modules that the task promises, and answers its namespace."""
    module = sys.modules["__main__"] = ModuleType("__main__")
    module.__dict__.update(__builtins__=builtins, math=math, statistics=statistics, stats=statistics)
    return module.__dict__


def compiled(source: str) -> CodeType:
    """Compiles a whole module.

    Raises:
        Failure: it does not parse.
    """
    code: CodeType = _compiled(source, source, "exec")
    return code


def parsed(source: str) -> ast.Module:
    """Parses a whole module.

    Raises:
        Failure: it does not parse.
    """
    tree: ast.Module = _compiled(source, source, "exec", ast.PyCF_ONLY_AST)
    return tree


def load(source: str, code: CodeType, scope: dict[str, Any]) -> None:
    """Runs a whole module in the given globals.

    Args:
        source: its text, to be quoted in tracebacks.
        code: the same, compiled.
        scope: the globals.

    Raises:
        Failure: it raised.
    """
    _show_lines(source)
    _run(code, scope)


def evaluate(source: str, scope: dict[str, Any]) -> Any:
    """Runs statements in the given globals and answers the value of a last bare expression, else None.

    Raises:
        Failure: it does not parse, or raised.
    """
    _show_lines(source)
    if "\n" not in source:
        try:
            expression = compile(source.strip(), FILENAME, "eval", dont_inherit=True)
        except Exception:  # a statement, most likely; if it is neither, that is found out below
            expression = None
        if expression is not None:
            return _run(expression, scope)
    tree = parsed(source)
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr):
        _run(_compiled(tree, source, "exec"), scope)
        return None
    if len(tree.body) > 1:
        del tree.body[-1]
        _run(_compiled(tree, source, "exec"), scope)
    return _run(_compiled(ast.Expression(last.value), source, "eval"), scope)


def _show_lines(source: str) -> None:
    """Lets tracebacks quote the source."""
    linecache.cache[FILENAME] = (len(source), None, source.splitlines(keepends=True), FILENAME)


def _compiled(what: str | ast.Module | ast.Expression, source: str, mode: str, flags: int = 0) -> Any:
    try:
        return compile(what, FILENAME, mode, flags, dont_inherit=True)
    except Exception as error:
        raise _compile_failure(error, source) from None


def _run(code: CodeType, scope: dict[str, Any]) -> Any:
    try:
        return eval(code, scope)
    except BaseException as error:
        raise failure_of(error) from None


def _compile_failure(error: Exception, source: str) -> Failure:
    if isinstance(error, MemoryError):
        # CPython's parser also says MemoryError where its stack is exhausted by nesting.
        return Failure("memory_limit", "MemoryError: compiling the source took more memory than allowed")
    if isinstance(error, RecursionError):
        return Failure("syntax_error", "Syntax error: the source is nested too deeply")
    if isinstance(error, UnicodeError):
        return Failure("syntax_error", "Syntax error: the source holds a lone surrogate, which no file can hold")
    if not isinstance(error, SyntaxError):
        return Failure("syntax_error", f"Syntax error: {error}")
    where = f" on line {error.lineno}" if error.lineno else ""
    hint = " (remove the Markdown fence: send the code alone)" if source.lstrip().startswith(("```", "~~~")) else ""
    return Failure("syntax_error", f"Syntax error{where}: {error.msg}{hint}"[:MAX_ERROR_CHARS], error.lineno or 0)


def failure_of(error: BaseException) -> Failure:
    """Puts an exception of submitted code into a status and a short traceback without our own frames."""
    line = _last_line_number(error.__traceback__)
    if _is_lack_of_memory(error):
        error.__traceback__ = None  # frees what the frames hold
        error.__context__ = None
        return Failure("memory_limit", f"{type(error).__name__}: the memory limit was reached", line)
    return Failure("error", _short_traceback(error), line)


def _is_lack_of_memory(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in _NO_MEMORY_ERRNO
    if isinstance(error, RuntimeError) and error.args == ("can't start new thread",):
        return not _has_room_for(threading.stack_size())
    if isinstance(error, SystemError):  # what CPython 3.11 makes of a recursion that ends with the memory
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10 > resource.getrlimit(resource.RLIMIT_AS)[0] // 2
    return isinstance(error, MemoryError)


def _has_room_for(size: int) -> bool:
    try:
        mmap.mmap(-1, size).close()
    except OSError:
        return False
    return True


def _last_line_number(trace: TracebackType | None) -> int:
    line = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILENAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _short_traceback(error: BaseException) -> str:
    try:
        report = traceback.TracebackException(type(error), error, error.__traceback__, limit=-64)
        _drop_foreign_frames(report)
        text = "".join(report.format()).rstrip()
    except Exception:
        text = f"{type(error).__name__} (its message could not be shown)"
    if len(text) > MAX_ERROR_CHARS:
        half = MAX_ERROR_CHARS // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half} characters cut …\n{text[-half:]}"
    return text


def _drop_foreign_frames(report: traceback.TracebackException) -> None:
    """Leaves the submission's own frames, of the exception and of what it was raised from."""
    seen: set[int] = set()
    pending = [report]
    while pending:
        part = pending.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        part.stack[:] = [frame for frame in part.stack if frame.filename == FILENAME][-8:]
        pending += [linked for linked in (part.__cause__, part.__context__) if linked is not None]
