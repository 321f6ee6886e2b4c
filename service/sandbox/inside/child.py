"""A single-use child: locked down, it takes one submission's messages, answers them and waits to be killed.

Every message carries a nonce that its answer must repeat, so that nothing can be answered before it was asked.
The answers are claims, nothing more: this process is the submission's from the moment its code runs.

==========  ==========================================  ==========================================================
``op``      members of the message                      members of the answer, beside ``status``, ``error``, ``line``
==========  ==========================================  ==========================================================
execute     ``code``                                    ``result``: str or null, ``truncated``
load        ``code``, ``entry_point``                   ``defined``: whether there is such a callable
call        ``events``, ``state`` or ``hand_on``        ``returned``, ``given_state`` as the call left it, or
                                                        ``handed_back``: it is the very state that was returned
probe       ``forbidden``: names of probes              ``succeeded``: those that were not forbidden after all
==========  ==========================================  ==========================================================
"""

import atexit
import gc
import os
import random
import signal
import sys
import threading
from typing import Any

from . import probes, running, wire
from .protocol import CHANNEL

__all__ = ["reset_signals", "serve"]

_RESERVE_BYTES = 2 << 20


class _Session:
    """What one child keeps between the messages of its one submission."""

    def __init__(self, max_result_chars: int, max_answer_bytes: int) -> None:
        self._max_result_chars = max_result_chars
        self._max_answer_bytes = max_answer_bytes
        self._scope = running.main_module()
        self._entry_point: Any = None
        self._state: Any = None

    def answer(self, message: dict[str, Any]) -> bytes:
        """Handles one message; what fails is an answer too."""
        reserve = bytes(_RESERVE_BYTES)  # given back where memory has run out; never touched, so it costs nothing
        try:
            answer = self._handle(message)
        except running.Failure as failure:
            del reserve
            answer = _report(failure)
        except BaseException as error:
            del reserve
            answer = _report(running.failure_of(error))
        return self._encoded(answer)

    def _handle(self, message: dict[str, Any]) -> dict[str, Any]:
        match message:
            case {"op": "execute", "code": code}:
                return self._execute(code)
            case {"op": "load", "code": code, "entry_point": entry_point}:
                return self._load(code, entry_point)
            case {"op": "call", "events": events, "hand_on": True}:
                return self._call(events, self._state)
            case {"op": "call", "events": events, "state": state}:
                return self._call(events, state)
            case {"op": "probe", "forbidden": names}:
                return {"status": "ok", "succeeded": probes.not_forbidden(names)}
        raise running.Failure("error", f"unknown message: {sorted(message)}")

    def _execute(self, code: str) -> dict[str, Any]:
        failure, shown = None, None
        try:
            value = running.evaluate(code, self._scope)
            shown = None if value is None else repr(value)
            del value
        except running.Failure as caught:
            failure = caught
        except BaseException as error:  # of the value's own __repr__
            failure = running.failure_of(error)
        self._finish()
        if failure is not None:
            return _report(failure)
        return self._shown(shown)

    def _shown(self, text: str | None) -> dict[str, Any]:
        limit = self._max_result_chars
        if text is None or len(text) <= limit:
            return {"status": "ok", "result": text, "truncated": False}
        answer = {"status": "ok", "result": text[:limit], "truncated": True}
        if len(text) > self._max_answer_bytes:
            answer |= {"status": "output_limit", "error": f"the result's repr has {len(text)} characters"}
        return answer

    def _finish(self) -> None:
        """Ends the code as the end of a process would: threads, exit handlers, finalizers, buffers."""
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
        atexit._run_exitfuncs()  # noqa: SLF001
        self._scope.clear()
        gc.collect()
        for stream in (_stdout, _stderr):
            try:
                stream.flush()
            except Exception:  # noqa: S112 - the submission closed or broke it: its output is lost to itself
                continue

    def _load(self, code: str, entry_point: str) -> dict[str, Any]:
        running.load(code, self._scope)
        self._entry_point = self._scope.get(entry_point)
        return {"status": "ok", "defined": callable(self._entry_point)}

    def _call(self, events: Any, state: Any) -> dict[str, Any]:
        returned = self._entry_point(events, state)
        self._state = dict.get(returned, "state") if issubclass(type(returned), dict) else None
        given = {"handed_back": True} if self._state is state else {"given_state": state}
        return {"status": "ok", "returned": returned, **given}

    def _encoded(self, answer: dict[str, Any]) -> bytes:
        try:
            return wire.encode(answer, max_bytes=self._max_answer_bytes)
        except wire.TooLargeError as error:
            short = {"status": "output_limit", "error": f"the answer is too large: {error}"}
        except MemoryError:
            short = {"status": "memory_limit", "error": "MemoryError: the answer took more memory than allowed"}
        except Exception as error:
            short = {"status": "error", "error": f"the answer could not be read: {type(error).__name__}"}
        return wire.encode(short, max_bytes=self._max_answer_bytes)


def _report(failure: running.Failure) -> dict[str, Any]:
    return {"status": failure.status, "error": failure.error, "line": failure.line}


_stdout, _stderr = sys.stdout, sys.stderr


def serve(max_result_chars: int, max_answer_bytes: int) -> None:
    """Answers messages on the channel until the supervisor closes it or kills this process."""
    session = _Session(max_result_chars, max_answer_bytes)
    random.seed(0)  # the same draws in every run: a grade is repeatable
    while header := _read(4 + wire.NONCE_BYTES):
        payload = _read(int.from_bytes(header[:4], "big") - wire.NONCE_BYTES)
        answer = session.answer(wire.decode(payload, max_values=len(payload)))
        _write(wire.frame(header[4:] + answer))


def _read(count: int) -> bytes:
    """Exactly so many bytes, or none at the end of the stream."""
    chunks = bytearray()
    while len(chunks) < count:
        chunk = os.read(CHANNEL, count - len(chunks))
        if not chunk:
            return b""
        chunks += chunk
    return bytes(chunks)


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(CHANNEL, view) :]


def reset_signals() -> None:
    """Undoes the zygote's handlers: the submission's process starts with the defaults."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
